/**
 * The reader thread of a shard: reads its partitions, or those of the hop, in step, and puts decoded and gated records into parcels that
 * the shard's thread takes (`Inlet`). It stays ahead by as many parcels as there are, never more; a fault comes after everything that was read before it.
 */
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { RecordKeyError } from '../../topology/contract/record-key.ts';
import { inputsOf, Intake } from '../../topology/intake.ts';
import { HopIntake } from '../../topology/hop/intake.ts';
import { OpenParcel, PARCEL_BYTES } from '../../topology/parcel.ts';
import type { ParcelColumns } from '../../topology/parcel.ts';
import { monotonicMs, nowMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { hopFault } from '../hop/faults.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { codecsWith } from '../log/codecs.ts';
import { placedFault } from '../log/faults.ts';
import { Lz4Blocks } from '../log/lz4-block.ts';
import { told } from './faults.ts';
import type { FromReader, ReaderOrder, ToReader } from './messages.ts';
import { openSegmentSource } from './segment-source.ts';
import type { Source } from './source.ts';

/** Enough that neither thread waits for the other while both work; 6 to 8 MiB each. */
const PARCELS = 6;
/** So many full ones are handed over at once: each time wakes the other thread, which is done before the next one is full. */
const TOGETHER = 3;
/** When the log has nothing new it is looked at again after this time. */
const IDLE_MS = 25;
/** Which partitions are read to their end is asked this often, and told with the next parcel: each is two system calls. */
const LOOK_MS = 20;
/** Where the log ends is told this often. */
const ENDS_MS = 500;
/** A writer of the hop that is not heard for so long may have anything to read. */
const SILENCE_MS = 10_000;
/** A source without news says so this often, with the time: the watermark of a live run goes on by it. */
const NEWS_MS = 1_000;

const order = workerData as ReaderOrder;
const port = parentPort!;
const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
const lz4 = new Lz4Blocks(PARCELS * PARCEL_BYTES);
const parcels = Array.from(
  { length: PARCELS },
  (_, i) => new OpenParcel(inputsOf(order.plan), shared, lz4.arena.subarray(i * PARCEL_BYTES, (i + 1) * PARCEL_BYTES), order.hop !== null),
);
const free = parcels.map((_, i) => i);
let isStopped = false,
  source: Source | undefined;
const unsaid: FromReader[] = [];
function say(message: FromReader): void {
  unsaid.push(message);
  sayAll();
}
function sayAll(): void {
  if (unsaid.length > 0) port.postMessage(unsaid.splice(0));
}

port.on('message', (message: ToReader) => {
  if (message.kind === 'free') free.push(message.parcel);
  else if (message.kind === 'committed') source?.committed(message.readTo);
  else isStopped = true;
});

class Reader {
  private readonly source: Source;
  private readonly intake: Intake | null;
  private readonly hop: HopIntake | null;
  private caughtUp: boolean[];
  private readonly told: ArrayBufferView[][] = parcels.map(() => []);
  private lookedAt = monotonicMs();
  private saidAt = -Infinity;
  private wasIdle = false;

  constructor(source: Source) {
    this.source = source;
    const places = order.places.map((p, i) => ({ ...p, ...source.starts[i]! })),
      { hop } = order;
    this.intake = hop === null ? new Intake({ ...order, places, codecs: codecsWith(lz4) }) : null;
    this.hop = hop === null ? null : new HopIntake({ ...order, ...hop, hops: places, codecs: codecsWith(lz4) });
    this.caughtUp = (hop?.sources ?? places).map(() => false);
  }

  /** By partition: where the log ends. */
  ends(): readonly number[] {
    return this.hop === null ? this.source.ends() : [...this.hop.ends];
  }

  async run(): Promise<void> {
    while (!isStopped) {
      const number = free.shift();
      if (number === undefined) {
        sayAll();
        await once(port, 'message');
        continue;
      }
      const parcel = parcels[number]!;
      parcel.clear();
      const fault = this.fill(parcel),
        hasRead = parcel.pieces.length > 0 || parcel.hops.length > 0;
      // What was read before a fault goes first.
      if (hasRead) this.send(number, parcel);
      else {
        free.unshift(number);
        sayAll();
      }
      if (fault !== null) this.pass(fault.error);
      else if (hasRead) await turn();
      else if (this.isIdle()) return;
      else await this.source.news(IDLE_MS);
    }
  }

  /** What it failed of, if it did. */
  private fill(parcel: OpenParcel): { readonly error: unknown } | null {
    try {
      this.read(parcel);
      return null;
    } catch (error) {
      return { error };
    }
  }

  private read(parcel: OpenParcel): void {
    while (!parcel.isFull && !this.isRead()) {
      const step = this.source.step.next();
      if (step === undefined) return;
      const { batch } = step;
      try {
        this.intake?.take(parcel, step.index, batch.bytes, batch.lastOffset);
        this.hop?.take(parcel, step.index, batch.bytes, batch.lastOffset, monotonicMs());
      } catch (error) {
        if (error instanceof RecordKeyError) throw keyFault(error, step.topic, step.partition, parcel.records.offset[error.record]!);
        throw placedFault(error, step.topic, step.partition, batch.baseOffset);
      }
      this.source.step.advance(step);
    }
  }

  /** Over a hop: every source has been read to the end that was given. */
  private isRead(): boolean {
    const ends = order.hop?.ends ?? null;
    return this.hop !== null && ends !== null && ends.every((end, place) => this.hop!.heard[place]! >= end);
  }

  private pass(error: unknown): void {
    if (this.intake === null) throw hopFault(error);
    const passed = this.source.pass(error);
    if (passed === undefined) throw error;
    this.intake.moveTo(passed.place, passed.offset);
    say({ kind: 'passed', passed });
  }

  private send(number: number, parcel: OpenParcel): void {
    const now = monotonicMs();
    if (this.hop !== null) this.caughtUp = this.hop.caughtUpSince(now - SILENCE_MS);
    else if (this.wasIdle || now - this.lookedAt >= LOOK_MS) {
      this.caughtUp = this.source.step.caughtUp();
      this.lookedAt = now;
    }
    this.wasIdle = false;
    unsaid.push({
      kind: 'parcel',
      parcel: number,
      records: parcel.records.count,
      events: parcel.events.count,
      pieces: parcel.pieces,
      hops: parcel.hops,
      rejected: parcel.rejected,
      columns: this.changed(number, parcel),
      caughtUp: this.caughtUp,
    });
    // One that is not full is all that there was.
    if (!parcel.isFull || unsaid.length === TOGETHER) sayAll();
  }

  /** The parcel's columns when some of them are others than those that the shard's thread has. */
  private changed(number: number, { records, events }: OpenParcel): ParcelColumns | null {
    const arrays = [records.bytes, records.offset, events.time, events.keyBytes],
      known = this.told[number]!;
    if (arrays.every((array, i) => array === known[i])) return null;
    this.told[number] = arrays;
    return { records, events };
  }

  /** There is nothing to read now. True: nor will there ever be. */
  private isIdle(): boolean {
    const now = monotonicMs();
    if (this.hop !== null) return this.isIdleHop(this.hop, now);
    if (this.wasIdle && now - this.saidAt < NEWS_MS) return false;
    // The time first: what the look finds is true of it.
    const atMs = nowMs();
    this.caughtUp = this.source.step.caughtUp();
    if (this.caughtUp.includes(false)) return false;
    this.lookedAt = this.saidAt = now;
    this.wasIdle = true;
    say({ kind: 'idle', atMs, isEnd: order.untilEnd });
    return order.untilEnd;
  }

  /** The same, when the end of the log is what the writers say: as of when the first of them looked. */
  private isIdleHop(hop: HopIntake, now: number): boolean {
    const isEnd = this.isRead();
    if (!isEnd) {
      if (this.wasIdle && now - this.saidAt < NEWS_MS) return false;
      if (this.source.step.caughtUp().includes(false) || hop.caughtUpSince(now - SILENCE_MS).includes(false)) return false;
    }
    this.saidAt = now;
    this.wasIdle = true;
    say({ kind: 'idle', atMs: hop.saidAt.reduce((least, at) => Math.min(least, at), Infinity), isEnd });
    return isEnd;
  }
}

function keyFault(error: RecordKeyError, topic: string, partition: number, offset: number): TallyError {
  return new TallyError(
    'E_KEY',
    `${topic}, partition ${partition}, offset ${offset}: ${error.message}; with several shards its resend may reach another one and be counted twice`,
    'let producers key by the event id (UUIDs in lower case), name their key with .dedupe({ producerKey }), say .repartition({ by }) in the job, or run with --shards 1',
    3,
    error,
  );
}

async function openSource(): Promise<Source> {
  if (!isKafkaUrl(order.log)) return openSegmentSource(order);
  // A run on a log of files does not load the client.
  const { openKafkaSource } = await import('./kafka-source.ts');
  const onTrouble = (sentence: string): void => say({ kind: 'trouble', sentence });
  // A hop has no end of its own: it is read until it has given what the sources had.
  return openKafkaSource(order.hop === null ? order : { ...order, untilEnd: false, from: null }, onTrouble);
}

async function main(): Promise<void> {
  const opened = (source = await openSource());
  const reader = new Reader(opened),
    ends = (): void => say({ kind: 'ends', ends: reader.ends() });
  ends();
  say({ kind: 'opened', starts: opened.starts });
  const timer = setInterval(ends, ENDS_MS);
  try {
    await reader.run();
  } finally {
    clearInterval(timer);
    await opened.close();
  }
}

main().then(
  () => port.close(),
  (cause: unknown) => {
    say({ kind: 'failed', ...told(cause) });
    port.close();
  },
);
