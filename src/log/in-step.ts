/**
 * The partitions of a shard, read in step: the next batch is always the one whose first record is the oldest (then the order in
 * which the partitions were given), so that none runs away from the others when a month is read again. What is handed out of a log on disk
 * depends on its contents alone. A partition whose next batch is still on its way holds the others back: for a moment altogether, then
 * as far as they run ahead of it by more than `maxSkewMs`. With `ends` each partition ends there.
 */
import { monotonicMs } from '../clock.ts';
import type { Log, PartitionReader, RawBatch } from './port.ts';

/** Partitions that were at their end are looked at again after this many batches of the others (a look costs two system calls). */
const LOOK_AGAIN_BATCHES = 16;
/** What is on its way is waited for this long before the others go on without it. */
const PATIENCE_MS = 500;
const NO_TIME = Number.POSITIVE_INFINITY;

export interface PartitionPlace {
  readonly topic: string;
  readonly partition: number;
  /** The next record to read. */
  readonly offset: number;
}
export interface InStepOptions {
  readonly untilEnd?: boolean;
  /** In the order of the places; taken instead of the log's ends now. Implies `untilEnd`. */
  readonly ends?: readonly number[];
}
/** One object, used again by every call; its batch is valid until the next. */
export interface Step {
  /** Which of the places. */
  index: number;
  topic: string;
  partition: number;
  batch: RawBatch;
}
/** A partition that the others wait for. */
export interface Held {
  readonly topic: string;
  readonly partition: number;
  readonly sinceMs: number;
}

/** A log on disk, in step. */
export function readInStep(log: Log, places: readonly PartitionPlace[], options: InStepOptions = {}): InStep {
  const ends = options.ends ?? (options.untilEnd === true ? places.map((p) => log.endOffset(p.topic, p.partition)) : undefined),
    readers: PartitionReader[] = [];
  try {
    for (const p of places) readers.push(log.reader(p.topic, p.partition, p.offset));
  } catch (error) {
    for (const reader of readers) reader.close();
    throw error;
  }
  return new InStep(readers, ends);
}

export class InStep {
  readonly ends: readonly number[] | undefined;
  readonly #readers: PartitionReader[];
  readonly #maxSkewMs: number;
  readonly #now: () => number;
  /** First time of the batch that each partition shows; NO_TIME: it showed none at the last look. */
  readonly #times: Float64Array;
  readonly #isUnseen: Uint8Array;
  /** Since when the next batch is on its way; 0: it is not. */
  readonly #waitsSince: Float64Array;
  /** The latest time that was read of each partition. */
  readonly #read: Float64Array;
  #step: Step | undefined;
  #taken = -1;
  #sinceLook = 0;

  constructor(readers: PartitionReader[], ends?: readonly number[], maxSkewMs: number = NO_TIME, now: () => number = monotonicMs) {
    this.#readers = readers;
    this.ends = ends;
    this.#maxSkewMs = maxSkewMs;
    this.#now = now;
    this.#times = new Float64Array(readers.length).fill(NO_TIME);
    this.#isUnseen = new Uint8Array(readers.length).fill(1);
    this.#waitsSince = new Float64Array(readers.length);
    this.#read = new Float64Array(readers.length).fill(-NO_TIME);
  }

  /** The next batch, or undefined when there is none to read now. It shows the same until `advance`. */
  next(): Step | undefined {
    if (this.#taken >= 0) return this.#step;
    if (this.#sinceLook >= LOOK_AGAIN_BATCHES && this.ends === undefined) this.#lookAgain();
    for (let i = 0; i < this.#waitsSince.length; i++) if (this.#waitsSince[i] !== 0) this.#isUnseen[i] = 1;
    let best = this.#oldest();
    if (best < 0) {
      this.#lookAgain();
      best = this.#oldest();
      if (best < 0) return undefined;
    }
    if (this.#isHeld(this.#times[best]!)) return undefined;
    const { topic, partition } = this.#readers[best]!,
      batch = this.#readers[best]!.peek()!;
    this.#step ??= { index: best, topic, partition, batch };
    this.#step.index = best;
    this.#step.topic = topic;
    this.#step.partition = partition;
    this.#step.batch = batch;
    this.#taken = best;
    return this.#step;
  }

  /** Goes past the batch that `next` showed. */
  advance(step: Step): void {
    if (step.index !== this.#taken) throw new Error('advance past a batch that next did not show');
    this.#read[step.index] = Math.max(this.#read[step.index]!, step.batch.maxTimestamp);
    this.#readers[step.index]!.advance();
    this.#isUnseen[step.index] = 1;
    this.#taken = -1;
    this.#sinceLook++;
  }

  /** Partition by partition: nothing is left to read now. */
  caughtUp(): boolean[] {
    this.#lookAgain();
    return Array.from(this.#times, (_, i) => {
      if (i !== this.#taken && this.#isUnseen[i] === 1) this.#look(i);
      return this.#times[i] === NO_TIME && this.#waitsSince[i] === 0;
    });
  }

  /** Of a log that is far away, the next offset of a partition that has not been passed; markers and aborted records have. Else -1. */
  position(index: number): number {
    return this.#readers[index]!.far?.position ?? -1;
  }

  /** The partition that has kept the others waiting for the longest time. */
  held(): Held | undefined {
    let longest = -1;
    for (const [i, since] of this.#waitsSince.entries()) if (since > 0 && (longest < 0 || since < this.#waitsSince[longest]!)) longest = i;
    if (longest < 0) return undefined;
    const { topic, partition } = this.#readers[longest]!;
    return { topic, partition, sinceMs: this.#waitsSince[longest]! };
  }

  /** Another reader in the place of one that cannot go on. */
  replace(index: number, reader: PartitionReader): void {
    this.#readers[index]!.close();
    this.#readers[index] = reader;
    this.#isUnseen[index] = 1;
    this.#waitsSince[index] = 0;
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  #oldest(): number {
    const times = this.#times,
      unseen = this.#isUnseen;
    let best = -1,
      least = NO_TIME;
    for (let i = 0; i < times.length; i++) {
      if (unseen[i] === 1) this.#look(i);
      if (times[i]! < least) {
        least = times[i]!;
        best = i;
      }
    }
    return best;
  }

  /** Whether a batch of this time must wait for one that is on its way. */
  #isHeld(time: number): boolean {
    for (let i = 0; i < this.#waitsSince.length; i++) {
      if (this.#waitsSince[i] === 0) continue;
      if (this.#now() - this.#waitsSince[i]! < PATIENCE_MS || time > this.#read[i]! + this.#maxSkewMs) return true;
    }
    return false;
  }

  #look(i: number): void {
    const reader = this.#readers[i]!,
      batch = reader.peek(),
      { far } = reader,
      end = this.ends?.[i] ?? NO_TIME;
    this.#times[i] = batch !== undefined && batch.baseOffset < end ? batch.firstTimestamp : NO_TIME;
    this.#isUnseen[i] = 0;
    if (far === undefined) return;
    if (batch !== undefined || far.atEnd || (far.isKnown && far.position >= end)) this.#waitsSince[i] = 0;
    else if (this.#waitsSince[i] === 0) this.#waitsSince[i] = Math.max(1, this.#now());
  }

  #lookAgain(): void {
    this.#sinceLook = 0;
    for (let i = 0; i < this.#times.length; i++) if (this.#times[i] === NO_TIME) this.#isUnseen[i] = 1;
  }
}
