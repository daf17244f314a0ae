/** The bytes of one event while they are written: a buffer that grows, and ASCII put into it without making strings. */
const HEX = '0123456789abcdef';
const HEX_HIGH = Uint8Array.from({ length: 256 }, (_, b) => HEX.charCodeAt(b >> 4)),
  HEX_LOW = Uint8Array.from({ length: 256 }, (_, b) => HEX.charCodeAt(b & 15));
const DAY = 86_400_000;

export class Line {
  bytes = Buffer.allocUnsafe(4096);
  length = 0;
  /** The day that was written last, and its text. */
  private day = NaN;
  private dayText: Uint8Array = Buffer.from('1970-01-01T');

  room(n: number): void {
    if (this.length + n <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe((this.length + n) * 2);
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }
  put(from: Uint8Array): void {
    const n = from.length;
    this.room(n);
    const { bytes, length } = this;
    for (let i = 0; i < n; i++) bytes[length + i] = from[i]!;
    this.length = length + n;
  }
  text(text: string): void {
    this.room(text.length * 3);
    this.length += this.bytes.write(text, this.length, 'utf8');
  }
  /** A whole number, |n| < 2^53. */
  integer(n: number): void {
    this.room(20);
    if (n < 0) {
      this.bytes[this.length++] = 45;
      n = -n;
    }
    let digits = 1;
    for (let power = 10; power <= n; power *= 10) digits++;
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const rest = Math.floor(n / 10);
      this.bytes[at] = 48 + n - rest * 10;
      n = rest;
    }
    this.length += digits;
  }
  /** Exactly `digits` digits, zeros in front. */
  padded(n: number, digits: number): void {
    this.room(digits);
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const rest = Math.floor(n / 10);
      this.bytes[at] = 48 + n - rest * 10;
      n = rest;
    }
    this.length += digits;
  }
  uuid(a: number, b: number, c: number, d: number): void {
    this.room(36);
    this.hex(a, 4);
    this.bytes[this.length++] = 45;
    this.hex(b >>> 16, 2);
    this.bytes[this.length++] = 45;
    this.hex((b & 0x0fff) | 0x4000, 2);
    this.bytes[this.length++] = 45;
    this.hex(((c >>> 16) & 0x3fff) | 0x8000, 2);
    this.bytes[this.length++] = 45;
    this.hex(c & 0xffff, 2);
    this.hex(d, 4);
  }
  private hex(word: number, count: number): void {
    for (let shift = (count - 1) * 8; shift >= 0; shift -= 8) {
      const byte = (word >>> shift) & 255;
      this.bytes[this.length++] = HEX_HIGH[byte]!;
      this.bytes[this.length++] = HEX_LOW[byte]!;
    }
  }
  /** 2026-01-01T00:00:00.000Z */
  time(ms: number): void {
    const day = Math.floor(ms / DAY);
    if (day !== this.day) {
      this.day = day;
      this.dayText = Buffer.from(new Date(day * DAY).toISOString().slice(0, 11));
    }
    const rest = ms - day * DAY;
    this.put(this.dayText);
    this.padded(Math.floor(rest / 3_600_000), 2);
    this.room(12);
    this.bytes[this.length++] = 58;
    this.padded(Math.floor(rest / 60_000) % 60, 2);
    this.bytes[this.length++] = 58;
    this.padded(Math.floor(rest / 1000) % 60, 2);
    this.bytes[this.length++] = 46;
    this.padded(rest % 1000, 3);
    this.room(1);
    this.bytes[this.length++] = 90;
  }
}
