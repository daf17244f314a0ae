/**
 * The native codecs behind the decoder of topology/consume: CRC32C and inflation, each with its bound asked before memory is
 * given. And the other way for the writer, as parts that are written one after the other.
 */
import zlib from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { BatchError } from '../../topology/consume/batch-error.ts';
import { GZIP, LZ4, NONE, SNAPPY, ZSTD } from '../../topology/consume/batch-header.ts';
import type { Codecs } from '../../topology/consume/cursor.ts';
import { Lz4Blocks } from './lz4-block.ts';
import { lz4Deflate, lz4Inflate, tooLarge } from './lz4-frame.ts';
import { snappyInflate } from './snappy.ts';

export type Compression = 'none' | 'lz4' | 'zstd';
export const COMPRESSIONS: readonly Compression[] = ['none', 'lz4', 'zstd'];

/** zlib inflates in pieces of this size; with its own 16 KiB a batch of a MiB costs a third more. */
const CHUNK_BYTES = 1024 * 1024;

/** The codecs of a thread. Batches are inflated in place when their records stand in the arena of `lz4`. */
export function codecsWith(lz4: Lz4Blocks): Codecs {
  return {
    crc32c: (bytes) => crc32c(bytes),
    inflate(compression, bytes, into, maxBytes) {
      switch (compression) {
        case NONE:
          return into.append(bytes);
        case LZ4:
          return lz4Inflate(lz4, bytes, into, maxBytes);
        case ZSTD:
          return into.append(bounded(zlib.zstdDecompressSync, bytes, maxBytes));
        case GZIP:
          return into.append(bounded(zlib.gunzipSync, bytes, maxBytes));
        case SNAPPY:
          return into.append(snappyInflate(bytes, maxBytes));
        default:
          throw new BatchError('unsupported', `compression ${compression} is unknown`);
      }
    },
  };
}

export const codecs: Codecs = codecsWith(new Lz4Blocks());

function bounded(
  read: (bytes: Uint8Array, options: { maxOutputLength: number; chunkSize: number }) => Uint8Array,
  bytes: Uint8Array,
  maxBytes: number,
): Uint8Array {
  try {
    return read(bytes, { maxOutputLength: maxBytes, chunkSize: CHUNK_BYTES });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes);
    throw new BatchError(
      'malformed',
      `its checksum fits, but its compressed records are damaged: ${(cause as Error).message}`,
      Number.NaN,
      cause,
    );
  }
}

export interface Deflated {
  /** The code that the header gets. */
  readonly code: number;
  readonly parts: readonly Uint8Array[];
}

export function deflate(compression: Compression, bytes: Buffer<ArrayBuffer>): Deflated {
  switch (compression) {
    case 'none':
      return { code: NONE, parts: [bytes] };
    case 'lz4':
      return { code: LZ4, parts: lz4Deflate(bytes) };
    case 'zstd':
      return { code: ZSTD, parts: [zlib.zstdCompressSync(bytes)] };
  }
}
