/**
 * LZ4 blocks, in AssemblyScript: compiled into src/log/lz4-code.ts by scripts/assembly.mjs. Every length and distance is checked before a byte
 * is copied; copies go in steps of 16 bytes, so up to 15 bytes behind what they read and what they write must belong to the caller.
 * Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */

/** The block is damaged. */
const DAMAGED: i32 = -1;
/** More than [dst, dstEnd) would come out. */
const TOO_LARGE: i32 = -2;

/** Inflates [src, srcEnd) to dst; matches may reach back to `window`. Gives the number of bytes, or what is wrong. */
export function inflate(src: usize, srcEnd: usize, dst: usize, dstEnd: usize, window: usize): i32 {
  let ip = src;
  let op = dst;
  while (ip < srcEnd) {
    const token: usize = load<u8>(ip++);
    let n = token >> 4;
    if (n == 15) {
      let more: usize = 255;
      while (more == 255) {
        if (ip >= srcEnd) return DAMAGED;
        more = load<u8>(ip++);
        n += more;
      }
    }
    if (n > srcEnd - ip) return DAMAGED;
    if (n > dstEnd - op) return TOO_LARGE;
    v128.store(op, v128.load(ip));
    for (let i: usize = 16; i < n; i += 16) v128.store(op + i, v128.load(ip + i));
    ip += n;
    op += n;
    // The last sequence has no match.
    if (ip == srcEnd) return <i32>(op - dst);
    if (srcEnd - ip < 2) return DAMAGED;
    const back: usize = load<u16>(ip);
    ip += 2;
    if (back == 0 || back > op - window) return DAMAGED;
    n = token & 15;
    if (n == 15) {
      let more: usize = 255;
      while (more == 255) {
        if (ip >= srcEnd) return DAMAGED;
        more = load<u8>(ip++);
        n += more;
      }
    }
    n += 4;
    if (n > dstEnd - op) return TOO_LARGE;
    const from = op - back;
    if (back >= 16) {
      v128.store(op, v128.load(from));
      for (let i: usize = 16; i < n; i += 16) v128.store(op + i, v128.load(from + i));
    } else {
      for (let i: usize = 0; i < n; i++) store<u8>(op + i, load<u8>(from + i));
    }
    op += n;
  }
  return DAMAGED;
}
