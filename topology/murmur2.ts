/** Kafka's own partitioner: murmur2 of the key's bytes, its sign bit dropped, modulo the partitions. */
const SEED = 0x9747b28c,
  M = 0x5bd1e995;

export function murmur2(b: Uint8Array, start: number = 0, end: number = b.length): number {
  let h = SEED ^ (end - start),
    at = start;
  for (; at + 4 <= end; at += 4) {
    let k = b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);
    k = Math.imul(k, M);
    k ^= k >>> 24;
    h = Math.imul(h, M) ^ Math.imul(k, M);
  }
  const left = end - at;
  if (left >= 3) h ^= b[at + 2]! << 16;
  if (left >= 2) h ^= b[at + 1]! << 8;
  if (left >= 1) h = Math.imul(h ^ b[at]!, M);
  h ^= h >>> 13;
  h = Math.imul(h, M);
  return h ^ (h >>> 15);
}

export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}
