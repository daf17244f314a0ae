/**
 * The reader thread of a shard: reads its partitions in step, and puts decoded and gated records into parcels that the shard's thread
 * takes (`Inlet`). It stays ahead by as many parcels as there are, never more; a fault comes after everything that was read before it.
 */
import { once } from 'node:events';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { RecordKeyError } from '../../topology/contract/record-key.ts';
import { inputsOf, Intake } from '../../topology/intake.ts';
import { OpenParcel, PARCEL_BYTES } from '../../topology/parcel.ts';
import type { ParcelColumns } from '../../topology/parcel.ts';
import { monotonicMs, nowMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { codecsWith } from '../log/codecs.ts';
import { placedFault } from '../log/faults.ts';
import { InStep } from '../log/in-step.ts';
import { Lz4Blocks } from '../log/lz4-block.ts';
import { openLog } from '../log/segments.ts';
import { told } from './faults.ts';
import type { FromReader, ReaderOrder, ToReader } from './messages.ts';

/** Enough that neither thread waits for the other while both work; 3 to 4 MiB each. */
const PARCELS = 6;
/** When the log has nothing new it is looked at again after this time. */
const IDLE_MS = 25;
/** Which partitions are read to their end is asked this often, and told with the next parcel: each is two system calls. */
const LOOK_MS = 20;
/** A source without news says so this often, with the time: the watermark of a live run goes on by it. */
const NEWS_MS = 1_000;

const order = workerData as ReaderOrder;
const port = parentPort!;
const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
const lz4 = new Lz4Blocks(PARCELS * PARCEL_BYTES);
const parcels = Array.from(
  { length: PARCELS },
  (_, i) => new OpenParcel(inputsOf(order.plan), shared, lz4.arena.subarray(i * PARCEL_BYTES, (i + 1) * PARCEL_BYTES)),
);
const free = parcels.map((_, i) => i);
let isStopped = false;
const say = (message: FromReader): void => port.postMessage(message);

port.on('message', (message: ToReader) => {
  if (message.kind === 'free') free.push(message.parcel);
  else isStopped = true;
});

class Reader {
  private readonly log = openLog(order.logDir);
  private readonly source: InStep;
  private readonly intake: Intake;
  private caughtUp: boolean[];
  private readonly told: ArrayBufferView[][] = parcels.map(() => []);
  private lookedAt = monotonicMs();
  private saidAt = -Infinity;
  private wasIdle = false;

  constructor() {
    const { places, untilEnd } = order;
    this.source = new InStep(this.log, places, { untilEnd });
    this.intake = new Intake({ ...order, codecs: codecsWith(lz4) });
    this.caughtUp = this.source.caughtUp();
  }

  async run(): Promise<void> {
    while (!isStopped) {
      const number = free.shift();
      if (number === undefined) {
        await once(port, 'message');
        continue;
      }
      const parcel = parcels[number]!;
      parcel.clear();
      try {
        this.fill(parcel);
      } finally {
        if (parcel.pieces.length > 0) this.send(number, parcel);
        else free.unshift(number);
      }
      if (parcel.pieces.length > 0) await turn();
      else if (this.isIdle()) return;
      else await sleep(IDLE_MS);
    }
  }

  private fill(parcel: OpenParcel): void {
    while (!parcel.isFull) {
      const step = this.source.next();
      if (step === undefined) return;
      const { batch } = step;
      try {
        this.intake.take(parcel, step.index, batch.bytes, batch.lastOffset);
      } catch (error) {
        if (error instanceof RecordKeyError) throw keyFault(error, step.topic, step.partition, parcel.records.offset[error.record]!);
        throw placedFault(error, step.topic, step.partition, batch.baseOffset);
      }
      this.source.advance(step);
    }
  }

  private send(number: number, parcel: OpenParcel): void {
    const now = monotonicMs();
    if (this.wasIdle || now - this.lookedAt >= LOOK_MS) {
      this.caughtUp = this.source.caughtUp();
      this.lookedAt = now;
    }
    this.wasIdle = false;
    say({
      kind: 'parcel',
      parcel: number,
      records: parcel.records.count,
      events: parcel.events.count,
      pieces: parcel.pieces,
      rejected: parcel.rejected,
      columns: this.changed(number, parcel),
      caughtUp: this.caughtUp,
    });
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
    if (this.wasIdle && now - this.saidAt < NEWS_MS) return false;
    // The time first: what the look finds is true of it.
    const atMs = nowMs();
    this.caughtUp = this.source.caughtUp();
    if (this.caughtUp.includes(false)) return false;
    this.lookedAt = this.saidAt = now;
    this.wasIdle = true;
    say({ kind: 'idle', atMs, isEnd: order.untilEnd });
    return order.untilEnd;
  }

  close(): void {
    this.source.close();
    this.log.close();
  }
}

function keyFault(error: RecordKeyError, topic: string, partition: number, offset: number): TallyError {
  return new TallyError(
    'E_KEY',
    `${topic}, partition ${partition}, offset ${offset}: ${error.message}; with several shards its resend may reach another one and be counted twice`,
    'let producers key by the event id (UUIDs in lower case), name their key with .dedupe({ producerKey }), or run with --shards 1',
    3,
    error,
  );
}

async function main(): Promise<void> {
  const reader = new Reader();
  try {
    await reader.run();
  } finally {
    reader.close();
  }
}

main().then(
  () => port.close(),
  (cause: unknown) => {
    say({ kind: 'failed', ...told(cause) });
    port.close();
  },
);
