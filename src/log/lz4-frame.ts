/**
 * LZ4 frames over a block codec each way. The frame is walked here because a bound must hold before anything is inflated. Read: any
 * frame (linked or independent blocks).
 * Written: independent blocks of up to 4 MiB with the content's size, as Kafka's clients want them. Checksums inside the frame
 * are not asked again: the batch's CRC covers every byte.
 */
import { compressSync } from 'lz4-napi';
import { BatchError } from '../../topology/consume/batch-error.ts';
import type { Records } from '../../topology/consume/records.ts';
import { BLOCK_BYTES_MAX, SLACK_BYTES } from './lz4-block.ts';
import type { Lz4Blocks } from './lz4-block.ts';
import { xxh32Short } from './xxh32.ts';

const MAGIC = 0x184d2204;
const BLOCK_CHECKSUM = 0x10,
  CONTENT_SIZE = 0x08,
  CONTENT_CHECKSUM = 0x04,
  DICTIONARY = 0x01,
  INDEPENDENT = 0x20,
  VERSION_1 = 0x40;
/** What Lz4Blocks says when a block yields more than it may. */
const TOO_LARGE = -2;
const STORED = 0x80000000;

interface FrameHead {
  readonly blocksFrom: number;
  readonly blockMax: number;
  readonly independent: boolean;
  readonly blockChecksum: boolean;
  readonly contentChecksum: boolean;
  readonly contentSize: number;
}

/** Appends what the frame holds. */
export function lz4Inflate(lz4: Lz4Blocks, frame: Uint8Array, into: Records, maxBytes: number): void {
  const b = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const head = readHead(b),
    start = into.used;
  if (head.contentSize > maxBytes) throw tooLarge(maxBytes);
  // At once what is needed in the end: growing step by step would hold the old and the new. A byte yields at most 255.
  if (head.contentSize > 0) into.reserveBytes(Math.min(head.contentSize, b.length * 255) + SLACK_BYTES);
  let at = head.blocksFrom;
  for (;;) {
    if (at + 4 > b.length) throw damaged('it ends in the middle');
    const word = b.readUInt32LE(at),
      size = (word & ~STORED) >>> 0;
    if (word === 0) break;
    if (size > head.blockMax || at + 4 + size > b.length) throw damaged(`a block of ${size} bytes`);
    const left = maxBytes - (into.used - start),
      block = b.subarray(at + 4, at + 4 + size);
    if (word < STORED) inflateBlock(lz4, block, into, head, start, maxBytes);
    else if (size > left) throw tooLarge(maxBytes);
    else into.append(block);
    at += 4 + size + (head.blockChecksum ? 4 : 0);
  }
  if (at + 4 + (head.contentChecksum ? 4 : 0) !== b.length) throw damaged('bytes follow its end');
  const total = into.used - start;
  if (head.contentSize >= 0 && total !== head.contentSize) throw damaged(`it holds ${total} bytes, not ${head.contentSize}`);
}

function inflateBlock(lz4: Lz4Blocks, packed: Uint8Array, into: Records, head: FrameHead, start: number, maxBytes: number): void {
  const before = into.used - start,
    left = maxBytes - before;
  // What is known of the contents, so that no more room is asked for than they need: a byte yields at most 255.
  const known = head.contentSize < 0 ? Infinity : head.contentSize - before,
    most = Math.max(0, Math.min(head.blockMax, left, known, packed.length * 255));
  into.reserveBytes(most + SLACK_BYTES);
  const made = lz4.inflate(packed, into.bytes, into.used, most, head.independent ? into.used : start);
  if (made >= 0) into.used += made;
  else if (made === TOO_LARGE && most === left && left < head.blockMax) throw tooLarge(maxBytes);
  else throw damaged(made === TOO_LARGE ? `a block yields more than ${most} bytes` : 'a block contradicts itself');
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
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES_MAX) {
    const block = bytes.subarray(at, Math.min(bytes.length, at + BLOCK_BYTES_MAX)),
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

function damaged(what: string): BatchError {
  return new BatchError('malformed', `its checksum fits, but its LZ4 frame is damaged: ${what}`);
}

export function tooLarge(maxBytes: number): BatchError {
  return new BatchError('too-large', `it would inflate to more than the ${maxBytes} bytes allowed for one record batch`);
}
