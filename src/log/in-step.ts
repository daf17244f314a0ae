/**
 * The partitions of a shard, read in step: the next batch is always the one whose first record is the oldest (then the order in
 * which the partitions were given), so that none runs away from the others when a month is read again. What is handed out depends on the
 * log's contents alone. With `untilEnd` each partition ends at the end it had when this was made.
 */
import type { Log, PartitionReader, RawBatch } from './port.ts';

/** Partitions that were at their end are looked at again after this many batches of the others (a look costs two system calls). */
const LOOK_AGAIN_BATCHES = 16;

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

export class InStep {
  readonly ends: readonly number[] | undefined;
  readonly #readers: PartitionReader[] = [];
  readonly #places: readonly PartitionPlace[];
  /** First time of the batch that each partition shows; +Infinity: it was at its end at the last look. */
  readonly #times: Float64Array;
  readonly #isUnseen: Uint8Array;
  #step: Step | undefined;
  #taken = -1;
  #sinceLook = 0;

  constructor(log: Log, places: readonly PartitionPlace[], options: InStepOptions = {}) {
    this.#places = places.map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    const ends = options.ends ?? (options.untilEnd === true ? places.map((p) => log.endOffset(p.topic, p.partition)) : undefined);
    this.ends = ends;
    try {
      for (const p of places) this.#readers.push(log.reader(p.topic, p.partition, p.offset));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#times = new Float64Array(places.length).fill(Number.POSITIVE_INFINITY);
    this.#isUnseen = new Uint8Array(places.length).fill(1);
  }

  /** The next batch, or undefined when every partition is at its end. It shows the same until `advance`. */
  next(): Step | undefined {
    if (this.#taken >= 0) return this.#step;
    if (this.#sinceLook >= LOOK_AGAIN_BATCHES && this.ends === undefined) this.#lookAgain();
    let best = this.#oldest();
    if (best < 0) {
      this.#lookAgain();
      best = this.#oldest();
      if (best < 0) return undefined;
    }
    const batch = this.#readers[best]!.peek()!,
      place = this.#places[best]!;
    if (this.#step === undefined) this.#step = { index: best, topic: place.topic, partition: place.partition, batch };
    this.#step.index = best;
    this.#step.topic = place.topic;
    this.#step.partition = place.partition;
    this.#step.batch = batch;
    this.#taken = best;
    return this.#step;
  }

  /** Goes past the batch that `next` showed. */
  advance(step: Step): void {
    if (step.index !== this.#taken) throw new Error('advance past a batch that next did not show');
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
      return this.#times[i] === Number.POSITIVE_INFINITY;
    });
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  #oldest(): number {
    const times = this.#times,
      unseen = this.#isUnseen;
    let best = -1,
      least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < times.length; i++) {
      if (unseen[i] === 1) this.#look(i);
      if (times[i]! < least) {
        least = times[i]!;
        best = i;
      }
    }
    return best;
  }

  #look(i: number): void {
    const batch = this.#readers[i]!.peek();
    const isIn = batch !== undefined && (this.ends === undefined || batch.baseOffset < this.ends[i]!);
    this.#times[i] = isIn ? batch.firstTimestamp : Number.POSITIVE_INFINITY;
    this.#isUnseen[i] = 0;
  }

  #lookAgain(): void {
    this.#sinceLook = 0;
    for (let i = 0; i < this.#times.length; i++) {
      if (this.#times[i] === Number.POSITIVE_INFINITY) this.#isUnseen[i] = 1;
    }
  }
}
