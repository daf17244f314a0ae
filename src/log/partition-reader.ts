/**
 * Reads one partition's segment files batch by batch, from an offset to whatever is whole now, and on when more comes. Shows only
 * whole batches; a torn end is an end, damage is E_CORRUPT_BATCH. The bytes of a batch stand in the reader's one buffer, read
 * when they are asked for: who only looks at headers pays for headers. Read committed: batches of aborted transactions
 * are passed over, an undecided one is an end.
 */
import fs from 'node:fs';
import {
  ATTRIBUTES_AT,
  BASE_TIMESTAMP_AT,
  CONTROL,
  HEADER_BYTES,
  int16At,
  int32At,
  int64At,
  LAST_OFFSET_DELTA_AT,
  LENGTH_AT,
  MAX_TIMESTAMP_AT,
  PREFIX_BYTES,
  PRODUCER_ID_AT,
  TRANSACTIONAL,
} from '../../topology/consume/batch-header.ts';
import { corruptBatch } from './faults.ts';
import type { PartitionReader, RawBatch } from './port.ts';
import { headerFault, listSegments, readFully, segmentPath, tailFault } from './segment-file.ts';
import { Transactions } from './transactions.ts';

/** Larger reads gain nothing (measured); with 200 partitions this is 200 MiB. */
export const CHUNK_BYTES = 1024 * 1024;

export interface ReaderStart {
  readonly dir: string;
  readonly topic: string;
  readonly partition: number;
  /** The segment, and a batch of it: its place and base offset. */
  readonly base: number;
  readonly position: number;
  readonly offset: number;
  readonly chunkBytes?: number;
  /** Also what aborted transactions wrote, and what no marker decided yet. */
  readonly uncommitted?: boolean;
}

class BatchView implements RawBatch {
  readonly #reader: SegmentReader;
  baseOffset = 0;
  lastOffset = 0;
  firstTimestamp = 0;
  maxTimestamp = 0;
  attributes = 0;
  producerId = 0;
  length = 0;
  constructor(reader: SegmentReader) {
    this.#reader = reader;
  }
  get bytes(): Uint8Array {
    return this.#reader.bytes();
  }
}

export class SegmentReader implements PartitionReader {
  readonly topic: string;
  readonly partition: number;
  /** The offset that the next batch must begin at. */
  offset: number;
  base: number;
  position: number;
  readonly #start: ReaderStart;
  readonly #chunkBytes: number;
  readonly #view: BatchView;
  readonly #transactions: Transactions | undefined;
  #fd = -1;
  #size = 0;
  #changedMs = 0;
  #ready = false;
  #buffer = Buffer.alloc(0);
  #bufferFrom = 0;
  #bufferLength = 0;
  /** What was found torn: it is not judged again until it changes. */
  #tornPosition = -1;
  #tornSize = -1;
  /** Begin of the segment after this one, when there was one at last sight. */
  #later: number | undefined;

  constructor(start: ReaderStart) {
    this.#start = start;
    this.topic = start.topic;
    this.partition = start.partition;
    this.base = start.base;
    this.position = start.position;
    this.offset = start.offset;
    this.#chunkBytes = start.chunkBytes ?? CHUNK_BYTES;
    this.#view = new BatchView(this);
    this.#transactions = start.uncommitted === true ? undefined : new Transactions();
  }

  peek(): BatchView | undefined {
    while (!this.#ready) {
      if (!this.#atWholeBatch() && !this.#goOn()) return undefined;
      if (this.#ready && this.#transactions !== undefined && (this.#view.attributes & (TRANSACTIONAL | CONTROL)) === TRANSACTIONAL) {
        const fate = this.#transactions.fate(this.#view.producerId, this.offset, () => this.#ahead());
        if (fate === 'aborted') this.advance();
        else if (fate === 'open') {
          this.#ready = false;
          return undefined;
        }
      }
    }
    return this.#view;
  }

  advance(): void {
    if (!this.#ready) throw new Error('advance without a batch that peek showed');
    this.#ready = false;
    this.position += this.#view.length;
    this.offset = this.#view.lastOffset + 1;
  }

  /** The batch that peek showed, whole. */
  bytes(): Uint8Array {
    if (!this.#ready) throw new Error('bytes without a batch that peek showed');
    const at = this.#load(this.#view.length);
    if (at < 0) throw corruptBatch(this.topic, this.partition, this.offset, 'the file became shorter while it was read', this.#path());
    return this.#buffer.subarray(at, at + this.#view.length);
  }

  close(): void {
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
    this.#ready = false;
    this.#buffer = Buffer.alloc(0);
    this.#bufferLength = 0;
    this.#transactions?.close();
  }

  /** True when a whole batch stands at `position`: asked of what is known first, then of the file as it is now. */
  #atWholeBatch(): boolean {
    if (this.#fd >= 0 && this.#readHeader()) return true;
    this.#refresh();
    return this.#readHeader();
  }

  #readHeader(): boolean {
    if (this.#size - this.position < HEADER_BYTES) return false;
    const at = this.#load(HEADER_BYTES),
      b = this.#buffer,
      v = this.#view;
    if (at < 0 || headerFault(b, at, this.offset) !== undefined) return false;
    v.length = int32At(b, at + LENGTH_AT) + PREFIX_BYTES;
    if (v.length > this.#size - this.position) return false;
    v.baseOffset = this.offset;
    v.lastOffset = this.offset + int32At(b, at + LAST_OFFSET_DELTA_AT);
    v.firstTimestamp = int64At(b, at + BASE_TIMESTAMP_AT);
    v.maxTimestamp = int64At(b, at + MAX_TIMESTAMP_AT);
    v.attributes = int16At(b, at + ATTRIBUTES_AT);
    v.producerId = int64At(b, at + PRODUCER_ID_AT);
    this.#ready = true;
    return true;
  }

  /** No whole batch stands here: true when there may be one now (the next file, or the file changed), false at the log's end. */
  #goOn(): boolean {
    const size = this.#size,
      left = size - this.position,
      next = segmentPath(this.#start.dir, this.offset);
    const isRolled = this.offset !== this.base && fs.existsSync(next);
    if (!isRolled && this.#later === undefined) {
      if (left <= 0 || (this.#tornPosition === this.position && this.#tornSize === size)) return false;
      const fault = tailFault(this.#fd, this.position, size, this.offset);
      if (fault === undefined) {
        this.#tornPosition = this.position;
        this.#tornSize = size;
        return false;
      }
      return this.#changedOrThrow(fault);
    }
    if (left > 0)
      return this.#changedOrThrow(tailFault(this.#fd, this.position, size, this.offset) ?? 'it is cut, and another file follows');
    if (!isRolled) return this.#changedOrThrow(`records are missing: the next file begins at offset ${this.#later!}`);
    // The file may have grown between the look at it and the look at the next.
    if (this.#hasChanged()) return true;
    fs.closeSync(this.#fd);
    this.#fd = -1;
    this.base = this.offset;
    this.position = 0;
    this.#size = 0;
    return true;
  }

  #changedOrThrow(fault: string): boolean {
    if (this.#hasChanged()) return true;
    throw corruptBatch(this.topic, this.partition, this.offset, fault, this.#path());
  }

  #hasChanged(): boolean {
    const size = this.#size,
      changedMs = this.#changedMs;
    this.#refresh();
    return size !== this.#size || changedMs !== this.#changedMs;
  }

  /** Looks at the file as it is now. What was read before may have been a torn end that is cut meanwhile: it is dropped. */
  #refresh(): void {
    if (this.#fd < 0) {
      this.#later = listSegments(this.#start.dir).find((base) => base > this.base);
      const file = this.#path();
      // A partition without a file yet is empty.
      if (!fs.existsSync(file)) return;
      this.#fd = fs.openSync(file, 'r');
    }
    const stat = fs.fstatSync(this.#fd);
    this.#size = stat.size;
    this.#changedMs = stat.mtimeMs;
    this.#bufferLength = 0;
  }

  /** Where `length` bytes from `position` on stand in the buffer; -1 when the file has less. */
  #load(length: number): number {
    const at = this.position - this.#bufferFrom;
    if (at >= 0 && at + length <= this.#bufferLength) return at;
    const room = Math.max(length, this.#chunkBytes);
    if (this.#buffer.length < room || this.#buffer.length > 2 * room) this.#buffer = Buffer.allocUnsafeSlow(room);
    this.#bufferFrom = this.position;
    this.#bufferLength = readFully(this.#fd, this.#buffer, 0, Math.min(room, Math.max(0, this.#size - this.position)), this.position);
    return this.#bufferLength >= length ? 0 : -1;
  }

  #ahead(): SegmentReader {
    return new SegmentReader({
      ...this.#start,
      base: this.base,
      position: this.position,
      offset: this.offset,
      chunkBytes: 80,
      uncommitted: true,
    });
  }

  #path(): string {
    return segmentPath(this.#start.dir, this.base);
  }
}
