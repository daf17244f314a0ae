/**
 * A growing buffer of ClickHouse RowBinary: https://clickhouse.com/docs/interfaces/formats/RowBinary. 64-bit integers come as
 * (lo, hi) as in topology/batch.ts. `take` gives the bytes as a copy of their own and begins anew.
 */
export class RowBinary {
  bytes = Buffer.allocUnsafe(64 * 1024);
  length = 0;
  rows = 0;

  private room(n: number): void {
    if (this.length + n <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + n));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }
  u8(v: number): void {
    this.room(1);
    this.bytes[this.length++] = v;
  }
  u16(v: number): void {
    this.room(2);
    this.length = this.bytes.writeUInt16LE(v, this.length);
  }
  u32(v: number): void {
    this.room(4);
    this.length = this.bytes.writeUInt32LE(v, this.length);
  }
  i32(v: number): void {
    this.room(4);
    this.length = this.bytes.writeInt32LE(v, this.length);
  }
  i64(lo: number, hi: number): void {
    this.room(8);
    this.bytes.writeUInt32LE(lo, this.length);
    this.length = this.bytes.writeInt32LE(hi, this.length + 4);
  }
  /** A safe integer, |v| < 2^53. */
  int(v: number): void {
    const hi = Math.floor(v / 4294967296);
    this.i64(v - hi * 4294967296, hi);
  }
  f64(v: number): void {
    this.room(8);
    this.length = this.bytes.writeDoubleLE(v, this.length);
  }
  varint(v: number): void {
    this.room(5);
    let rest = v;
    while (rest >= 128) {
      this.bytes[this.length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.bytes[this.length++] = rest;
  }
  raw(from: Uint8Array, start: number, end: number): void {
    this.room(end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }
  string(text: string): void {
    const n = Buffer.byteLength(text);
    this.varint(n);
    this.room(n);
    this.length += this.bytes.write(text, this.length, 'utf8');
  }
  take(): Uint8Array {
    const out = Uint8Array.prototype.slice.call(this.bytes, 0, this.length);
    this.length = 0;
    this.rows = 0;
    return out;
  }
}
