/** xxHash32 of fewer than 16 bytes, seed 0: the header checksum of an LZ4 frame, which never covers more. */
const PRIME_2 = 0x85ebca77,
  PRIME_3 = 0xc2b2ae3d,
  PRIME_4 = 0x27d4eb2f,
  PRIME_5 = 0x165667b1,
  PRIME_1 = 0x9e3779b1;

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

export function xxh32Short(b: Uint8Array, from: number, to: number): number {
  if (to - from >= 16) throw new Error('xxh32Short takes fewer than 16 bytes');
  let h = (PRIME_5 + (to - from)) | 0,
    at = from;
  for (; at + 4 <= to; at += 4) {
    const word = b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);
    h = Math.imul(rotate((h + Math.imul(word, PRIME_3)) | 0, 17), PRIME_4);
  }
  for (; at < to; at++) h = Math.imul(rotate((h + Math.imul(b[at]!, PRIME_5)) | 0, 11), PRIME_1);
  h = Math.imul(h ^ (h >>> 15), PRIME_2);
  h = Math.imul(h ^ (h >>> 13), PRIME_3);
  return (h ^ (h >>> 16)) >>> 0;
}
