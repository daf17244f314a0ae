/**
 * The state machine of a shard: raw record batches go in, and at a commit ONE batch comes out that changes offsets, identities,
 * windows, books and outbox together, or not at all (P2). Pure and synchronous: files, sockets and the clock are the run's.
 * After a fault it is thrown away and opened again from the store; nothing in memory outlives a failed commit.
 */
import { CONFLICT, DUPLICATE, EXPIRED } from './batch.ts';
import type { EventColumns, Gate, Rejection } from './batch.ts';
import { assertBalanced, BOOKS_TARGET, CONFLICTED, COUNTED, DUPLICATED, encodePage, LATE, lineOf, READ } from './books.ts';
import { decodeBatch } from './consume/cursor.ts';
import type { Codecs } from './consume/cursor.ts';
import { Records } from './consume/records.ts';
import { compileGate } from './contract/gate.ts';
import { KeyIsId } from './contract/record-key.ts';
import type { Contract } from './contract/model.ts';
import { Dedup } from './dedup/dedup.ts';
import type { Plan } from './plan.ts';
import { decodePosition, encodePosition, FIRST_VERSION, freshPosition, nextWatermark, POSITION_KEY } from './position.ts';
import type { Finality, PartitionPosition, Position } from './position.ts';
import { Windows } from './window/windows.ts';
import { insertTarget, PROGRESS } from './write/layout.ts';
import { Quarantine } from './write/quarantine.ts';
import { RowBinary } from './write/row-binary.ts';
import { encodeOutbox, outboxKey } from '../state/outbox.ts';
import type { Store } from '../state/store.ts';

/** Records that go through the stages at a time: columns of this many events stay in the second-level cache. */
const SLICE = 4096;
const PROGRESS_TARGET = insertTarget(PROGRESS);

export interface ShardOptions {
  readonly plan: Plan;
  /** In the order of plan.sources. */
  readonly contracts: readonly Contract[];
  readonly shard: number;
  readonly shards: number;
  readonly generation: number;
  readonly instance: string;
  readonly hashKey: readonly [number, number];
  readonly store: Store;
  readonly codecs: Codecs;
  /** The partitions of this shard, used when the state is new; else the state's own are kept. */
  readonly topics: readonly { source: number; topic: string; partitions: readonly number[] }[];
  readonly memoryBytesMax?: number;
}
export interface CommitOrder extends Omit<Finality, 'finishAt'> {
  readonly nowMs: number;
  /** Open windows' changed rows are written too. */
  readonly provisional: boolean;
  /** The input is complete: the watermark goes to the last open window's end. */
  readonly finish: boolean;
  /** With `finish`: the last end over all shards (`lastEnd` of each), for windows are final when every shard is past them. */
  readonly finishAt?: number;
  /** Outbox keys that ClickHouse has acknowledged since the last commit, and the version they are whole up to. */
  readonly acknowledged: { readonly keys: readonly Uint8Array[]; readonly version: number };
}
export interface Written {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export class Shard {
  readonly position: Position;
  private readonly o: ShardOptions;
  private readonly gates: readonly Gate[];
  /** Asked with several shards: a resend must reach the shard of its original. */
  private readonly keyIsId: KeyIsId | null;
  private readonly dedup: Dedup;
  private readonly windows: Windows;
  private readonly quarantine: Quarantine;
  private readonly records = new Records();
  private readonly verdict = new Uint8Array(SLICE);
  private readonly late = new Uint8Array(SLICE);
  private readonly rejected: Rejection[] = [];
  private readonly dirty = new Set<PartitionPosition>();
  private readonly rows = new RowBinary();
  /** Records since the last commit. */
  pendingRecords = 0;

  constructor(o: ShardOptions) {
    this.o = o;
    const stored = o.store.get(POSITION_KEY);
    this.position = stored === undefined ? freshPosition(o.topics) : decodePosition(stored);
    this.gates = o.contracts.map((contract, source) =>
      compileGate(contract, o.plan, source, o.hashKey, { keyField: o.shards > 1 ? o.plan.producerKey : null }),
    );
    this.keyIsId = o.shards > 1 && o.plan.producerKey === null ? new KeyIsId(o.hashKey) : null;
    const memory = o.memoryBytesMax === undefined ? {} : { memoryBytesMax: o.memoryBytesMax };
    this.dedup = new Dedup({ store: o.store, horizonMs: o.plan.horizonMs, hashKey: o.hashKey, ...memory });
    this.windows = new Windows({ plan: o.plan, shard: o.shard, generation: o.generation, store: o.store });
    this.quarantine = new Quarantine(o.plan, o.generation, o.shard);
    this.dedup.open(this.position.maxTime);
    this.windows.open(this.position.watermark);
  }

  /** Bytes in memory that only a commit lets go. */
  get pendingBytes(): number {
    return this.quarantine.bytes + this.windows.stats().pendingBytes;
  }

  /** Takes one whole record batch of the partition; records below its offset have been read before and are skipped. */
  apply(p: PartitionPosition, raw: Uint8Array, lastOffset: number): void {
    decodeBatch(raw, this.records, this.o.codecs);
    const records = this.records;
    let from = 0;
    while (from < records.count && records.offset[from]! < p.offset) from++;
    for (; from < records.count; from += SLICE) this.slice(p, from, Math.min(from + SLICE, records.count));
    p.offset = lastOffset + 1;
    this.dirty.add(p);
  }

  /** Offset of a record of the batch that was applied last. */
  offsetOf(record: number): number {
    return this.records.offset[record]!;
  }

  private slice(p: PartitionPosition, from: number, to: number): void {
    this.rejected.length = 0;
    const records = this.records,
      events = this.gates[p.source]!.scan(records, from, to, this.rejected);
    this.keyIsId?.check(events, records);
    p.page[READ]! += to - from;
    this.pendingRecords += to - from;
    for (const r of this.rejected) this.turnAway(p, r.record, lineOf(r.code), r);
    this.dedup.admit(events, this.verdict);
    this.late.fill(0, 0, events.count);
    this.windows.add(p.source, events, this.verdict, { topic: p.topic, partition: p.partition, records }, this.late);
    this.tally(p, events);
  }

  private turnAway(p: PartitionPosition, record: number, line: number, why: Omit<Rejection, 'record'>): void {
    p.page[line]!++;
    this.quarantine.add(p.source, p.partition, this.records, record, why.code, why.field, why.detail, this.position.version + 1);
  }

  private tally(p: PartitionPosition, events: EventColumns): void {
    const { plan } = this.o,
      { verdict, late } = this,
      { time } = events;
    let counted = 0,
      countedLate = 0,
      duplicates = 0,
      high = p.high;
    for (let i = 0; i < events.count; i++) {
      const v = verdict[i]!;
      if (v !== EXPIRED && time[i]! > high) high = time[i]!;
      if (v === DUPLICATE) duplicates++;
      else if (v === CONFLICT)
        this.turnAway(p, events.record[i]!, CONFLICTED, {
          code: 'ID_CONFLICT',
          field: plan.id,
          detail: 'the same id was counted before with another content',
        });
      else if (v === EXPIRED)
        this.turnAway(p, events.record[i]!, lineOf('EXPIRED'), {
          code: 'EXPIRED',
          field: plan.time,
          detail: `older than the horizon: its hour is forgotten`,
        });
      else if (late[i] === 1) countedLate++;
      else counted++;
    }
    p.high = high;
    p.page[COUNTED]! += counted;
    p.page[LATE]! += countedLate;
    p.page[DUPLICATED]! += duplicates;
  }

  /** True when a commit would change anything. */
  needsCommit(order: CommitOrder): boolean {
    return (
      this.position.version === FIRST_VERSION ||
      this.dirty.size > 0 ||
      order.acknowledged.keys.length > 0 ||
      this.watermark(order) > this.position.watermark ||
      (order.provisional && this.windows.unsentRows > 0)
    );
  }

  /** The end of the last window that is open here, or where the watermark stands. */
  lastEnd(): number {
    return Math.max(this.position.watermark, this.windows.lastOpenEnd() ?? -1);
  }

  private watermark(order: CommitOrder): number {
    const finishAt = order.finish ? Math.max(order.finishAt ?? -1, this.lastEnd()) : null;
    return nextWatermark(this.position, this.o.plan.outOfOrderMs, { caughtUp: order.caughtUp, clockMs: order.clockMs, finishAt });
  }

  /** Makes everything since the last commit durable; what ClickHouse must be told comes back, in order. */
  commit(order: CommitOrder): Written[] {
    const { position, o } = this,
      batch = o.store.batch(),
      written: Written[] = [];
    const version = position.version + 1;
    const emit = (target: string, rows: number, body: Uint8Array): void => {
      const entry = { key: outboxKey(version, written.length), value: encodeOutbox(target, rows, body) };
      written.push(entry);
      batch.put(entry.key, entry.value);
    };
    const watermark = this.watermark(order),
      moved = watermark > position.watermark;
    this.dedup.write(batch);
    this.windows.commit({
      watermark,
      boundary: this.dedup.boundary(),
      version,
      changedAt: order.nowMs,
      provisional: order.provisional,
      batch,
      emit,
    });
    this.quarantine.emit(emit);
    if (this.dirty.size > 0) this.emitBooks(version, emit);
    position.version = version;
    position.watermark = watermark;
    position.maxTime = this.dedup.maxTime;
    position.committedAt = order.nowMs;
    position.isWhole = this.windows.unsentRows === 0;
    position.acknowledged = Math.max(position.acknowledged, order.acknowledged.version);
    // The first commit says whose tables these are, whatever it has to tell.
    if (written.length > 0 || moved || version === FIRST_VERSION + 1) this.emitProgress(emit);
    for (const key of order.acknowledged.keys) batch.del(key);
    batch.put(POSITION_KEY, encodePosition(position));
    o.store.commit(batch);
    this.dirty.clear();
    this.pendingRecords = 0;
    return written;
  }

  /** Lets acknowledged entries leave the outbox when nothing else is to be committed any more: at the end of a run. */
  acknowledge(acknowledged: CommitOrder['acknowledged']): void {
    const batch = this.o.store.batch();
    for (const key of acknowledged.keys) batch.del(key);
    this.position.acknowledged = Math.max(this.position.acknowledged, acknowledged.version);
    batch.put(POSITION_KEY, encodePosition(this.position));
    this.o.store.commit(batch);
  }

  private emitBooks(version: number, emit: (target: string, rows: number, body: Uint8Array) => void): void {
    const owner = { job: this.o.plan.job, generation: this.o.generation, shard: this.o.shard };
    for (const p of this.dirty) {
      assertBalanced(p.page, `${p.topic}/${p.partition}`);
      encodePage(this.rows, owner, p.topic, p.partition, p.page, version);
    }
    const rows = this.rows.rows;
    emit(BOOKS_TARGET, rows, this.rows.take());
  }

  private emitProgress(emit: (target: string, rows: number, body: Uint8Array) => void): void {
    const { o, position, rows } = this;
    rows.string(o.plan.job);
    rows.u32(o.generation);
    rows.u16(o.shard);
    rows.u16(o.shards);
    rows.string(o.instance);
    rows.int(Math.max(0, position.watermark));
    rows.string(JSON.stringify(position.partitions.map((p) => [p.topic, p.partition, p.offset])));
    rows.int(position.committedAt);
    rows.int(position.version);
    rows.rows++;
    const n = rows.rows;
    emit(PROGRESS_TARGET, n, rows.take());
  }

  stats(): { dedup: ReturnType<Dedup['stats']>; windows: ReturnType<Windows['stats']> } {
    return { dedup: this.dedup.stats(), windows: this.windows.stats() };
  }
}
