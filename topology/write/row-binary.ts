/**
 * A growing buffer of ClickHouse RowBinary: https://clickhouse.com/docs/interfaces/formats/RowBinary. 64-bit integers come as
 * (lo, hi) as in topology/batch.ts. `take` gives the bytes as a copy of their own and begins anew.
 * A hot loop may `reserve` room once, write through `view` and set `length` itself.
 */
export class RowBinary {
  bytes = Buffer.allocUnsafeSlow(64 * 1024);
  view = new DataView(this.bytes.buffer);
  length = 0;
  rows = 0;

  /** Room for n more bytes; `bytes` and `view` may be others afterwards. */
  reserve(n: number): void {
    if (this.length + n > this.bytes.length) this.grow(n);
  }
  private grow(n: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.length + n));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
  u8(v: number): void {
    this.reserve(1);
    this.bytes[this.length++] = v;
  }
  u16(v: number): void {
    this.reserve(2);
    this.view.setUint16(this.length, v, true);
    this.length += 2;
  }
  u32(v: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, v, true);
    this.length += 4;
  }
  i32(v: number): void {
    this.reserve(4);
    this.view.setInt32(this.length, v, true);
    this.length += 4;
  }
  i64(lo: number, hi: number): void {
    this.reserve(8);
    this.view.setUint32(this.length, lo, true);
    this.view.setInt32(this.length + 4, hi, true);
    this.length += 8;
  }
  /** A safe integer, |v| < 2^53. */
  int(v: number): void {
    const hi = Math.floor(v / 4294967296);
    this.i64(v - hi * 4294967296, hi);
  }
  f64(v: number): void {
    this.reserve(8);
    this.view.setFloat64(this.length, v, true);
    this.length += 8;
  }
  varint(v: number): void {
    this.reserve(5);
    let rest = v;
    while (rest >= 128) {
      this.bytes[this.length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.bytes[this.length++] = rest;
  }
  raw(from: Uint8Array, start: number, end: number): void {
    this.reserve(end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }
  string(text: string): void {
    const n = Buffer.byteLength(text);
    this.varint(n);
    this.reserve(n);
    this.length += this.bytes.write(text, this.length, 'utf8');
  }
  take(): Uint8Array {
    const out = Uint8Array.prototype.slice.call(this.bytes, 0, this.length);
    this.length = 0;
    this.rows = 0;
    return out;
  }
}
