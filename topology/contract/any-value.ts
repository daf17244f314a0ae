/**
 * Past one JSON value that nobody reads, of a field that the contract does not know: bytes in, the place behind the value out, or
 * -1 for "let the slow path look". It passes only what the strict reader passes: well-formed UTF-8, no control characters, numbers by
 * the grammar, no unpaired surrogate, no key twice. Escaped keys, surrogate pairs and deep nesting are left to the slow path.
 */
import { letterEnd, plainEnd } from './value-bytes.ts';

const DEPTH_MAX = 8,
  KEYS_MAX = 64;

/** Where the keys of the objects that are open begin and end; an object's own are the last ones. */
const spans = new Int32Array(2 * KEYS_MAX);

export function anyValue(bytes: Uint8Array, view: DataView, p: number, limit: number): number {
  return value(bytes, view, p, limit, 0, 0);
}

function value(bytes: Uint8Array, view: DataView, p: number, limit: number, depth: number, keys: number): number {
  if (p >= limit) return -1;
  const c = bytes[p]!;
  if (c === 34) return stringEnd(bytes, view, p + 1, limit, true);
  if (c === 45 || (c >= 48 && c <= 57)) return numberEnd(bytes, p, limit);
  if (c === 123) return depth === DEPTH_MAX ? -1 : objectEnd(bytes, view, p + 1, limit, depth + 1, keys);
  if (c === 91) return depth === DEPTH_MAX ? -1 : arrayEnd(bytes, view, p + 1, limit, depth + 1, keys);
  return wordEnd(bytes, p, limit);
}

/** From inside a string to behind its closing quote. */
function stringEnd(bytes: Uint8Array, view: DataView, p: number, limit: number, escapes: boolean): number {
  for (;;) {
    p = plainEnd(view, p, limit);
    if (p >= limit) return -1;
    const c = bytes[p]!;
    if (c === 34) return p + 1;
    if (c > 127) p = letterEnd(bytes, p);
    else if (c === 92 && escapes) p = escapeEnd(bytes, p + 1, limit);
    else return -1;
    if (p < 0) return -1;
  }
}

function escapeEnd(bytes: Uint8Array, p: number, limit: number): number {
  if (p >= limit) return -1;
  const c = bytes[p]!;
  if (c === 34 || c === 92 || c === 47 || c === 98 || c === 102 || c === 110 || c === 114 || c === 116) return p + 1;
  if (c !== 117 || limit - p < 5) return -1;
  for (let j = 1; j <= 4; j++) {
    const h = bytes[p + j]!,
      letter = h | 32;
    if (!((h >= 48 && h <= 57) || (h > 57 && letter >= 97 && letter <= 102))) return -1;
  }
  // \uD800 to \uDFFF: whether it has its other half is the slow path's to say.
  const isSurrogate = (bytes[p + 1]! | 32) === 100 && bytes[p + 2]! >= 56;
  return isSurrogate ? -1 : p + 5;
}

function digitsEnd(bytes: Uint8Array, p: number, limit: number): number {
  while (p < limit && bytes[p]! >= 48 && bytes[p]! <= 57) p++;
  return p;
}

function numberEnd(bytes: Uint8Array, p: number, limit: number): number {
  if (bytes[p] === 45) p++;
  let from = p;
  p = p < limit && bytes[p] === 48 ? p + 1 : digitsEnd(bytes, p, limit);
  if (p === from) return -1;
  if (p < limit && bytes[p] === 46) {
    from = ++p;
    if ((p = digitsEnd(bytes, p, limit)) === from) return -1;
  }
  if (p < limit && (bytes[p]! | 32) === 101) {
    p++;
    if (p < limit && (bytes[p] === 43 || bytes[p] === 45)) p++;
    from = p;
    if ((p = digitsEnd(bytes, p, limit)) === from) return -1;
  }
  return p;
}

const WORDS = ['true', 'false', 'null'].map((word) => Buffer.from(word));

function wordEnd(bytes: Uint8Array, p: number, limit: number): number {
  for (const word of WORDS) {
    if (word[0] !== bytes[p] || limit - p < word.length) continue;
    for (let j = 1; j < word.length; j++) if (bytes[p + j] !== word[j]) return -1;
    return p + word.length;
  }
  return -1;
}

function arrayEnd(bytes: Uint8Array, view: DataView, p: number, limit: number, depth: number, keys: number): number {
  if (p < limit && bytes[p] === 93) return p + 1;
  for (;;) {
    p = value(bytes, view, p, limit, depth, keys);
    if (p < 0 || p >= limit) return -1;
    if (bytes[p] === 93) return p + 1;
    if (bytes[p] !== 44) return -1;
    p++;
    if (p < limit && bytes[p] === 32) p++;
  }
}

/** `keys`: how many keys the objects around it have had so far. */
function objectEnd(bytes: Uint8Array, view: DataView, p: number, limit: number, depth: number, keys: number): number {
  if (p < limit && bytes[p] === 125) return p + 1;
  for (let top = keys; ;) {
    if (p >= limit || bytes[p] !== 34 || top === KEYS_MAX) return -1;
    const from = p + 1;
    p = stringEnd(bytes, view, from, limit, false);
    if (p < 0 || p >= limit || bytes[p] !== 58 || isTwice(bytes, keys, top, from, p - 1)) return -1;
    spans[2 * top] = from;
    spans[2 * top + 1] = p - 1;
    top++;
    p++;
    if (p < limit && bytes[p] === 32) p++;
    p = value(bytes, view, p, limit, depth, top);
    if (p < 0 || p >= limit) return -1;
    if (bytes[p] === 125) return p + 1;
    if (bytes[p] !== 44) return -1;
    p++;
    if (p < limit && bytes[p] === 32) p++;
  }
}

function isTwice(bytes: Uint8Array, keys: number, top: number, from: number, end: number): boolean {
  for (let k = keys; k < top; k++) {
    const s = spans[2 * k]!;
    if (spans[2 * k + 1]! - s !== end - from) continue;
    let same = 0;
    while (from + same < end && bytes[s + same] === bytes[from + same]) same++;
    if (from + same === end) return true;
  }
  return false;
}
