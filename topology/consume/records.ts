/**
 * The records of ONE decompressed record batch as columns over its bytes. Owned by the cursor that fills it and valid until
 * that cursor decodes the next batch. `valueStart` -1: a null value (tombstone); `keyStart` -1: no key.
 */
export class Records {
  bytes: Uint8Array = new Uint8Array(0);
  count = 0;
  capacity = 0;
  offset = new Float64Array(0);
  timestamp = new Float64Array(0);
  keyStart = new Int32Array(0);
  keyEnd = new Int32Array(0);
  valueStart = new Int32Array(0);
  valueEnd = new Int32Array(0);

  /** Makes room for `count` records; what stood there before is lost. */
  reserve(count: number): void {
    if (count <= this.capacity) return;
    this.capacity = Math.max(1024, 2 ** Math.ceil(Math.log2(count)));
    this.offset = new Float64Array(this.capacity);
    this.timestamp = new Float64Array(this.capacity);
    this.keyStart = new Int32Array(this.capacity);
    this.keyEnd = new Int32Array(this.capacity);
    this.valueStart = new Int32Array(this.capacity);
    this.valueEnd = new Int32Array(this.capacity);
  }
}
