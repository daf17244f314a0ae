/**
 * Leaf readers of the fast path over raw JSON bytes: text up to its closing quote, digits, decimals of up to 15 digits.
 * Each returns the place behind what it read, or -1 for "let the slow path look": none of them rejects anything. No allocation
 * but in `longDecimal`. Exact: 15 digits fit a double, longer integers go through two halves.
 */

/** 1: an ASCII byte that stands for itself in a JSON string. */
export const PLAIN = new Uint8Array(256);
for (let c = 32; c < 128; c++) PLAIN[c] = c === 34 || c === 92 ? 0 : 1;

export const POWER = Float64Array.from({ length: 23 }, (_, n) => Number(`1e${n}`));

const follows = (c: number | undefined): boolean => c !== undefined && (c & 0xc0) === 0x80;

/**
 * The first byte from `p` on that does not stand for itself in a string (most often the closing quote); at the record's end at
 * the latest. Four bytes at once: a byte's top bit is raised when it is a quote, a backslash, a control or beyond ASCII; a
 * borrow can raise it falsely only behind a true one, and the first one counts.
 */
export function plainEnd(view: DataView, p: number, limit: number): number {
  for (const last = limit - 4; p <= last; p += 4) {
    const w = view.getInt32(p, true);
    const quote = (w ^ 0x22222222) - 0x01010101,
      slash = (w ^ 0x5c5c5c5c) - 0x01010101;
    const found = (w | (w - 0x20202020) | quote | slash) & 0x80808080;
    if (found !== 0) return p + ((31 - Math.clz32(found & -found)) >>> 3);
  }
  while (p < limit && PLAIN[view.getUint8(p)] === 1) p++;
  return p;
}

/** Behind one letter beyond ASCII (well-formed UTF-8 only), or -1. May look beyond the record's end; then the place is there too. */
export function letterEnd(bytes: Uint8Array, p: number): number {
  const c = bytes[p]!;
  if (c < 0xc2 || c > 0xf4) return -1;
  if (c < 0xe0) return follows(bytes[p + 1]) ? p + 2 : -1;
  const d = bytes[p + 1]!;
  if (c < 0xf0) {
    if (!follows(d) || !follows(bytes[p + 2])) return -1;
    // Overlong forms, and the surrogates, which UTF-8 may not hold.
    return (c === 0xe0 && d < 0xa0) || (c === 0xed && d > 0x9f) ? -1 : p + 3;
  }
  if (!follows(d) || !follows(bytes[p + 2]) || !follows(bytes[p + 3])) return -1;
  return (c === 0xf0 && d < 0x90) || (c === 0xf4 && d > 0x8f) ? -1 : p + 4;
}

/** From inside a string, past letters beyond ASCII, to the closing quote; -1 at anything else. */
export function restOfText(bytes: Uint8Array, p: number, end: number): number {
  while (p < end) {
    const c = bytes[p]!;
    if (PLAIN[c] === 1) p++;
    else if (c === 34) return p;
    else {
      p = letterEnd(bytes, p);
      if (p < 0) return -1;
    }
  }
  return -1;
}

export function codePoints(bytes: Uint8Array, s: number, e: number): number {
  let n = 0;
  for (let p = s; p < e; p++) if ((bytes[p]! & 0xc0) !== 0x80) n++;
  return n;
}

/** Four ASCII digits, as a little-endian load sees them -> 0..9999; -1 for all else. */
export function fourDigits(word: number): number {
  const d = (word - 0x30303030) | 0;
  // Adding 0x76 lifts a byte above 9 over 0x7f; a byte below '0' has borrowed and stands above it already.
  if ((((d + 0x76767676) | d) & 0x80808080) !== 0) return -1;
  return (d & 15) * 1000 + ((d >>> 8) & 15) * 100 + ((d >>> 16) & 15) * 10 + (d >>> 24);
}

/** 10 to 18 digits at `s`, into pair = [lo, hi] of a 64-bit integer. */
export function longInteger(bytes: Uint8Array, s: number, end: number, minus: boolean, pair: Float64Array): number {
  let high = 0,
    low = 0,
    p = s;
  for (; p < end; p++) {
    const d = bytes[p]! - 48;
    if (d < 0 || d > 9) break;
    if (p - s < 9) high = high * 10 + d;
    else low = low * 10 + d;
  }
  const n = p - s;
  if (n < 10 || n > 18) return -1;
  // high x 10^k + low, k <= 9: the product in two halves of 16 bits, each far below 2^53.
  const unit = POWER[n - 9]!;
  const bottom = (high & 0xffff) * unit + low;
  const top = Math.floor(high / 65536) * unit;
  const sum = (top % 65536) * 65536 + bottom;
  let lo = sum % 4294967296;
  let hi = Math.floor(top / 65536) + Math.floor(sum / 4294967296);
  if (minus) {
    hi = lo === 0 ? 0 - hi : -hi - 1;
    lo = lo === 0 ? 0 : 4294967296 - lo;
  }
  pair[0] = lo;
  pair[1] = hi;
  return p;
}

/** A decimal of at most 15 digits without exponent: out = [all its digits as an integer, how many stand behind the point]. */
export function shortDecimal(bytes: Uint8Array, p: number, end: number, out: Float64Array): number {
  const minus = bytes[p] === 45;
  if (minus) p++;
  const s = p;
  let value = 0,
    d = 0;
  for (; p < end && (d = bytes[p]! - 48) >= 0 && d <= 9; p++) value = value * 10 + d;
  let digits = p - s,
    fraction = 0;
  if (digits === 0 || digits > 15 || (digits > 1 && bytes[s] === 48)) return -1;
  if (bytes[p] === 46) {
    const f = ++p;
    for (; p < end && (d = bytes[p]! - 48) >= 0 && d <= 9 && p - f < 16; p++) value = value * 10 + d;
    fraction = p - f;
    digits += fraction;
    if (fraction === 0 || digits > 15) return -1;
  }
  if (p < end && (bytes[p]! | 32) === 101) return -1;
  out[0] = minus ? 0 - value : value;
  out[1] = fraction;
  return p;
}

/** Any JSON number that is a finite double, into out[0]. Rare notations only: it makes a string. */
export function longDecimal(bytes: Uint8Array, p: number, end: number, out: Float64Array): number {
  const s = p;
  if (bytes[p] === 45) p++;
  const whole = p;
  p = digitsEnd(bytes, p, end);
  if (p === whole || (p - whole > 1 && bytes[whole] === 48)) return -1;
  if (p < end && bytes[p] === 46) {
    const f = ++p;
    if ((p = digitsEnd(bytes, p, end)) === f) return -1;
  }
  if (p < end && (bytes[p]! | 32) === 101) {
    p++;
    if (bytes[p] === 43 || bytes[p] === 45) p++;
    const x = p;
    if ((p = digitsEnd(bytes, p, end)) === x) return -1;
  }
  const value = Number(Buffer.from(bytes.buffer, bytes.byteOffset + s, p - s).toString('latin1'));
  if (!Number.isFinite(value)) return -1;
  out[0] = value + 0;
  return p;
}

function digitsEnd(bytes: Uint8Array, p: number, end: number): number {
  while (p < end && bytes[p]! >= 48 && bytes[p]! <= 57) p++;
  return p;
}

/** Order of two 64-bit integers. */
export function below(hi: number, lo: number, thanHi: number, thanLo: number): boolean {
  return hi < thanHi || (hi === thanHi && lo < thanLo);
}
