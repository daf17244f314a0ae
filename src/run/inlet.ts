/**
 * The shard's side of its reader thread: hands out parcels in the order in which they were filled, gives each back when it was taken, and
 * says what the reader knows of the log's end. What it says belongs to what was handed out so far, never to what still waits.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Parcel, ParcelColumns } from '../../topology/parcel.ts';
import type { ReadTo } from '../../topology/shard.ts';
import { monotonicMs } from '../clock.ts';
import { Pause } from '../pause.ts';
import { faultOf } from './faults.ts';
import type { FromReader, ReaderOrder, ToReader } from './messages.ts';
import type { Passed, Start } from './source.ts';

/** A reader that does not end by itself is ended. */
const CLOSE_MS = 2_000;

export interface InletTells {
  trouble(sentence: string): void;
  /** In its place among the parcels: reading goes on behind records that are gone. */
  passed(passed: Passed): void;
}

export class Inlet {
  /** By partition: nothing was left to read when the last parcel was sent. */
  caughtUp: readonly boolean[];
  /** The log had nothing more at `idleAtMs`, and nothing has been handed out since. */
  isIdle = false;
  idleAtMs = 0;
  /** By this process's own clock, when that was heard last; -Infinity: never. */
  idleHeardAt = -Infinity;
  /** Everything that was to be read has been handed out. */
  isAtEnd = false;
  /** By partition: where the log ends, as far as it is known. */
  ends: readonly number[] = [];
  /** Where the places begin; rejects when the log cannot be read. */
  readonly opened: Promise<readonly Start[]>;
  private readonly begun = Promise.withResolvers<readonly Start[]>();
  private readonly tells: InletTells;
  private readonly worker: Worker;
  /** By parcel number. */
  private readonly columns: ParcelColumns[] = [];
  private readonly numbers = new Map<Parcel, number>();
  private readonly queue: Exclude<FromReader, { kind: 'opened' | 'ends' | 'trouble' }>[] = [];
  private fault: Error | undefined;
  private readonly arrived = new Pause();

  constructor(order: ReaderOrder, tells: InletTells) {
    this.tells = tells;
    this.opened = this.begun.promise;
    this.opened.catch(() => {});
    this.caughtUp = (order.hop?.sources ?? order.places).map(() => false);
    const file = new URL(`./reader${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
    this.worker = new Worker(file, { workerData: order });
    this.worker.on('message', (messages: readonly FromReader[]) => {
      for (const message of messages) this.hear(message);
    });
    this.worker.on('error', (error: Error) => this.fail(error));
    this.worker.on('exit', () => this.fail(new Error('a reader ended without a word')));
  }

  /** The next parcel; undefined when there is none yet, after that time at the latest. What the reader failed of is thrown once all before it was handed out. */
  async next(waitMs: number): Promise<Parcel | undefined> {
    if (this.queue.length === 0 && !this.isAtEnd) {
      if (this.fault !== undefined) throw this.fault;
      await this.arrived.sleep(waitMs);
    }
    for (let message = this.queue.shift(); message !== undefined; message = this.queue.shift()) {
      const parcel = this.open(message);
      if (parcel !== undefined) return parcel;
    }
    return undefined;
  }

  free(parcel: Parcel): void {
    const number = this.numbers.get(parcel);
    if (number === undefined) throw new Error('a parcel is given back once');
    this.numbers.delete(parcel);
    this.tell({ kind: 'free', parcel: number });
  }

  /** What the state holds from now on: for a log that wants to know. */
  committed(readTo: readonly ReadTo[]): void {
    this.tell({ kind: 'committed', readTo });
  }

  async close(): Promise<void> {
    if (this.worker.threadId < 0) return;
    const exited = once(this.worker, 'exit');
    this.tell({ kind: 'stop' });
    const late = setTimeout(() => void this.worker.terminate(), CLOSE_MS);
    await exited;
    clearTimeout(late);
  }

  /** What need not wait its turn is taken at once. */
  private hear(message: FromReader): void {
    if (message.kind === 'opened') return this.begun.resolve(message.starts);
    if (message.kind === 'ends') return void (this.ends = message.ends);
    if (message.kind === 'trouble') return this.tells.trouble(message.sentence);
    if (message.kind === 'failed') this.begun.reject(faultOf(message));
    this.queue.push(message);
    this.arrived.wake();
  }

  private open(message: Exclude<FromReader, { kind: 'opened' | 'ends' | 'trouble' }>): Parcel | undefined {
    switch (message.kind) {
      case 'passed':
        this.tells.passed(message.passed);
        return undefined;
      case 'parcel':
        this.isIdle = false;
        this.caughtUp = message.caughtUp;
        return this.made(message);
      case 'idle':
        this.isIdle = true;
        this.idleAtMs = message.atMs;
        this.idleHeardAt = monotonicMs();
        this.isAtEnd = message.isEnd;
        this.caughtUp = this.caughtUp.map(() => true);
        return undefined;
      case 'failed':
        throw faultOf(message);
    }
  }

  private made(message: Extract<FromReader, { kind: 'parcel' }>): Parcel {
    if (message.columns !== null) this.columns[message.parcel] = message.columns;
    const { records, events } = this.columns[message.parcel]!;
    records.count = message.records;
    events.count = message.events;
    const parcel = { records, events, pieces: message.pieces, hops: message.hops, rejected: message.rejected };
    this.numbers.set(parcel, message.parcel);
    return parcel;
  }

  private fail(error: Error): void {
    this.fault ??= error;
    this.begun.reject(error);
    this.arrived.wake();
  }

  private tell(message: ToReader): void {
    this.worker.postMessage(message);
  }
}
