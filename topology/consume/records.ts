/**
 * Records as columns over their bytes: those of one decompressed batch, or of several one after the other. `valueStart` -1: a null value
 * (tombstone); `keyStart` -1: no key. Arrays that become too small are replaced: who keeps one must ask for it again.
 */
import { onHeap } from '../memory.ts';
import type { Allocate } from '../memory.ts';

export class Records {
  bytes: Uint8Array = new Uint8Array(0);
  /** Of `bytes`, how much is used. */
  used = 0;
  count = 0;
  capacity = 0;
  offset: Float64Array = new Float64Array(0);
  timestamp: Float64Array = new Float64Array(0);
  keyStart: Int32Array = new Int32Array(0);
  keyEnd: Int32Array = new Int32Array(0);
  valueStart: Int32Array = new Int32Array(0);
  valueEnd: Int32Array = new Int32Array(0);
  /** Where a record's headers begin, for the few who ask. */
  headers: Int32Array | null;
  readonly #allocate: Allocate;

  constructor(allocate: Allocate = onHeap, keepsHeaders: boolean = false) {
    this.#allocate = allocate;
    this.headers = keepsHeaders ? new Int32Array(0) : null;
  }

  clear(): void {
    this.count = this.used = 0;
  }

  /** Makes room for `more` records. */
  reserve(more: number): void {
    const need = this.count + more;
    if (need <= this.capacity) return;
    this.capacity = Math.max(1024, 2 ** Math.ceil(Math.log2(need)));
    this.offset = this.#doubles(this.offset);
    this.timestamp = this.#doubles(this.timestamp);
    this.keyStart = this.#integers(this.keyStart);
    this.keyEnd = this.#integers(this.keyEnd);
    this.valueStart = this.#integers(this.valueStart);
    this.valueEnd = this.#integers(this.valueEnd);
    if (this.headers !== null) this.headers = this.#integers(this.headers);
  }

  /** Makes room for `more` bytes. */
  reserveBytes(more: number): void {
    const need = this.used + more;
    if (need <= this.bytes.length) return;
    // What comes alone gets what it needs: it may be huge.
    const wider = new Uint8Array(this.#allocate(this.used === 0 ? need : Math.max(need, 2 * this.bytes.length)));
    wider.set(this.bytes.subarray(0, this.used));
    this.bytes = wider;
  }

  append(bytes: Uint8Array): void {
    this.reserveBytes(bytes.length);
    this.bytes.set(bytes, this.used);
    this.used += bytes.length;
  }

  #doubles(before: Float64Array): Float64Array {
    const wider = new Float64Array(this.#allocate(8 * this.capacity));
    wider.set(before);
    return wider;
  }

  #integers(before: Int32Array): Int32Array {
    const wider = new Int32Array(this.#allocate(4 * this.capacity));
    wider.set(before);
    return wider;
  }
}
