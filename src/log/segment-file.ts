/**
 * One partition's segment files: <20 digits of the base offset>.log, Kafka's own bytes. Here is decided what the bytes after the
 * last whole batch are: a torn append (the log ends before it) or damage. Only what a killed append can leave counts as torn.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crc32c } from '@node-rs/crc32';
import {
  ATTRIBUTES_AT,
  CRC_AT,
  HEADER_BYTES,
  int32At,
  int64At,
  LAST_OFFSET_DELTA_AT,
  LENGTH_AT,
  MAGIC,
  MAGIC_AT,
  PREFIX_BYTES,
  putInt64,
  uint32At,
} from '../../topology/consume/batch-header.ts';

/** A batch that claims more is damaged: its length would be memory. */
export const BATCH_BYTES_MAX = 512 * 1024 * 1024;
const SCAN_BYTES = 1024 * 1024;
const LOG_NAME = /^\d{20}\.log$/;

export const segmentName = (base: number): string => `${String(base).padStart(20, '0')}.log`;
export const segmentPath = (dir: string, base: number): string => path.join(dir, segmentName(base));

/** Base offsets, ascending. */
export function listSegments(dir: string): number[] {
  return fs
    .readdirSync(dir)
    .filter((name) => LOG_NAME.test(name))
    .map((name) => Number(name.slice(0, 20)))
    .sort((a, b) => a - b);
}

/** Reads until `length` bytes are there or the file ends. */
export function readFully(fd: number, into: Uint8Array, at: number, length: number, position: number): number {
  let got = 0;
  while (got < length) {
    const n = fs.readSync(fd, into, at + got, length - got, position + got);
    if (n === 0) break;
    got += n;
  }
  return got;
}

/**
 * What is wrong with a batch header where `offset` must begin and `left` bytes are in the file; undefined: nothing, `whole` says
 * if all of it is there.
 */
export function headerFault(b: Uint8Array, at: number, offset: number): string | undefined {
  const magic = b[at + MAGIC_AT]!,
    base = int64At(b, at),
    length = int32At(b, at + LENGTH_AT);
  if (magic !== MAGIC) return magic < 2 && base === offset ? `record format v${magic} is not read, only v2` : 'no batch begins here';
  if (base !== offset) return `its header says offset ${base}`;
  if (length < HEADER_BYTES - PREFIX_BYTES || length + PREFIX_BYTES > BATCH_BYTES_MAX) return `its header claims ${length} bytes`;
  if (int32At(b, at + LAST_OFFSET_DELTA_AT) < 0) return 'its header has a negative count of offsets';
  return undefined;
}

/**
 * Judges the bytes from `position` to `size` of a partition's LAST file, where no whole batch stands: undefined is torn, else what
 * is damaged.
 */
export function tailFault(fd: number, position: number, size: number, offset: number): string | undefined {
  const left = size - position,
    head = Buffer.alloc(HEADER_BYTES),
    have = readFully(fd, head, 0, Math.min(left, HEADER_BYTES), position);
  if (have < left && have < HEADER_BYTES) return undefined;
  const want = Buffer.alloc(8);
  putInt64(want, 0, offset);
  let same = 0;
  while (same < have && same < MAGIC_AT + 1 && (same >= 8 || head[same] === want[same])) same++;
  // The pages of a killed machine's last write may be zeros, from anywhere on.
  if (zerosFrom(fd, position + Math.min(same, LENGTH_AT), size)) return undefined;
  if (same < Math.min(8, have)) return headOf(head) === undefined ? 'no batch begins here' : `its header says offset ${headOf(head)}`;
  if (have > MAGIC_AT && head[MAGIC_AT] !== MAGIC)
    return zerosFrom(fd, position + PREFIX_BYTES, size) ? undefined : `no batch of format v2 begins here (magic ${head[MAGIC_AT]})`;
  if (have < PREFIX_BYTES) return undefined;
  const length = int32At(head, LENGTH_AT);
  if (length < HEADER_BYTES - PREFIX_BYTES || length + PREFIX_BYTES > BATCH_BYTES_MAX) return `its header claims ${length} bytes`;
  if (have < HEADER_BYTES) return undefined;
  return hiddenBatch(fd, position, size, offset, head);
}

const headOf = (head: Uint8Array): number | undefined => (head[MAGIC_AT] === MAGIC ? int64At(head, 0) : undefined);

/** A batch whose damaged length reaches beyond the file looks torn. It is not when its checksum fits up to the end, or its successor follows. */
function hiddenBatch(fd: number, position: number, size: number, offset: number, head: Buffer): string | undefined {
  const next = offset + int32At(head, LAST_OFFSET_DELTA_AT) + 1,
    pattern = Buffer.alloc(8),
    crc = uint32At(head, CRC_AT);
  if (next <= offset) return 'its header has a negative count of offsets';
  putInt64(pattern, 0, next);
  const chunk = Buffer.allocUnsafe(Math.min(SCAN_BYTES, size - position) + HEADER_BYTES);
  let state = 0;
  for (let at = position + ATTRIBUTES_AT; at < size; at += SCAN_BYTES) {
    const got = readFully(fd, chunk, 0, Math.min(chunk.length, size - at), at);
    state = crc32c(chunk.subarray(0, Math.min(got, SCAN_BYTES)), state);
    for (let i = chunk.subarray(0, got).indexOf(pattern); i >= 0 && i < SCAN_BYTES; i = chunk.subarray(0, got).indexOf(pattern, i + 1)) {
      if (i + HEADER_BYTES > got || chunk[i + MAGIC_AT] !== MAGIC) continue;
      const length = int32At(chunk, i + LENGTH_AT);
      if (length >= HEADER_BYTES - PREFIX_BYTES && at + i + PREFIX_BYTES + length <= size)
        return 'its length does not fit the batch that follows';
    }
  }
  return state === crc ? 'its length does not fit its bytes' : undefined;
}

/** True when every byte from `from` to `size` is zero (or there is none). */
export function zerosFrom(fd: number, from: number, size: number): boolean {
  const chunk = Buffer.allocUnsafe(Math.min(SCAN_BYTES, Math.max(0, size - from))),
    zeros = Buffer.alloc(chunk.length);
  for (let at = from; at < size; at += chunk.length) {
    const got = readFully(fd, chunk, 0, Math.min(chunk.length, size - at), at);
    if (got === 0) return true;
    if (chunk.compare(zeros, 0, got, 0, got) !== 0) return false;
  }
  return true;
}
