/**
 * The sparse index beside a segment, <base>.idx: where some batches begin, by offset and by time. Made by the writer, one entry a MiB
 * of log; only a hint: a lost, cut or stale one costs a walk over headers, and an entry counts only when the batch header
 * it points at agrees. Format: 8 bytes "TLYIDX" 0 1 (the version), then entries of 32 bytes, little-endian: baseOffset f64, position
 * f64, the highest timestamp before it in this segment f64, CRC32C of these 24 bytes u32, zeros.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { HEADER_BYTES, int64At, MAGIC, MAGIC_AT } from '../../topology/consume/batch-header.ts';
import { readFully } from './segment-file.ts';

const MARK = Buffer.from('TLYIDX\u0000\u0001', 'latin1');
const ENTRY_BYTES = 32;
export const INDEX_INTERVAL_BYTES = 1024 * 1024;

export interface IndexEntry {
  readonly offset: number;
  readonly position: number;
  /** -Infinity for the first batch. */
  readonly maxTimeBefore: number;
}

export const indexPath = (dir: string, base: number): string => path.join(dir, `${String(base).padStart(20, '0')}.idx`);

/** The entries that can be believed so far: whole, rising, within `size` bytes of log. Empty when there is no index. */
export function readIndex(dir: string, base: number, size: number): IndexEntry[] {
  let b: Buffer;
  try {
    b = fs.readFileSync(indexPath(dir, base));
  } catch {
    return [];
  }
  const entries: IndexEntry[] = [];
  if (b.length < MARK.length || !b.subarray(0, MARK.length).equals(MARK)) return entries;
  let offset = base - 1,
    position = -1;
  for (let at = MARK.length; at + ENTRY_BYTES <= b.length; at += ENTRY_BYTES) {
    if (crc32c(b.subarray(at, at + 24)) !== b.readUInt32LE(at + 24)) break;
    const entry = { offset: b.readDoubleLE(at), position: b.readDoubleLE(at + 8), maxTimeBefore: b.readDoubleLE(at + 16) };
    if (!(entry.offset > offset && entry.position > position && entry.position < size)) break;
    ({ offset, position } = entry);
    entries.push(entry);
  }
  return entries;
}

/** The last entry that `fits`, if the log agrees with it; else the segment's begin. */
export function startBy(entries: readonly IndexEntry[], fd: number, base: number, fits: (entry: IndexEntry) => boolean): IndexEntry {
  const head = Buffer.alloc(HEADER_BYTES);
  for (let i = entries.length - 1; i >= 0; i--) {
    const entry = entries[i]!;
    if (!fits(entry)) continue;
    const agrees =
      readFully(fd, head, 0, HEADER_BYTES, entry.position) === HEADER_BYTES &&
      head[MAGIC_AT] === MAGIC &&
      int64At(head, 0) === entry.offset;
    if (agrees) return entry;
  }
  return { offset: base, position: 0, maxTimeBefore: Number.NEGATIVE_INFINITY };
}

/** Appends to the index of one segment. A failure to write it is no failure: the log can do without. */
export class IndexWriter {
  readonly #path: string;
  #fd = -1;
  #last: IndexEntry | undefined;
  #maxTime = Number.NEGATIVE_INFINITY;

  /** Cuts off what lies at or beyond `kept`, the entries that hold. */
  constructor(dir: string, base: number, kept: readonly IndexEntry[]) {
    this.#path = indexPath(dir, base);
    this.#last = kept.at(-1);
    try {
      this.#fd = fs.openSync(this.#path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
      const bytes = Buffer.concat([MARK, ...kept.map(encode)]);
      const stands = Buffer.alloc(bytes.length);
      if (readFully(this.#fd, stands, 0, bytes.length, 0) !== bytes.length || !stands.equals(bytes)) writeAll(this.#fd, bytes, 0);
      if (fs.fstatSync(this.#fd).size > bytes.length) fs.ftruncateSync(this.#fd, bytes.length);
      this.#at = bytes.length;
    } catch {
      this.close();
    }
    if (this.#last !== undefined) this.#maxTime = this.#last.maxTimeBefore;
  }
  #at = 0;

  /** Told of every batch in order, from the last kept entry on. */
  note(offset: number, position: number, maxTimestamp: number): void {
    const due = this.#last === undefined || position - this.#last.position >= INDEX_INTERVAL_BYTES;
    if (due && this.#fd >= 0 && (this.#last === undefined || position > this.#last.position)) {
      this.#last = { offset, position, maxTimeBefore: this.#maxTime };
      try {
        writeAll(this.#fd, encode(this.#last), this.#at);
        this.#at += ENTRY_BYTES;
      } catch {
        this.close();
      }
    }
    if (maxTimestamp > this.#maxTime) this.#maxTime = maxTimestamp;
  }

  close(): void {
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
  }
}

function encode(entry: IndexEntry): Buffer {
  const b = Buffer.alloc(ENTRY_BYTES);
  b.writeDoubleLE(entry.offset, 0);
  b.writeDoubleLE(entry.position, 8);
  b.writeDoubleLE(entry.maxTimeBefore, 16);
  b.writeUInt32LE(crc32c(b.subarray(0, 24)), 24);
  return b;
}

export function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(fd, bytes, at, bytes.length - at, position + at);
}
