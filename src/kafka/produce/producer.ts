/**
 * An idempotent producer: sealed batches in, acknowledged by all replicas in sync, each once and in order a partition. A partition has one
 * batch on its way at a time and a broker one request, which takes a batch of each partition that has one; what fails is sent again under
 * the same sequence until it is told apart. The first fault that no try heals ends the producer; what was acknowledged stays.
 * Of records older than the broker's producer.id.expiration.ms (a day) Kafka promises less: a broker that dies hard takes their producer for
 * gone, and what was on its way may be there twice. A run drops it by its ids, as every resend.
 */
import { crc32c } from '@node-rs/crc32';
import { ATTRIBUTES_AT, CRC_AT, PRODUCER_ID_AT, putInt32, putInt64 } from '../../../topology/consume/batch-header.ts';
import { monotonicMs } from '../../clock.ts';
import { TallyError } from '../../errors.ts';
import type { SealedBatch } from '../../log/batch-builder.ts';
import { parseKafkaUrl } from '../address.ts';
import { Cluster } from '../cluster.ts';
import { meaningOf, NO_ERROR } from '../error-codes.ts';
import { BrokerTrouble, unreachable } from '../faults.ts';
import { backoffMs, Pause } from '../../pause.ts';
import { DESCRIBE_CONFIGS } from '../protocol/configs.ts';
import type { Security } from '../security.ts';
import { asWriter, outcomeOf, tooLarge, writeRefused } from './faults.ts';
import type { SentBatch } from './faults.ts';
import { INIT_PRODUCER_ID, PRODUCE } from './protocol.ts';

export interface ProducerOptions extends Security {
  readonly clientId?: string;
  /** Bound of what waits to be acknowledged; `room` waits while it is passed. */
  readonly queueBytes?: number;
  /** A batch that is not acknowledged within this long is a fault. The first ones have `patienceMs`. */
  readonly deliveryMs?: number;
  readonly patienceMs?: number;
  /** Called with each batch that was acknowledged. */
  readonly onAcknowledged?: (batch: QueuedBatch) => void;
}
export interface QueuedBatch extends SentBatch {
  /** What the sender gave with it. */
  readonly note: number;
}

const DEFAULTS = { queueBytes: 32 * 1024 * 1024, deliveryMs: 120_000, patienceMs: 6000, clientId: 'tally' };
const CONNECT = { connectTimeoutMs: 3000, requestTimeoutMs: 30_000, answerBytesMax: 16 * 1024 * 1024 };
/** How long a broker waits for the replicas before it answers. */
const REPLICAS_MS = 10_000;
const BACKOFF = { firstMs: 50, mostMs: 1000 };
/** A request holds batches up to this many bytes, which a slow line carries in time too, or one larger one; brokers take 100 MiB. */
const REQUEST_BYTES = 2 * 1024 * 1024,
  BATCH_BYTES_MAX = 95 * 1024 * 1024;
const PRODUCER_EPOCH_AT = PRODUCER_ID_AT + 8,
  SEQUENCE_AT = PRODUCER_ID_AT + 10,
  SEQUENCES = 2 ** 31;
const MAX_BYTES_SETTING = 'max.message.bytes';

interface Waiting extends QueuedBatch {
  readonly records: Buffer;
  /** When it was first sent; 0 before. */
  sentAtMs: number;
}
/** One partition: its queue, and the sequence that its next batch gets. */
interface Lane {
  readonly topic: string;
  readonly partition: number;
  readonly queue: Waiting[];
  sequence: number;
  isSending: boolean;
  tries: number;
  notBeforeMs: number;
  /** The number of the request that it was in last: who waited longest goes first. */
  lastSent: number;
}

/** Ready to send to these topics, each of which must be there. */
export async function openProducer(url: string, topics: readonly string[], options: ProducerOptions = {}): Promise<KafkaProducer> {
  const producer = new KafkaProducer(url, options);
  try {
    await producer.start(topics);
    return producer;
  } catch (error) {
    await producer.close();
    throw asWriter(error, producer.where, topics);
  }
}

export class KafkaProducer {
  /** Why it ended; undefined while it goes on. */
  fault: unknown;
  acknowledged = 0;
  readonly #cluster: Cluster;
  readonly #options: typeof DEFAULTS & ProducerOptions;
  readonly #lanes = new Map<string, Lane[]>();
  readonly #maxBytes = new Map<string, number>();
  readonly #busy = new Set<number>();
  readonly #wake = new Pause();
  readonly #onFault: (() => void)[] = [];
  #producerId = -1;
  #epoch = -1;
  #queuedBytes = 0;
  #requests = 0;
  #waiters: (() => void)[] = [];
  #isClosed = false;
  #hurryMs = Number.POSITIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();

  constructor(url: string, options: ProducerOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#cluster = new Cluster({ ...CONNECT, ...this.#options, bootstrap: parseKafkaUrl(url), backoff: BACKOFF });
  }

  get where(): string {
    return this.#cluster.name;
  }

  async start(topics: readonly string[]): Promise<void> {
    await this.#cluster.learn(topics);
    for (const topic of topics) {
      const partitions = this.#cluster
        .topic(topic)!
        .partitions.map((p) => p.partition)
        .sort((a, b) => a - b);
      this.#lanes.set(
        topic,
        partitions.map((partition) => ({
          topic,
          partition,
          queue: [],
          sequence: 0,
          isSending: false,
          tries: 0,
          notBeforeMs: 0,
          lastSent: 0,
        })),
      );
      await this.#learnLimit(topic);
    }
    await this.#cluster.patiently(async () => {
      const answer = await this.#cluster.askAny(INIT_PRODUCER_ID, null);
      if (answer.error !== NO_ERROR) {
        if (meaningOf(answer.error).remedy === 'stop') throw writeRefused(answer.error, topics[0] ?? '');
        throw new BrokerTrouble(`asking for a producer's id: ${meaningOf(answer.error).words}`);
      }
      this.#producerId = answer.producerId;
      this.#epoch = answer.epoch;
    });
    this.#running = this.#run();
  }

  partitions(topic: string): number {
    return this.#lanes.get(topic)!.length;
  }

  /** The largest batch that the topic takes; undefined where we may not ask. */
  maxBatchBytes(topic: string): number | undefined {
    return this.#maxBytes.get(topic);
  }

  /** Takes a batch over; its bytes are copied. */
  enqueue(topic: string, partition: number, sealed: SealedBatch, place: string, note: number): void {
    if (this.fault !== undefined) throw this.fault;
    const lane = this.#lanes.get(topic)![partition]!,
      most = this.#maxBytes.get(topic) ?? BATCH_BYTES_MAX;
    const about = { topic, partition, count: sealed.count, bytes: sealed.bytes, place, note };
    if (sealed.bytes > Math.min(most, BATCH_BYTES_MAX)) throw tooLarge(about, most);
    const records = Buffer.concat(sealed.parts as Uint8Array[]);
    this.#sign(records, lane.sequence);
    lane.sequence = (lane.sequence + sealed.count) % SEQUENCES;
    lane.queue.push({ ...about, records, sentAtMs: 0 });
    this.#queuedBytes += sealed.bytes;
    this.#wake.wake();
  }

  /** Until there is room for more. */
  async room(): Promise<void> {
    await this.#until(() => this.#queuedBytes <= this.#options.queueBytes);
  }

  /** Until everything is acknowledged. */
  async flush(): Promise<void> {
    await this.#until(() => this.#queuedBytes === 0);
  }

  /** Somebody wants to stop: what fails is tried no longer than this. */
  hurry(ms: number): void {
    this.#hurryMs = ms;
  }

  onFault(callback: () => void): void {
    if (this.fault === undefined) this.#onFault.push(callback);
    else callback();
  }

  /** What is not acknowledged yet may be lost. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake.wake();
    this.#cluster.close();
    await this.#running;
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (this.fault === undefined && !isSo()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    if (this.fault !== undefined) throw this.fault;
  }

  #tellWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const tell of waiters) tell();
  }

  #fail(error: unknown): void {
    if (this.fault !== undefined || this.#isClosed) return;
    this.fault = error;
    this.#tellWaiters();
    for (const tell of this.#onFault) tell();
    this.#wake.wake();
  }

  /** The identity and place of the batch; both are under its checksum. */
  #sign(records: Buffer, sequence: number): void {
    putInt64(records, PRODUCER_ID_AT, this.#producerId);
    records.writeInt16BE(this.#epoch, PRODUCER_EPOCH_AT);
    putInt32(records, SEQUENCE_AT, sequence);
    putInt32(records, CRC_AT, crc32c(records.subarray(ATTRIBUTES_AT)));
  }

  async #run(): Promise<void> {
    while (!this.#isClosed && this.fault === undefined) {
      const { byLeader, waitMs } = this.#ready();
      for (const [node, lanes] of byLeader) this.#send(node, lanes).catch((error: unknown) => this.#fail(error));
      await this.#wake.sleep(waitMs);
    }
  }

  /** Partitions with a batch to send now, by a leader that is free; and how long until one has to be tried again. */
  #ready(): { readonly byLeader: ReadonlyMap<number, Lane[]>; readonly waitMs: number } {
    const byLeader = new Map<number, Lane[]>(),
      now = monotonicMs();
    let waitMs = Number.POSITIVE_INFINITY;
    for (const lane of [...this.#lanes.values()].flat()) {
      if (lane.isSending || lane.queue.length === 0) continue;
      const leader = this.#cluster.leader(lane.topic, lane.partition);
      if (lane.notBeforeMs <= now && leader === undefined) {
        this.#again(lane, new BrokerTrouble(`${lane.topic}, partition ${lane.partition} has no leader now`));
        void this.#cluster.refresh().catch(() => {});
      }
      if (lane.notBeforeMs > now) waitMs = Math.min(waitMs, lane.notBeforeMs - now);
      else if (leader !== undefined && !this.#busy.has(leader.node)) {
        const mine = byLeader.get(leader.node);
        if (mine === undefined) byLeader.set(leader.node, [lane]);
        else mine.push(lane);
      }
    }
    return { byLeader, waitMs };
  }

  async #send(node: number, ready: Lane[]): Promise<void> {
    const lanes: Lane[] = [],
      request = ++this.#requests;
    let bytes = 0;
    for (const lane of ready.sort((a, b) => a.lastSent - b.lastSent)) {
      if (bytes > 0 && bytes + lane.queue[0]!.bytes > REQUEST_BYTES) continue;
      bytes += lane.queue[0]!.bytes;
      lane.isSending = true;
      lane.lastSent = request;
      lane.queue[0]!.sentAtMs ||= monotonicMs();
      lanes.push(lane);
    }
    this.#busy.add(node);
    try {
      const batches = lanes.map((lane) => lane.queue[0]!);
      const answers = await this.#cluster.ask(node, PRODUCE, { batches, timeoutMs: REPLICAS_MS });
      for (const lane of lanes) {
        const found = answers.find((a) => a.topic === lane.topic && a.partition === lane.partition);
        this.#settle(lane, found?.error ?? -1);
      }
    } catch (error) {
      if (!(error instanceof BrokerTrouble)) throw error;
      for (const lane of lanes) this.#again(lane, error);
      await this.#cluster.refresh().catch(() => {});
    } finally {
      this.#busy.delete(node);
      for (const lane of lanes) lane.isSending = false;
      this.#wake.wake();
    }
  }

  #settle(lane: Lane, code: number): void {
    const batch = lane.queue[0]!,
      outcome = outcomeOf(code, batch);
    if (outcome instanceof TallyError) return this.#fail(outcome);
    if (outcome === 'again') {
      const { name, words } = meaningOf(code);
      this.#again(lane, new BrokerTrouble(`${lane.topic}, partition ${lane.partition}: ${words} (${name})`));
      if (meaningOf(code).remedy !== 'retry') void this.#cluster.refresh().catch(() => {});
      return;
    }
    lane.queue.shift();
    lane.tries = 0;
    lane.notBeforeMs = 0;
    this.acknowledged += batch.count;
    this.#queuedBytes -= batch.bytes;
    this.#options.onAcknowledged?.(batch);
    this.#tellWaiters();
  }

  #again(lane: Lane, trouble: BrokerTrouble): void {
    const now = monotonicMs(),
      first = (lane.queue[0]!.sentAtMs ||= now),
      patience = this.acknowledged === 0 ? this.#options.patienceMs : this.#options.deliveryMs;
    if (now - first >= Math.min(patience, this.#hurryMs)) return this.#fail(unreachable(this.where, trouble));
    lane.notBeforeMs = now + backoffMs(BACKOFF, ++lane.tries);
  }

  /** A user who may write need not be allowed to see settings: then the broker says it of the batch. */
  async #learnLimit(topic: string): Promise<void> {
    try {
      const { error, values } = await this.#cluster.askAny(DESCRIBE_CONFIGS, { topic, names: [MAX_BYTES_SETTING] });
      const most = Number(values.get(MAX_BYTES_SETTING));
      if (error === NO_ERROR && most > 0) this.#maxBytes.set(topic, most);
    } catch (error) {
      if (!(error instanceof BrokerTrouble)) throw error;
    }
  }
}
