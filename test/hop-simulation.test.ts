/**
 * Writers, internal topics and shards in one thread, against the oracle: batches reach the topics in any order between partitions, writers and
 * shards crash at any moment, and an old writer may go on beside the one that took its place. One seed, one run.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import { OUTBOX_FROM, OUTBOX_TO } from '../state/outbox.ts';
import { Forwarder } from '../src/hop/forward.ts';
import { lastMarks } from '../src/hop/resume.ts';
import type { KafkaLog } from '../src/kafka/log.ts';
import type { KafkaProducer } from '../src/kafka/produce/producer.ts';
import type { SealedBatch } from '../src/log/batch-builder.ts';
import { codecs } from '../src/log/codecs.ts';
import { readInStep } from '../src/log/in-step.ts';
import type { InStep } from '../src/log/in-step.ts';
import { openLog } from '../src/log/segments.ts';
import type { SegmentLog } from '../src/log/segments.ts';
import { Pause } from '../src/pause.ts';
import type { Source } from '../src/run/source.ts';
import { verifyJob } from '../src/verify/verify-job.ts';
import { putInt64 } from '../topology/consume/batch-header.ts';
import type { SourceMark } from '../topology/hop/format.ts';
import { HopIntake } from '../topology/hop/intake.ts';
import { inputsOf } from '../topology/intake.ts';
import { OpenParcel } from '../topology/parcel.ts';
import type { Plan } from '../topology/plan.ts';
import { Shard } from '../topology/shard.ts';
import { MemoryTables } from './memory-tables.ts';
import { random, randomLog } from './random-log.ts';
import type { Random } from './random-log.ts';
import { askOf, PLAN, SALES, VIEWS } from './verify-fixture.ts';

const SHARDS = 3,
  PARTITIONS = 4,
  RECORDS = 800,
  HOP: Plan = { ...PLAN, repartition: { by: 'event_id' } },
  CONTRACTS = [VIEWS, SALES],
  STAMP = { plan: 'p', generation: 1, shards: SHARDS, from: 'earliest' },
  TOPICS = ['views', 'sales'],
  HOPS = ['hop-views', 'hop-sales'];

interface Stored {
  readonly bytes: Uint8Array;
  readonly baseOffset: number;
  readonly lastOffset: number;
}

/** The internal topics, as far as writers and shards see them. */
class Topics {
  readonly partitions = new Map<string, Stored[]>(HOPS.flatMap((topic) => Array.from({ length: SHARDS }, (_, p) => [`${topic}/${p}`, []])));

  of(topic: string, partition: number): Stored[] {
    return this.partitions.get(`${topic}/${partition}`)!;
  }

  end(topic: string, partition: number): number {
    return (this.of(topic, partition).at(-1)?.lastOffset ?? -1) + 1;
  }

  append(topic: string, partition: number, sealed: SealedBatch): void {
    const bytes = Buffer.concat(sealed.parts as Uint8Array[]),
      baseOffset = this.end(topic, partition);
    putInt64(bytes, 0, baseOffset);
    this.of(topic, partition).push({ bytes, baseOffset, lastOffset: baseOffset + sealed.count - 1 });
  }

  asLog(): KafkaLog {
    return {
      startOffsets: async () => Array.from({ length: SHARDS }, () => 0),
      endOffsets: async (topic: string) => Array.from({ length: SHARDS }, (_, p) => this.end(topic, p)),
      reader: ({ topic, partition, offset }: { topic: string; partition: number; offset: number }) => {
        let at = this.of(topic, partition).findIndex((b) => b.lastOffset >= offset);
        const reader = {
          position: offset,
          peek: () => this.of(topic, partition)[at],
          advance: () => void (reader.position = this.of(topic, partition)[at++]!.lastOffset + 1),
          close() {},
        };
        return reader;
      },
    } as unknown as KafkaLog;
  }
}

/** What a producer keeps of its promise: in each partition its batches in their order, and between partitions none at all. */
class Lanes {
  readonly queues = new Map<string, { topic: string; partition: number; sealed: SealedBatch }[]>();
  readonly producer = {
    partitions: () => SHARDS,
    maxBatchBytes: () => undefined,
    enqueue: (topic: string, partition: number, sealed: SealedBatch) => {
      const key = `${topic}/${partition}`,
        // A batch's parts are valid until the next record alone.
        kept = { ...sealed, parts: [Buffer.concat(sealed.parts as Uint8Array[])] };
      this.queues.set(key, [...(this.queues.get(key) ?? []), { topic, partition, sealed: kept }]);
    },
  } as unknown as KafkaProducer;

  get isEmpty(): boolean {
    return [...this.queues.values()].every((queue) => queue.length === 0);
  }

  /** One batch reaches its partition. */
  deliver(topics: Topics, r: Random): void {
    const waiting = [...this.queues.values()].filter((queue) => queue.length > 0);
    if (waiting.length === 0) return;
    const { topic, partition, sealed } = waiting[r(waiting.length)]!.shift()!;
    topics.append(topic, partition, sealed);
  }
}

class Writer {
  private readonly lanes = new Lanes();
  private readonly forwarder: Forwarder;
  private readonly step: InStep;
  private hasBegun = false;

  private constructor(forwarder: Forwarder, lanes: Lanes, step: InStep) {
    this.forwarder = forwarder;
    this.lanes = lanes;
    this.step = step;
  }

  static async open(slice: number, topics: Topics, log: SegmentLog): Promise<Writer> {
    const places = TOPICS.flatMap((topic, source) =>
      Array.from({ length: PARTITIONS }, (_, partition) => ({ topic, source, partition })).filter((p) => p.partition % SHARDS === slice),
    );
    const marks: SourceMark[] = [];
    for (const { source, partition } of places) {
      const found = await lastMarks(topics.asLog(), new Pause(), HOPS[source]!, [partition], STAMP);
      const fresh = { partition, next: 0, high: -1, caughtUp: false, end: 0, skipped: [], leaderEpoch: -1, topicId: '' };
      marks.push(found.get(partition) ?? fresh);
    }
    const step = readInStep(
        log,
        places.map((p, i) => ({ ...p, offset: marks[i]!.next })),
        { untilEnd: true },
      ),
      source = { step, ends: () => places.map((p) => log.endOffset(p.topic, p.partition)) } as unknown as Source,
      lanes = new Lanes();
    const order = { plan: HOP, contracts: CONTRACTS, stamp: STAMP, slice, topics: HOPS, places };
    return new Writer(new Forwarder(order, source, lanes.producer, marks), lanes, step);
  }

  /** Something of its work; true when all of it is done. */
  work(topics: Topics, r: Random): boolean {
    if (!this.hasBegun) {
      this.hasBegun = true;
      this.forwarder.mark(null, true);
      // The first markers are waited for.
      while (!this.lanes.isEmpty) this.lanes.deliver(topics, r);
      return false;
    }
    if (r(2) === 0) {
      this.lanes.deliver(topics, r);
      return false;
    }
    const step = this.step.next();
    if (step === undefined) {
      this.forwarder.mark(null, false);
      if (this.lanes.isEmpty) return true;
      this.lanes.deliver(topics, r);
      return false;
    }
    this.forwarder.forward(step.index, step.batch);
    this.step.advance(step);
    if (r(3) === 0) this.forwarder.mark(null, false);
    return false;
  }
}

class Reader {
  shard!: Shard;
  private intake!: HopIntake;
  private store = new MemoryStore();
  private readonly parcel = new OpenParcel(inputsOf(HOP), undefined, undefined, true);
  private at: number[] = [];
  private readonly index: number;
  private readonly tables: MemoryTables;

  constructor(index: number, tables: MemoryTables) {
    this.index = index;
    this.tables = tables;
    this.open();
  }

  open(): void {
    this.shard = new Shard({
      plan: HOP,
      shard: this.index,
      shards: SHARDS,
      generation: 1,
      instance: 'i',
      hashKey: [1, 2],
      store: this.store,
      topics: TOPICS.map((topic, source) => ({ source, topic, partitions: Array.from({ length: PARTITIONS }, (_, p) => p) })),
      hops: HOPS.map((topic, source) => ({ source, topic, partition: this.index })),
    });
    for (const [key, value] of this.store.range(OUTBOX_FROM, OUTBOX_TO)) this.tables.insert({ key, value });
    const { partitions, hops } = this.shard.position;
    this.at = hops.map((h) => h.offset);
    this.intake = new HopIntake({
      plan: HOP,
      contracts: CONTRACTS,
      hashKey: [1, 2],
      codecs,
      stamp: STAMP,
      hops,
      sources: partitions,
      times: new SharedArrayBuffer(8 * SHARDS),
    });
    this.parcel.clear();
  }

  /** All is lost that was not committed. */
  crash(): void {
    this.store = this.store.fork();
    this.open();
  }

  work(topics: Topics, r: Random): void {
    const hop = r(HOPS.length),
      batch = topics.of(HOPS[hop]!, this.index).find((b) => b.lastOffset >= this.at[hop]!);
    if (batch === undefined) return;
    this.intake.take(this.parcel, hop, batch.bytes, batch.lastOffset, 0);
    this.at[hop] = batch.lastOffset + 1;
    if (r(2) === 0 && !this.parcel.isFull) return;
    this.take();
    if (r(3) === 0) this.commit(r(2) === 0, null);
  }

  take(): void {
    this.shard.take(this.parcel);
    this.parcel.clear();
  }

  /** `isEnd`: everything was read, so that nothing holds anything back. */
  commit(provisional: boolean, finishAt: number | null, isEnd = false): void {
    const written = this.shard.commit({
      nowMs: 0,
      provisional,
      finishAt,
      caughtUp: this.intake.caughtUpSince(0).map((is) => is || isEnd),
      clockMs: null,
      acknowledged: { keys: [], version: 0 },
    });
    for (const entry of written) this.tables.insert(entry);
  }

  hasRead(log: SegmentLog): boolean {
    return this.shard.position.partitions.every((p, place) => this.intake.heard[place]! >= log.endOffset(p.topic, p.partition));
  }
}

async function play(dir: string, seed: number, crashes: number): Promise<{ tables: MemoryTables; readers: Reader[] }> {
  const r = random(seed * 77 + 5),
    topics = new Topics(),
    tables = new MemoryTables(HOP),
    log = openLog(dir);
  const readers = Array.from({ length: SHARDS }, (_, i) => new Reader(i, tables)),
    writers = await Promise.all(readers.map((_, slice) => Writer.open(slice, topics, log))),
    old: Writer[] = [],
    isDone = writers.map(() => false);
  let left = crashes,
    steps = 0;
  while (isDone.includes(false) || !readers.every((reader) => reader.hasRead(log))) {
    if (++steps > 100_000) throw new Error('it does not come to an end');
    const i = r(SHARDS);
    isDone[i] ||= writers[i]!.work(topics, r);
    readers[r(SHARDS)]!.work(topics, r);
    if (old.length > 0 && r(2) === 0) old[r(old.length)]!.work(topics, r);
    if (left === 0 || r(60) > 0) continue;
    left--;
    if (r(2) === 0) readers[i]!.crash();
    else {
      // Some of those that were given up for dead go on for a while.
      if (r(2) === 0) old.push(writers[i]!);
      writers[i] = await Writer.open(i, topics, log);
      isDone[i] = false;
    }
  }
  for (const reader of readers) reader.take();
  for (const reader of readers) reader.commit(false, null, true);
  log.close();
  return { tables, readers };
}

async function inFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'tally-hop-'));
  try {
    await body(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("writers and shards that crash, and writers that are there twice, end in the oracle's tables", async () => {
  for (let seed = 1; seed <= 5; seed++)
    await inFolder(async (dir) => {
      randomLog(dir, random(seed), PARTITIONS, RECORDS, 30, false);
      const { tables, readers } = await play(dir, seed, seed === 1 ? 0 : 12);
      // What the hop says of all of a partition reached every shard, whatever came to it.
      expect(new Set(readers.map(({ shard }) => shard.position.watermark)).size).toBe(1);
      const end = Math.max(...readers.map(({ shard }) => shard.lastEnd()));
      for (const reader of readers) reader.commit(true, seed % 2 === 0 ? end : null, true);
      const result = await verifyJob({
        plan: HOP,
        contracts: CONTRACTS,
        generation: 1,
        logDir: dir,
        ask: askOf(tables.tables(SHARDS)),
      });
      expect(
        result.differences.map((d) => d.sentence),
        `seed ${seed}`,
      ).toEqual([]);
      expect(result.records).toBe(RECORDS);
      expect(result.duplicate).toBeGreaterThan(0);
    });
});
