/**
 * The writer thread of a shard's slice of the sources (of every topic the partitions p with p mod S = i): reads them in step and forwards
 * them over the hop, from where the hop itself says that it was. It has no state of its own; it may be killed at any moment, and two of
 * them at once only send twice.
 */
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { monotonicMs } from '../clock.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { openProducer } from '../kafka/produce/producer.ts';
import type { KafkaProducer } from '../kafka/produce/producer.ts';
import type { SourceMark } from '../../topology/hop/format.ts';
import { placedFault } from '../log/faults.ts';
import type { Step } from '../log/in-step.ts';
import { Pause } from '../pause.ts';
import { told } from '../run/faults.ts';
import { openKafkaSource, startsOf } from '../run/kafka-source.ts';
import type { Source, SourceOrder } from '../run/source.ts';
import { Forwarder } from './forward.ts';
import type { ForwardOrder } from './forward.ts';
import type { FromWriter, ToWriter } from './messages.ts';
import { lastMarks } from './resume.ts';

export interface WriterOrder extends SourceOrder, Omit<ForwardOrder, 'places'> {
  /** By slice: what the hop says of record times that are still to come (`Marker.time`); 0 before it has said anything. */
  readonly times: SharedArrayBuffer;
  /** Those that have any partition. */
  readonly slices: readonly number[];
}

/** How far it is, is told this often while records come, and at once when there is nothing more to read. */
const MARK_MS = 200,
  MARK_SOON_MS = 20;
/** Without news it is told again, with the time: the watermark of a live run goes on by it. */
const NEWS_MS = 1_000;
const IDLE_MS = 25;
/** Who waits for so long for another slice says so. */
const HELD_MS = 10_000;
/** Batches between two turns of the event loop, in which answers come in. */
const TURN_BATCHES = 8;

const order = workerData as WriterOrder;
const port = parentPort!;
const say = (message: FromWriter): void => port.postMessage(message);
let isStopped = false;
port.on('message', (message: ToWriter) => {
  if (message.kind === 'stop') isStopped = true;
});
const onTrouble = (sentence: string): void => say({ kind: 'trouble', sentence });

/** What the hop says of every place; of those that were never sent, where they begin. */
async function marksOf(): Promise<SourceMark[]> {
  const arrived = new Pause(),
    topics = [...new Set(order.places.map((p) => p.topic)), ...order.topics];
  const log = await openKafkaLog(order.log, topics, { ...order.kafka.security, onData: () => arrived.wake(), onTrouble });
  try {
    const found: (SourceMark | undefined)[] = [];
    for (const [source, topic] of order.topics.entries()) {
      const partitions = order.places.filter((p) => p.source === source).map((p) => p.partition);
      if (partitions.length === 0) continue;
      const marks = await lastMarks(log, arrived, topic, partitions, order.stamp);
      for (const [place, p] of order.places.entries()) if (p.source === source) found[place] = marks.get(p.partition);
    }
    const starts = await startsOf(log, order);
    return order.places.map(({ partition, topic }, place) => {
      const { offset } = starts[place]!,
        skipped = offset === 0 ? [] : ([[0, offset]] as const);
      const fresh = { partition, next: offset, high: -1, caughtUp: false, end: offset, skipped, leaderEpoch: -1, topicId: '' };
      return { ...(found[place] ?? { ...fresh, topicId: log.topicId(topic) }) };
    });
  } finally {
    await log.close();
  }
}

async function write(source: Source, producer: KafkaProducer, forwarder: Forwarder): Promise<void> {
  // Before the first record stands who sends it and from where: whoever goes on later must find that in every partition.
  forwarder.mark(null, true);
  await forwarder.flush();
  const skew = new Skew();
  let markedAt = monotonicMs(),
    batches = 0;
  while (!isStopped) {
    if (producer.fault !== undefined) throw producer.fault;
    const step = nextOf(source, forwarder),
      now = monotonicMs(),
      isHeld = step !== undefined && skew.holds(step.batch.firstTimestamp, now),
      isReading = step !== undefined && !isHeld;
    if (isReading) {
      forward(forwarder, step);
      source.step.advance(step);
      if (++batches % TURN_BATCHES === 0) await turn();
    }
    if (now - markedAt >= (isReading ? MARK_MS : MARK_SOON_MS)) {
      const next = isHeld ? step.batch.firstTimestamp : null;
      if (forwarder.mark(next, now - markedAt >= NEWS_MS)) markedAt = now;
    }
    await forwarder.room();
    if (isReading) continue;
    if (order.untilEnd && !source.step.caughtUp().includes(false)) break;
    if (isHeld) await sleep(IDLE_MS);
    else await source.news(IDLE_MS);
  }
  if (!isStopped) forwarder.mark(null, false);
  await forwarder.flush();
}

/**
 * The slices of the sources go over the hop in step, as far as it matters: none runs away from another by more than `kafka.maxSkew` of record
 * time, or the events of the one left behind might be older than the horizon when they come. A slice that was never heard of is taken to
 * stand where this one began.
 */
class Skew {
  private readonly times = new Float64Array(order.times);
  private begin = -Infinity;
  private heldSince = Infinity;
  private isTold = false;

  holds(time: number, now: number): boolean {
    if (this.begin < 0) this.begin = time;
    let least = Infinity,
      last = -1;
    for (const [slice, told] of this.times.entries()) {
      const at = told === 0 ? this.begin : told;
      if (slice === order.slice || !order.slices.includes(slice) || at >= least) continue;
      least = at;
      last = slice;
    }
    const isHeld = time > least + order.kafka.maxSkewMs;
    this.heldSince = isHeld ? Math.min(this.heldSince, now) : Infinity;
    if (!isHeld) this.isTold = false;
    else if (!this.isTold && now - this.heldSince > HELD_MS) {
      this.isTold = true;
      onTrouble(
        `the records of shard ${order.slice}'s partitions wait for those of shard ${last}: its process sends nothing, or is not there`,
      );
    }
    return isHeld;
  }
}

function forward(forwarder: Forwarder, { index, topic, partition, batch }: Step): void {
  try {
    forwarder.forward(index, batch);
  } catch (error) {
    throw placedFault(error, topic, partition, batch.baseOffset);
  }
}

function nextOf(source: Source, forwarder: Forwarder): Step | undefined {
  try {
    return source.step.next();
  } catch (error) {
    const passed = source.pass(error);
    if (passed === undefined) throw error;
    forwarder.passed(passed.place, passed.offset, passed.topicId);
    say({ kind: 'passed', passed });
    return undefined;
  }
}

async function main(): Promise<void> {
  const marks = await marksOf(),
    places = order.places.map((p, i) => ({ ...p, offset: marks[i]!.next, leaderEpoch: marks[i]!.leaderEpoch, topicId: marks[i]!.topicId }));
  const producer = await openProducer(order.log, order.topics, { ...order.kafka.security, deliveryMs: Number.POSITIVE_INFINITY });
  try {
    const source = await openKafkaSource({ ...order, places, from: null }, onTrouble);
    try {
      const slice = { ...order, places };
      await write(source, producer, new Forwarder(slice, source, producer, marks));
    } finally {
      await source.close();
    }
  } finally {
    await producer.close();
  }
}

main().then(
  () => {
    say({ kind: 'ended' });
    port.close();
  },
  (cause: unknown) => {
    say({ kind: 'failed', ...told(cause) });
    port.close();
  },
);
