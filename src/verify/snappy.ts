/**
 * Snappy, as other producers pack record batches: one block, or blocks of four bytes of length each behind the header that Java's library
 * writes. In goes what stands behind the batch's header; out come the records' bytes, or null when they are not what they say.
 */
const JAVA = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
const JAVA_HEADER_BYTES = 16,
  BLOCK_BYTES_MAX = 2 ** 30;

export function unsnap(packed: Buffer): Buffer | null {
  if (!packed.subarray(0, JAVA.length).equals(JAVA)) return block(packed);
  const blocks: Buffer[] = [];
  let rest = packed.subarray(JAVA_HEADER_BYTES);
  while (rest.length > 0) {
    const length = rest.length < 4 ? Infinity : rest.readUInt32BE(0);
    const plain = length > rest.length - 4 ? null : block(rest.subarray(4, 4 + length));
    if (plain === null) return null;
    blocks.push(plain);
    rest = rest.subarray(4 + length);
  }
  return Buffer.concat(blocks);
}

/** The length of all as a varint, then literals and copies of what came before. */
function block(b: Buffer): Buffer | null {
  let at = 0,
    size = 0;
  for (let shift = 0; ; shift += 7) {
    if (at === b.length || shift > 28) return null;
    size += (b[at]! & 127) * 2 ** shift;
    if (b[at++]! < 128) break;
  }
  // Three bytes make 64 at most: a size beyond that is not even tried.
  if (size > BLOCK_BYTES_MAX || size > 64 * b.length) return null;
  const out = Buffer.alloc(size);
  let made = 0;
  while (at < b.length) {
    const { length, from, next } = element(b, at);
    if (next > b.length || made + length > size) return null;
    if (from === 0) b.copy(out, made, next - length, next);
    else if (from > made) return null;
    else for (let i = made; i < made + length; i++) out[i] = out[i - from]!;
    made += length;
    at = next;
  }
  return made === size ? out : null;
}

/** How many bytes the element at `at` makes, from how far back (0: it is a literal and ends with them; Infinity: nowhere), and where the next one begins. */
function element(b: Buffer, at: number): { length: number; from: number; next: number } {
  const tag = b[at]!,
    high = tag >> 2,
    cut = { length: 0, from: 0, next: Infinity };
  const has = (bytes: number): boolean => at + 1 + bytes <= b.length;
  const back = (from: number): number => (from === 0 ? Infinity : from);
  switch (tag & 3) {
    case 0: {
      const extra = Math.max(0, high - 59);
      if (!has(extra)) return cut;
      const length = 1 + (extra === 0 ? high : b.readUIntLE(at + 1, extra));
      return { length, from: 0, next: at + 1 + extra + length };
    }
    case 1:
      return has(1) ? { length: 4 + (high & 7), from: back(((tag >> 5) << 8) + b[at + 1]!), next: at + 2 } : cut;
    case 2:
      return has(2) ? { length: 1 + high, from: back(b.readUInt16LE(at + 1)), next: at + 3 } : cut;
    default:
      return has(4) ? { length: 1 + high, from: back(b.readUInt32LE(at + 1)), next: at + 5 } : cut;
  }
}
