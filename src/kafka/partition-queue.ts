/**
 * What was fetched of one partition and not read yet: record sets in the order of their offsets, handed on batch by batch. Read committed:
 * control batches and batches of aborted transactions are passed over, but use up their offsets. What is buffered is no more than a
 * copy made ahead: it can be dropped at any time, and is then fetched again from the position on.
 */
import {
  APPEND_TIME,
  ATTRIBUTES_AT,
  BASE_TIMESTAMP_AT,
  CONTROL,
  HEADER_BYTES,
  int16At,
  int32At,
  int64At,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAX_TIMESTAMP_AT,
  PREFIX_BYTES,
  PRODUCER_ID_AT,
  TRANSACTIONAL,
} from '../../topology/consume/batch-header.ts';
import type { Far, PartitionReader, RawBatch } from '../log/port.ts';
import { Chunk } from './fetch-memory.ts';
import type { FetchMemory } from './fetch-memory.ts';
import type { RecordSet } from './record-set.ts';

/** A control record's key stands after its length, attributes, two deltas and key length of a byte each: version i16, type i16. */
const MARKER_AT = HEADER_BYTES + 7,
  ABORT = 0;

export interface KafkaBatch extends RawBatch {
  readonly leaderEpoch: number;
}
/** Where a partition's reader stands, and what it must find there. */
export interface PartitionStart {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Of the batch before `offset`; absent or -1: not known, nothing is held against it. */
  readonly leaderEpoch?: number | undefined;
  /** Absent: whatever it is now. */
  readonly topicId?: string | undefined;
}

export interface KafkaPartitionReader extends PartitionReader, Far {
  readonly topicId: string;
  /** Of the last batch before `position`; -1: not known. */
  readonly leaderEpoch: number;
  /** As of the last answer; -1 before the first. */
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  readonly logStartOffset: number;
  readonly bufferedBytes: number;
  /** Why it cannot go on; `peek` throws it once what came before is read. */
  readonly fault: Error | undefined;
  peek(): KafkaBatch | undefined;
}

interface Slice {
  chunk: Chunk;
  at: number;
  end: number;
  /** Pairs of producer id and first offset, ascending by the latter; `nextAborted` is the first that was not met yet. */
  readonly aborted: readonly number[];
  nextAborted: number;
  readonly abortedNow: Set<number>;
}
interface BatchView extends KafkaBatch {
  bytes: Uint8Array;
  baseOffset: number;
  lastOffset: number;
  firstTimestamp: number;
  maxTimestamp: number;
  leaderEpoch: number;
}

/** A record set moves when it is less than this part of its buffer. */
const COMPACT_BELOW = 4;
const NO_BYTES = new Uint8Array(0);

export class PartitionQueue implements KafkaPartitionReader {
  readonly far: Far = this;
  readonly topic: string;
  readonly partition: number;
  topicId: string;
  position: number;
  leaderEpoch: number;
  highWatermark = -1;
  lastStableOffset = -1;
  logStartOffset = -1;
  fault: Error | undefined;
  bufferedBytes = 0;
  isClosed = false;
  /** What is fetched next, and the epoch of the batch before it. */
  fetchOffset: number;
  fetchEpoch: number;
  readonly #memory: FetchMemory;
  readonly #onRoom: (queue: PartitionQueue) => void;
  readonly #slices: Slice[] = [];
  readonly #view: BatchView = { bytes: NO_BYTES, baseOffset: 0, lastOffset: 0, firstTimestamp: 0, maxTimestamp: 0, leaderEpoch: -1 };
  #isShown = false;
  /** A reader has looked at it, and may hold it. */
  #isSeen = false;
  /** The buffer of the batch that was shown last: its bytes stay valid until the next look. */
  #lastRead: Chunk | undefined;

  constructor(start: PartitionStart, topicId: string, memory: FetchMemory, onRoom: (queue: PartitionQueue) => void) {
    this.topic = start.topic;
    this.partition = start.partition;
    this.topicId = topicId;
    this.position = start.offset;
    this.leaderEpoch = start.leaderEpoch ?? -1;
    this.fetchOffset = start.offset;
    this.fetchEpoch = this.leaderEpoch;
    this.#memory = memory;
    this.#onRoom = onRoom;
  }

  get isKnown(): boolean {
    return this.highWatermark >= 0;
  }

  get atEnd(): boolean {
    return this.fault === undefined && this.highWatermark >= 0 && !this.#isShown && this.position >= this.highWatermark;
  }

  peek(): KafkaBatch | undefined {
    this.#releaseLast();
    if (this.#isShown) {
      this.#isSeen = true;
      return this.#view;
    }
    if (this.fault !== undefined) throw this.fault;
    return undefined;
  }

  advance(): void {
    if (!this.#isShown) throw new Error('advance without a batch that peek showed');
    const view = this.#view,
      slice = this.#slices[0]!;
    this.#releaseLast();
    this.#lastRead = slice.chunk;
    slice.chunk.readers++;
    this.#isShown = false;
    this.position = view.lastOffset + 1;
    this.leaderEpoch = view.leaderEpoch;
    this.#pass(slice, view.bytes.length);
    this.#settle();
    this.#onRoom(this);
  }

  close(): void {
    this.isClosed = true;
    this.#dropAll();
    this.#releaseLast();
    this.#isShown = false;
    this.#onRoom(this);
  }

  /** Takes over a record set of an answer to `fetchOffset`. */
  take(chunk: Chunk, set: RecordSet, aborted: readonly number[]): void {
    if (set.lastEpoch < 0) return;
    chunk.readers++;
    this.#slices.push({ chunk, at: set.from, end: set.to, aborted: ascending(aborted), nextAborted: 0, abortedNow: new Set() });
    this.bufferedBytes += set.to - set.from;
    this.fetchOffset = set.nextOffset;
    this.fetchEpoch = set.lastEpoch;
    if (!this.#isShown) this.#settle();
  }

  /** Back to what was read: what was fetched beyond it is not believed any more. A batch that a reader looked at stays. */
  dropAhead(): void {
    if (this.#isShown && this.#isSeen) {
      const slice = this.#slices.shift()!;
      this.#dropAll();
      const length = this.#view.bytes.length;
      this.#slices.push({ ...slice, end: slice.at + length });
      this.bufferedBytes = length;
      this.fetchOffset = this.#view.lastOffset + 1;
      this.fetchEpoch = this.#view.leaderEpoch;
    } else {
      this.#isShown = false;
      this.#dropAll();
      this.fetchOffset = this.position;
      this.fetchEpoch = this.leaderEpoch;
    }
  }

  /** Record sets that alone keep a much larger buffer from being used again get one of their own size. A batch that is shown stays. */
  compact(): void {
    for (let i = this.#isShown ? 1 : 0; i < this.#slices.length; i++) {
      const slice = this.#slices[i]!,
        { chunk, at, end } = slice,
        length = end - at;
      if (chunk.readers > 1 || length * COMPACT_BELOW > chunk.bytes.length) continue;
      const own = new Chunk(this.#memory.take(length));
      chunk.bytes.copy(own.bytes, 0, at, end);
      own.readers = 1;
      slice.chunk = own;
      slice.at = 0;
      slice.end = length;
      this.#memory.release(chunk);
    }
  }

  /** Shows the next batch that a reader may see; passes over what it may not, and moves the position past that. */
  #settle(): void {
    for (let slice = this.#slices[0]; slice !== undefined; slice = this.#slices[0]) {
      const bytes = slice.chunk.bytes,
        at = slice.at,
        length = int32At(bytes, at + LENGTH_AT) + PREFIX_BYTES,
        baseOffset = int64At(bytes, at),
        lastOffset = baseOffset + int32At(bytes, at + LAST_OFFSET_DELTA_AT),
        leaderEpoch = int32At(bytes, at + LEADER_EPOCH_AT);
      if (isForReaders(slice, bytes, at, length, lastOffset)) {
        const view = this.#view;
        view.bytes = bytes.subarray(at, at + length);
        view.baseOffset = baseOffset;
        view.lastOffset = lastOffset;
        view.maxTimestamp = int64At(bytes, at + MAX_TIMESTAMP_AT);
        // Where the log gives the time, it gives one to all records of a batch.
        const isAppendTime = (int16At(bytes, at + ATTRIBUTES_AT) & APPEND_TIME) !== 0;
        view.firstTimestamp = isAppendTime ? view.maxTimestamp : int64At(bytes, at + BASE_TIMESTAMP_AT);
        view.leaderEpoch = leaderEpoch;
        this.#isShown = true;
        this.#isSeen = false;
        return;
      }
      this.position = lastOffset + 1;
      this.leaderEpoch = leaderEpoch;
      this.#pass(slice, length);
    }
  }

  #pass(slice: Slice, length: number): void {
    slice.at += length;
    this.bufferedBytes -= length;
    if (slice.at < slice.end) return;
    this.#slices.shift();
    this.#memory.release(slice.chunk);
  }

  #dropAll(): void {
    for (const slice of this.#slices.splice(0)) this.#memory.release(slice.chunk);
    this.bufferedBytes = 0;
  }

  #releaseLast(): void {
    const chunk = this.#lastRead;
    this.#lastRead = undefined;
    if (chunk !== undefined) this.#memory.release(chunk);
  }
}

/** Not a marker, and not of a transaction that was aborted. Must be asked of every batch of a slice, in order. */
function isForReaders(slice: Slice, bytes: Uint8Array, at: number, length: number, lastOffset: number): boolean {
  const attributes = int16At(bytes, at + ATTRIBUTES_AT);
  if ((attributes & (CONTROL | TRANSACTIONAL)) === 0) return true;
  const { aborted, abortedNow } = slice,
    producerId = int64At(bytes, at + PRODUCER_ID_AT);
  for (; slice.nextAborted < aborted.length && aborted[slice.nextAborted + 1]! <= lastOffset; slice.nextAborted += 2)
    abortedNow.add(aborted[slice.nextAborted]!);
  if ((attributes & CONTROL) === 0) return !abortedNow.has(producerId);
  if (length > MARKER_AT + 1 && int16At(bytes, at + MARKER_AT) === ABORT) abortedNow.delete(producerId);
  return false;
}

function ascending(aborted: readonly number[]): readonly number[] {
  if (aborted.length <= 2) return aborted;
  const pairs = Array.from({ length: aborted.length / 2 }, (_, i) => [aborted[2 * i]!, aborted[2 * i + 1]!] as const);
  return pairs.sort((a, b) => a[1] - b[1]).flat();
}
