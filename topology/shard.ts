/**
 * The state machine of a shard: parcels of gated events go in, and at a commit ONE batch comes out that changes offsets, identities,
 * windows, books and outbox together, or not at all (P2). Pure and synchronous: files, sockets and the clock are the run's.
 * After a fault it is thrown away and opened again from the store; nothing in memory outlives a failed commit.
 */
import { CONFLICT, DUPLICATE, EXPIRED } from './batch.ts';
import type { Rejection } from './batch.ts';
import { assertBalanced, BOOKS_TARGET, CONFLICTED, COUNTED, DUPLICATED, encodePage, LATE, lineOf, READ } from './books.ts';
import type { Records } from './consume/records.ts';
import { Dedup } from './dedup/dedup.ts';
import type { Parcel, Piece } from './parcel.ts';
import type { Plan } from './plan.ts';
import { decodePosition, encodePosition, FIRST_VERSION, freshPosition, nextWatermark, POSITION_KEY } from './position.ts';
import type { Finality, HopPlace, HopPosition, PartitionPosition, Position } from './position.ts';
import { Windows } from './window/windows.ts';
import { insertTarget, PROGRESS } from './write/layout.ts';
import { Quarantine } from './write/quarantine.ts';
import { RowBinary } from './write/row-binary.ts';
import { encodeOutbox, EPOCH, epochOf, outboxKey } from '../state/outbox.ts';
import type { Store } from '../state/store.ts';

const PROGRESS_TARGET = insertTarget(PROGRESS);
const FROZEN = 'its window was frozen: the state was lost, and the log did not hold all of its events any more';

export interface ShardOptions {
  readonly plan: Plan;
  readonly shard: number;
  readonly shards: number;
  readonly generation: number;
  readonly instance: string;
  readonly hashKey: readonly [number, number];
  readonly store: Store;
  /** The partitions of this shard, used when the state is new; else the state's own are kept. */
  readonly topics: readonly { source: number; topic: string; partitions: readonly number[] }[];
  /** The partitions of internal topics that the records come over, when they do. */
  readonly hops?: readonly HopPlace[];
  /** Used when the state is new: what begins before it is left as it is in the tables. */
  readonly frozenTo?: number;
  readonly memoryBytesMax?: number;
}
export type ReadTo = Readonly<Pick<HopPosition, 'topic' | 'partition' | 'offset' | 'leaderEpoch'>>;
export interface CommitOrder extends Finality {
  readonly nowMs: number;
  /** Open windows' changed rows are written too. */
  readonly provisional: boolean;
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
  private readonly dedup: Dedup;
  private readonly windows: Windows;
  private readonly quarantine: Quarantine;
  private verdict = new Uint8Array(0);
  private late = new Uint8Array(0);
  private readonly dirty = new Set<PartitionPosition>();
  /** Windows whose rows the next commit writes again, and whether it writes the books whole. */
  private again: { readonly table: number; readonly start: number }[] = [];
  private isTakeOver = false;
  private readonly rows = new RowBinary();
  /** Records since the last commit. */
  pendingRecords = 0;

  constructor(o: ShardOptions) {
    this.o = o;
    const stored = o.store.get(POSITION_KEY);
    this.position = stored === undefined ? freshPosition(o.topics, o.hops, o.frozenTo) : decodePosition(stored);
    const memory = o.memoryBytesMax === undefined ? {} : { memoryBytesMax: o.memoryBytesMax };
    this.dedup = new Dedup({
      store: o.store,
      horizonMs: o.plan.horizonMs,
      frozenTo: this.position.frozenTo,
      hashKey: o.hashKey,
      ...memory,
    });
    this.windows = new Windows({ plan: o.plan, shard: o.shard, generation: o.generation, store: o.store });
    this.quarantine = new Quarantine(o.plan, o.generation, o.shard);
    this.dedup.open(this.position.maxTime);
    this.windows.open(this.position.watermark);
  }

  /** Bytes in memory that only a commit lets go: of what was turned away, and of final windows that late events have touched. */
  get pendingBytes(): { readonly quarantine: number; readonly windows: number } {
    return { quarantine: this.quarantine.bytes, windows: this.windows.touchedBytes };
  }

  /** Counts what is in the parcel: record by record in its order, whatever stood in one parcel with it. */
  take(parcel: Parcel): void {
    const { records, events, rejected } = parcel;
    if (this.verdict.length < events.count) {
      this.verdict = new Uint8Array(2 * events.count);
      this.late = new Uint8Array(2 * events.count);
    }
    this.dedup.admit(events, this.verdict);
    this.late.fill(0, 0, events.count);
    let event = 0,
      next = 0;
    for (const piece of parcel.pieces) {
      const p = this.position.partitions[piece.place]!;
      p.page[READ]! += piece.to - piece.from;
      this.pendingRecords += piece.to - piece.from;
      for (; next < rejected.length && rejected[next]!.record < piece.to; next++)
        this.turnAway(p, records, rejected[next]!.record, lineOf(rejected[next]!.code), rejected[next]!);
      const origin = { topic: p.topic, partition: p.partition, records };
      this.windows.add(p.source, events, this.verdict, origin, this.late, event, piece.events);
      this.tally(p, parcel, event, piece.events);
      p.offset = piece.nextOffset;
      p.leaderEpoch = piece.leaderEpoch;
      p.crc = piece.crc;
      if (piece.says !== undefined) this.hear(p, piece.nextOffset, piece.says);
      this.dirty.add(p);
      event = piece.events;
    }
    for (const { place, offset, leaderEpoch, crc } of parcel.hops) Object.assign(this.position.hops[place]!, { offset, leaderEpoch, crc });
  }

  /** What holds for all of a source's partition, of which only some records come here. */
  private hear(p: PartitionPosition, next: number, { high, skipped }: NonNullable<Piece['says']>): void {
    p.heard = next;
    p.high = Math.max(p.high, high);
    p.skipped.splice(0, p.skipped.length, ...skipped);
  }

  private turnAway(p: PartitionPosition, records: Records, record: number, line: number, why: Omit<Rejection, 'record'>): void {
    p.page[line]!++;
    this.quarantine.add(p.source, p.partition, records, record, why.code, why.field, why.detail, this.position.version + 1);
  }

  private tally(p: PartitionPosition, { records, events }: Parcel, from: number, to: number): void {
    const { plan } = this.o,
      { verdict, late } = this,
      { time } = events;
    let counted = 0,
      countedLate = 0,
      duplicates = 0,
      high = p.high;
    for (let i = from; i < to; i++) {
      const v = verdict[i]!;
      if (v !== EXPIRED && time[i]! > high) high = time[i]!;
      if (v === DUPLICATE) duplicates++;
      else if (v === CONFLICT)
        this.turnAway(p, records, events.record[i]!, CONFLICTED, {
          code: 'ID_CONFLICT',
          field: plan.id,
          detail: 'the same id was counted before with another content',
        });
      else if (v === EXPIRED)
        this.turnAway(p, records, events.record[i]!, lineOf('EXPIRED'), {
          code: 'EXPIRED',
          field: plan.time,
          detail: time[i]! < this.position.frozenTo ? FROZEN : 'older than the horizon: its hour is forgotten',
        });
      else if (late[i] === 1) countedLate++;
      else counted++;
    }
    p.high = high;
    p.page[COUNTED]! += counted;
    p.page[LATE]! += countedLate;
    p.page[DUPLICATED]! += duplicates;
  }

  /** Where a partition is read from, when the log and not what was read says so: at the first start, and behind a gap. */
  moveTo(place: number, offset: number, topicId: string): void {
    const hop = this.position.hops[place];
    if (hop !== undefined) return void Object.assign(hop, { offset, topicId });
    const p = this.position.partitions[place]!;
    if (p.offset === offset && p.topicId === topicId) return;
    if (p.offset < offset) p.skipped.push([p.offset, offset]);
    if (p.offset !== offset) p.leaderEpoch = p.crc = -1;
    p.offset = offset;
    p.topicId = topicId;
    this.dirty.add(p);
  }

  /** Where the log is read to, for those who watch how far that is behind; over a hop also where the shard's slice of the sources is. */
  readTo(): readonly ReadTo[] {
    const { partitions, hops } = this.position,
      { shard, shards } = this.o;
    const read = (hops.length > 0 ? hops : partitions).map(({ topic, partition, offset, leaderEpoch }) => ({
      topic,
      partition,
      offset,
      leaderEpoch,
    }));
    for (const { topic, partition, heard } of partitions)
      if (heard !== undefined && partition % shards === shard) read.push({ topic, partition, offset: heard, leaderEpoch: -1 });
    return read;
  }

  /**
   * From now on this state is the shard, under a later epoch than any before. What the tables have of the epochs before, past the last
   * commit here, counts no more: the next commit says again where the shard stands, and writes the windows given, and all books, again.
   */
  takeOver(epoch: number): void {
    if (epoch <= epochOf(this.position.version)) throw new Error(`epoch ${epoch} is not past version ${this.position.version}`);
    this.position.version = epoch * EPOCH;
    this.position.isWhole = false;
    this.isTakeOver = true;
    for (const p of this.position.partitions) this.dirty.add(p);
  }

  /** The tables have lost rows of these windows: the next commit writes them again. `isSettled`: for the last time. */
  writeAgain(windows: readonly { readonly table: number; readonly start: number }[], isSettled: boolean): void {
    this.again.push(...windows);
    if (!isSettled) return;
    this.position.settled = epochOf(this.position.version);
    for (const p of this.position.partitions) this.dirty.add(p);
  }

  /** True when a commit would change anything. */
  needsCommit(order: CommitOrder): boolean {
    return (
      this.position.version === FIRST_VERSION ||
      this.again.length > 0 ||
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
    return nextWatermark(this.position, this.o.plan.outOfOrderMs, order);
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
      provisional: order.provisional || this.isTakeOver || this.again.length > 0,
      again: this.again,
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
    this.again = [];
    this.isTakeOver = false;
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
      encodePage(this.rows, owner, p.topic, p.partition, p.page, version, this.isTakeOver);
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
    rows.string(
      JSON.stringify(position.partitions.map((p) => [p.topic, p.partition, p.offset, ...(p.skipped.length === 0 ? [] : [p.skipped])])),
    );
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
