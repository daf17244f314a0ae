/**
 * The LZ4 block decoder (src/log/assembly) and the memory that it works in, one a thread. Whoever takes its memory from here (`arena`)
 * gets blocks inflated in place; others get a copy. Native decoders make a buffer of each batch: with what the collector then has to do, they
 * cost twice as much (ARCHITECTURE.md). The memory is shared, so that another thread can read what was inflated.
 */
import { LZ4_CODE } from './lz4-code.ts';

/** The largest block that a frame may have. */
export const BLOCK_BYTES_MAX = 4 << 20;
/** A linked block may look back this far. */
export const WINDOW_BYTES = 64 << 10;
/** The decoder reads and writes up to this much behind an end. */
export const SLACK_BYTES = 16;
const PAGE_BYTES = 64 << 10;
/** A block that is no larger than what it holds is stored, not packed: a packed one is never larger. */
const PACKED_AT = 0,
  OUT_AT = BLOCK_BYTES_MAX + PAGE_BYTES,
  ARENA_AT = OUT_AT + WINDOW_BYTES + BLOCK_BYTES_MAX + PAGE_BYTES;

/** Of the runtime's own; the compiler's library for servers leaves it out. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number; shared: true }) => { readonly buffer: SharedArrayBuffer };
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
};

type Inflate = (src: number, srcEnd: number, dst: number, dstEnd: number, window: number) => number;

export class Lz4Blocks {
  /** Memory whose owner hands it out in pieces, each with SLACK_BYTES of its own at the end. */
  readonly arena: Uint8Array;
  private readonly bytes: Uint8Array;
  private readonly code: Inflate;

  constructor(arenaBytes = 0) {
    const pages = Math.ceil((ARENA_AT + arenaBytes) / PAGE_BYTES),
      memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(LZ4_CODE, 'base64')), { env: { memory } });
    this.code = exports['inflate'] as Inflate;
    this.bytes = new Uint8Array(memory.buffer);
    this.arena = this.bytes.subarray(ARENA_AT, ARENA_AT + arenaBytes);
  }

  /**
   * Inflates one block to into[at...], at most `most` bytes and SLACK_BYTES that mean nothing; its matches may reach back to `window`.
   * Gives the number of bytes; below 0: damaged (-1), or more than `most` (-2).
   */
  inflate(packed: Uint8Array, into: Uint8Array, at: number, most: number, window: number): number {
    const { bytes } = this,
      // Into shared memory words are copied only when both sides have the same place in a word; else byte by byte, four times as slow.
      packedAt = PACKED_AT + (packed.byteOffset & 7),
      packedEnd = packedAt + packed.length;
    bytes.set(packed, packedAt);
    if (into.buffer === bytes.buffer) {
      const from = into.byteOffset;
      return this.code(packedAt, packedEnd, from + at, from + at + most, from + window);
    }
    const back = Math.min(WINDOW_BYTES, at - window);
    bytes.set(into.subarray(at - back, at), OUT_AT);
    const made = this.code(packedAt, packedEnd, OUT_AT + back, OUT_AT + back + most, OUT_AT);
    if (made > 0) into.set(bytes.subarray(OUT_AT + back, OUT_AT + back + made), at);
    return made;
  }
}
