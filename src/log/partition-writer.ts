/**
 * Appends whole batches to one partition, beside any number of other processes that do. Each append happens under the partition's
 * lock: find the end as it is now, cut what a killed producer left torn, give the batch its offset, write it at once.
 * The end is where the last batch with a right checksum ends; a damaged one refuses the append.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { ATTRIBUTES_AT, BASE_OFFSET_AT, CRC_AT, putInt64, uint32At } from '../../topology/consume/batch-header.ts';
import { TallyError } from '../errors.ts';
import { FileLock } from '../lock.ts';
import type { SealedBatch } from './batch-builder.ts';
import { corruptBatch } from './faults.ts';
import { SegmentReader } from './partition-reader.ts';
import { listSegments, segmentPath } from './segment-file.ts';
import { IndexWriter, readIndex, startBy } from './segment-index.ts';
import { partitionDir, syncDir } from './topics.ts';

const LOCK_WAIT_MS = 30_000;

export class PartitionWriter {
  readonly topic: string;
  readonly partition: number;
  readonly #dir: string;
  readonly #segmentBytes: number;
  #fd = -1;
  #base = 0;
  #end = 0;
  #offset = 0;
  #index: IndexWriter | undefined;
  #isDirty = false;

  constructor(logDir: string, topic: string, partition: number, segmentBytes: number) {
    this.topic = topic;
    this.partition = partition;
    this.#dir = partitionDir(logDir, topic, partition);
    this.#segmentBytes = segmentBytes;
  }

  /** Appends the batch; its base offset. On disk for good after `sync`. */
  append(batch: SealedBatch): number {
    return this.#locked(() => {
      if (this.#end > 0 && this.#end + batch.bytes > this.#segmentBytes) this.#roll();
      putInt64(batch.parts[0]!, BASE_OFFSET_AT, this.#offset);
      this.#write(batch.parts);
      this.#isDirty = true;
      const offset = this.#offset;
      this.#index?.note(offset, this.#end, batch.maxTimestamp);
      this.#end += batch.bytes;
      this.#offset += batch.count;
      return offset;
    });
  }

  /** The offset that the next record gets, when nobody else appends before. */
  nextOffset(): number {
    return this.#locked(() => this.#offset);
  }

  sync(): void {
    if (!this.#isDirty || this.#fd < 0) return;
    fs.fsyncSync(this.#fd);
    this.#isDirty = false;
  }

  close(): void {
    this.sync();
    this.#letGo();
  }

  #locked<T>(work: () => T): T {
    const file = path.join(this.#dir, '.lock'),
      lock = FileLock.lockSync(file, LOCK_WAIT_MS);
    if (lock === undefined)
      throw new TallyError('E_LOG_LOCKED', `Another process holds ${file} for ${LOCK_WAIT_MS / 1000} s.`, 'Wait for it, or end it.');
    try {
      if (!this.#isUnchanged()) this.#findEnd();
      return work();
    } finally {
      lock.unlock();
    }
  }

  /** Nobody appended, cut or rolled since this writer's last append. */
  #isUnchanged(): boolean {
    if (this.#fd < 0) return false;
    const stat = fs.fstatSync(this.#fd);
    if (stat.nlink === 0)
      throw new TallyError(
        'E_LOG_MISSING',
        `${segmentPath(this.#dir, this.#base)} was removed while it was written.`,
        'Start the producer again.',
      );
    return stat.size === this.#end && (this.#end === 0 || !fs.existsSync(segmentPath(this.#dir, this.#offset)));
  }

  #findEnd(): void {
    // Whoever rolled has synced the file that this writer appended to; if the file only grew, it still must be.
    const base = listSegments(this.#dir).at(-1) ?? 0;
    if (base !== this.#base) this.#isDirty = false;
    this.#letGo();
    this.#open(base);
    const size = fs.fstatSync(this.#fd).size,
      entries = readIndex(this.#dir, base, size);
    const start = startBy(entries, this.#fd, base, () => true);
    this.#index = new IndexWriter(
      this.#dir,
      base,
      entries.filter((e) => e.position <= start.position),
    );
    const reader = new SegmentReader({
      dir: this.#dir,
      topic: this.topic,
      partition: this.partition,
      base,
      position: start.position,
      offset: start.offset,
      uncommitted: true,
    });
    try {
      for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
        const bytes = batch.bytes;
        if (crc32c(bytes.subarray(ATTRIBUTES_AT)) !== uint32At(bytes, CRC_AT))
          throw corruptBatch(
            this.topic,
            this.partition,
            batch.baseOffset,
            'its checksum (CRC32C) does not fit its bytes',
            segmentPath(this.#dir, base),
          );
        this.#index.note(batch.baseOffset, reader.position, batch.maxTimestamp);
        reader.advance();
      }
      this.#end = reader.position;
      this.#offset = reader.offset;
    } finally {
      reader.close();
    }
    if (size > this.#end) fs.ftruncateSync(this.#fd, this.#end);
  }

  #roll(): void {
    fs.fsyncSync(this.#fd);
    this.#isDirty = false;
    this.#letGo();
    this.#open(this.#offset);
    this.#index = new IndexWriter(this.#dir, this.#offset, []);
    this.#end = 0;
  }

  #open(base: number): void {
    const file = segmentPath(this.#dir, base),
      isNew = !fs.existsSync(file);
    this.#fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
    this.#base = base;
    if (isNew) syncDir(this.#dir);
  }

  /** What a full disk or a fault left of the batch is cut at once; if that fails too, the next producer does it. */
  #write(parts: readonly Uint8Array[]): void {
    try {
      writeParts(this.#fd, parts, this.#end);
    } catch (error) {
      const end = this.#end,
        fd = this.#fd;
      try {
        fs.ftruncateSync(fd, end);
      } catch {
        // Torn bytes at the end are no damage.
      }
      throw error;
    }
  }

  #letGo(): void {
    this.#index?.close();
    this.#index = undefined;
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
  }
}

function writeParts(fd: number, parts: readonly Uint8Array[], position: number): void {
  let wrote = fs.writevSync(fd, parts, position);
  // A short write goes on where it ended.
  for (const part of parts) {
    if (wrote >= part.length) {
      wrote -= part.length;
      position += part.length;
      continue;
    }
    for (let at = wrote; at < part.length;) at += fs.writeSync(fd, part, at, part.length - at, position + at);
    position += part.length;
    wrote = 0;
  }
}
