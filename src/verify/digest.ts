/**
 * Ids and contents as 128 bits: a UUID's own, of any other text the first half of its SHA-256. Two texts with the same digest are taken
 * for the same text.
 */
import { hash } from 'node:crypto';
import { UUID } from './formats.ts';

export const DIGEST_WORDS = 4;
export type Digest = Uint32Array;
export const newDigest = (): Digest => new Uint32Array(DIGEST_WORDS);

export function idDigest(id: string, out: Digest): void {
  if (id.length !== 36 || !UUID.test(id)) return textDigest(id, out);
  out[0] = Number.parseInt(id.slice(0, 8), 16);
  out[1] = Number.parseInt(id.slice(9, 13) + id.slice(14, 18), 16);
  out[2] = Number.parseInt(id.slice(19, 23) + id.slice(24, 28), 16);
  out[3] = Number.parseInt(id.slice(28, 36), 16);
}

export function textDigest(text: string, out: Digest): void {
  const bytes = hash('sha256', text, 'binary');
  for (let w = 0; w < DIGEST_WORDS; w++) {
    const at = 4 * w;
    out[w] = (bytes.charCodeAt(at) << 24) | (bytes.charCodeAt(at + 1) << 16) | (bytes.charCodeAt(at + 2) << 8) | bytes.charCodeAt(at + 3);
  }
}

/** Where the digest would stand in an index. */
export const hashOf = (d: Digest): number => (d[0]! ^ Math.imul(d[1]!, 0x85ebca6b) ^ Math.imul(d[2]!, 0xc2b2ae35) ^ d[3]!) >>> 0;
