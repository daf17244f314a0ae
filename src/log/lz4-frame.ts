/**
 * LZ4 frames over a native block codec. The frame is walked here because the library's own frame reader costs seven times its
 * block reader, and because a bound must hold before anything is inflated. Read: any frame (linked or independent blocks).
 * Written: independent blocks of up to 4 MiB with the content's size, as Kafka's clients want them. Checksums inside the frame
 * are not asked again: the batch's CRC covers every byte.
 */
import { compressSync, uncompressSync } from 'lz4-napi';
import { BatchError } from '../../topology/consume/batch-error.ts';
import { xxh32Short } from './xxh32.ts';

const MAGIC = 0x184d2204;
const BLOCK_CHECKSUM = 0x10,
  CONTENT_SIZE = 0x08,
  CONTENT_CHECKSUM = 0x04,
  DICTIONARY = 0x01,
  INDEPENDENT = 0x20,
  VERSION_1 = 0x40;
const BLOCK_MAX = 4 * 1024 * 1024;
/** A linked block may look back this far. */
const WINDOW_BYTES = 64 * 1024;
const STORED = 0x80000000;

interface FrameHead {
  readonly blocksFrom: number;
  readonly blockMax: number;
  readonly independent: boolean;
  readonly blockChecksum: boolean;
  readonly contentChecksum: boolean;
  readonly contentSize: number;
}

export function lz4Inflate(frame: Uint8Array, maxBytes: number): Uint8Array {
  const b = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const head = readHead(b);
  if (head.contentSize > maxBytes) throw tooLarge(maxBytes);
  const parts: Uint8Array[] = [];
  let at = head.blocksFrom,
    total = 0;
  for (;;) {
    if (at + 4 > b.length) throw damaged('it ends in the middle');
    const word = b.readUInt32LE(at),
      size = (word & ~STORED) >>> 0;
    if (word === 0) break;
    if (size > head.blockMax || at + 4 + size > b.length) throw damaged(`a block of ${size} bytes`);
    const left = maxBytes - total;
    if (left <= 0 && size > 0) throw tooLarge(maxBytes);
    const part = word >= STORED ? b.subarray(at + 4, at + 4 + size) : inflateBlock(b, at, size, left, head, parts);
    if (part === undefined || part.length > left) throw tooLarge(maxBytes);
    total += part.length;
    parts.push(part);
    at += 4 + size + (head.blockChecksum ? 4 : 0);
  }
  if (at + 4 + (head.contentChecksum ? 4 : 0) !== b.length) throw damaged('bytes follow its end');
  if (head.contentSize >= 0 && total !== head.contentSize) throw damaged(`it holds ${total} bytes, not ${head.contentSize}`);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, total);
}

/**
 * The block reader wants the room it may use just before the block: where the frame has the block's size. It is put back.
 * Undefined: more than `left` bytes would come out.
 */
function inflateBlock(b: Buffer, at: number, size: number, left: number, head: FrameHead, before: Uint8Array[]): Uint8Array | undefined {
  const room = Math.min(head.blockMax, left);
  const known = head.contentSize >= 0 && head.contentSize <= head.blockMax && before.length === 0 ? head.contentSize : room;
  // An LZ4 byte yields at most 255: a small block needs no big room.
  b.writeUInt32LE(Math.min(known, size * 255 + 64), at);
  try {
    const packed = b.subarray(at, at + 4 + size);
    return head.independent || before.length === 0 ? uncompressSync(packed) : uncompressSync(packed, windowOf(before));
  } catch (cause) {
    if (/too small/.test((cause as Error).message) && room < head.blockMax) return undefined;
    throw damaged((cause as Error).message, cause);
  } finally {
    b.writeUInt32LE(size, at);
  }
}

function windowOf(parts: Uint8Array[]): Buffer {
  const tail: Uint8Array[] = [];
  for (let i = parts.length - 1, bytes = 0; i >= 0 && bytes < WINDOW_BYTES; i--) {
    tail.unshift(parts[i]!);
    bytes += parts[i]!.length;
  }
  const all = Buffer.concat(tail);
  return all.subarray(Math.max(0, all.length - WINDOW_BYTES));
}

function readHead(b: Buffer): FrameHead {
  if (b.length < 11 || b.readUInt32LE(0) !== MAGIC) throw damaged('it is no LZ4 frame');
  const flags = b[4]!,
    blockCode = (b[5]! >> 4) & 7;
  if ((flags & 0xc0) !== VERSION_1 || blockCode < 4) throw damaged('its header is invalid');
  if ((flags & DICTIONARY) !== 0) throw new BatchError('unsupported', 'its LZ4 frame needs a dictionary');
  const hasSize = (flags & CONTENT_SIZE) !== 0;
  const checksumAt = 6 + (hasSize ? 8 : 0);
  if (b.length < checksumAt + 5) throw damaged('it ends in the middle');
  return {
    blocksFrom: checksumAt + 1,
    blockMax: 2 ** (8 + 2 * blockCode),
    independent: (flags & INDEPENDENT) !== 0,
    blockChecksum: (flags & BLOCK_CHECKSUM) !== 0,
    contentChecksum: (flags & CONTENT_CHECKSUM) !== 0,
    contentSize: hasSize ? b.readUInt32LE(6) + b.readUInt32LE(10) * 4294967296 : -1,
  };
}

/** Parts to be written one after the other. */
export function lz4Deflate(bytes: Buffer<ArrayBuffer>): Buffer[] {
  const head = Buffer.alloc(15);
  head.writeUInt32LE(MAGIC, 0);
  head[4] = VERSION_1 | INDEPENDENT | CONTENT_SIZE;
  head[5] = 7 << 4;
  head.writeUInt32LE(bytes.length, 6);
  head[14] = (xxh32Short(head, 4, 14) >>> 8) & 0xff;
  const parts: Buffer[] = [head];
  for (let at = 0; at < bytes.length; at += BLOCK_MAX) {
    const block = bytes.subarray(at, Math.min(bytes.length, at + BLOCK_MAX)),
      packed = compressSync(block);
    if (packed.length - 4 < block.length) {
      packed.writeUInt32LE(packed.length - 4, 0);
      parts.push(packed);
    } else {
      const stored = Buffer.alloc(4);
      stored.writeUInt32LE((STORED | block.length) >>> 0, 0);
      parts.push(stored, block);
    }
  }
  parts.push(Buffer.alloc(4));
  return parts;
}

function damaged(what: string, cause?: unknown): BatchError {
  return new BatchError('malformed', `its checksum fits, but its LZ4 frame is damaged: ${what}`, Number.NaN, cause);
}

export function tooLarge(maxBytes: number): BatchError {
  return new BatchError('too-large', `it would inflate to more than the ${maxBytes} bytes allowed for one record batch`);
}
