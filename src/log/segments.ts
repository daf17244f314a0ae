/**
 * A log on disk for readers: LOG/TOPIC-PARTITION/<20 digits>.log. Never writes. Offsets and times are found by the sparse index
 * where there is one, by a walk over headers where not. The end of a damaged log is one offset past its last good batch:
 * whoever reads up to it reads all that is good, and then meets the damage.
 */
import fs from 'node:fs';
import { HEADER_BYTES } from '../../topology/consume/batch-header.ts';
import { decodeBatch } from '../../topology/consume/cursor.ts';
import { Records } from '../../topology/consume/records.ts';
import { TallyError } from '../errors.ts';
import { codecs } from './codecs.ts';
import { placedFault, removed, truncated } from './faults.ts';
import { SegmentReader } from './partition-reader.ts';
import type { ReaderStart } from './partition-reader.ts';
import type { Log, PartitionReader } from './port.ts';
import { listSegments, segmentPath } from './segment-file.ts';
import { readIndex, startBy } from './segment-index.ts';
import type { IndexEntry } from './segment-index.ts';
import { checkLogDir, listTopics, partitionCount, partitionDir } from './topics.ts';

export interface SegmentLogOptions {
  readonly chunkBytes?: number;
}

export function openLog(dir: string, options: SegmentLogOptions = {}): SegmentLog {
  checkLogDir(dir);
  return new SegmentLog(dir, options);
}

export class SegmentLog implements Log {
  readonly dir: string;
  readonly #chunkBytes: number | undefined;
  /** Readers of headers that stand at the end, one a partition that was asked for; so the end costs what was added since. */
  readonly #tails = new Map<string, SegmentReader>();
  readonly #counts = new Map<string, number>();

  constructor(dir: string, options: SegmentLogOptions) {
    this.dir = dir;
    this.#chunkBytes = options.chunkBytes;
  }

  topics(): string[] {
    return [...listTopics(this.dir).keys()];
  }

  partitions(topic: string): number {
    const count = partitionCount(this.dir, topic);
    this.#counts.set(topic, count);
    return count;
  }

  endOffset(topic: string, partition: number): number {
    this.#check(topic, partition);
    const name = `${topic}-${partition}`;
    let tail = this.#tails.get(name);
    try {
      if (tail === undefined) {
        tail = this.#readerFrom(topic, partition, Number.POSITIVE_INFINITY, { chunkBytes: HEADER_BYTES, uncommitted: true });
        this.#tails.set(name, tail);
      }
      while (tail.peek() !== undefined) tail.advance();
      return tail.offset;
    } catch (error) {
      if (error instanceof TallyError && error.code === 'E_CORRUPT_BATCH' && tail !== undefined) return tail.offset + 1;
      throw error;
    }
  }

  startOffset(topic: string, partition: number): number {
    this.#check(topic, partition);
    return listSegments(partitionDir(this.dir, topic, partition))[0] ?? 0;
  }

  reader(topic: string, partition: number, offset: number): PartitionReader {
    const start = this.startOffset(topic, partition),
      end = this.endOffset(topic, partition);
    if (offset > end) throw truncated(topic, partition, offset, end);
    if (offset < start && offset > 0) throw removed(topic, partition, offset, start);
    const reader = this.#readerFrom(topic, partition, Math.max(offset, start), {});
    for (let batch = reader.peek(); batch !== undefined && batch.lastOffset < offset; batch = reader.peek()) reader.advance();
    return reader;
  }

  /** The first offset whose record's time is at or after `ms`; the log's end when there is none. */
  offsetForTime(topic: string, partition: number, ms: number): number {
    this.#check(topic, partition);
    const dir = partitionDir(this.dir, topic, partition),
      records = new Records();
    for (const base of listSegments(dir)) {
      const start = entryOf(dir, base, (e) => e.maxTimeBefore < ms);
      const reader = new SegmentReader({ dir, topic, partition, base, position: start.position, offset: start.offset, ...this.#chunk() });
      try {
        for (let batch = reader.peek(); batch !== undefined && reader.base === base; batch = reader.peek()) {
          if (batch.maxTimestamp >= ms) {
            decodeBatch(batch.bytes, records, codecs);
            for (let i = 0; i < records.count; i++) if (records.timestamp[i]! >= ms) return records.offset[i]!;
          }
          reader.advance();
        }
      } catch (error) {
        throw placedFault(error, topic, partition, reader.offset);
      } finally {
        reader.close();
      }
    }
    return this.endOffset(topic, partition);
  }

  close(): void {
    for (const tail of this.#tails.values()) tail.close();
    this.#tails.clear();
  }

  /** At a batch that begins at or before `offset`. */
  #readerFrom(topic: string, partition: number, offset: number, more: Partial<ReaderStart>): SegmentReader {
    const dir = partitionDir(this.dir, topic, partition),
      bases = listSegments(dir);
    const base = bases.findLast((b) => b <= offset) ?? bases[0] ?? 0;
    const start = entryOf(dir, base, (e) => e.offset <= offset);
    return new SegmentReader({ dir, topic, partition, base, position: start.position, offset: start.offset, ...this.#chunk(), ...more });
  }

  #chunk(): { chunkBytes?: number } {
    return this.#chunkBytes === undefined ? {} : { chunkBytes: this.#chunkBytes };
  }

  #check(topic: string, partition: number): void {
    const count = this.#counts.get(topic) ?? this.partitions(topic);
    if (Number.isInteger(partition) && partition >= 0 && partition < count) return;
    throw new TallyError(
      'E_PARTITION_MISSING',
      `Topic "${topic}" has ${count} partition${count === 1 ? '' : 's'}; there is no partition ${partition}.`,
      'Partitions are numbered from 0.',
    );
  }
}

function entryOf(dir: string, base: number, fits: (entry: IndexEntry) => boolean): IndexEntry {
  const none = { offset: base, position: 0, maxTimeBefore: Number.NEGATIVE_INFINITY };
  let fd: number;
  try {
    fd = fs.openSync(segmentPath(dir, base), 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none;
    throw error;
  }
  try {
    const entries = readIndex(dir, base, fs.fstatSync(fd).size);
    return entries.length === 0 ? none : startBy(entries, fd, base, fits);
  } finally {
    fs.closeSync(fd);
  }
}
