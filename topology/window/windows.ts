/**
 * The windows of a shard: fresh events go in, and at a commit rows, changes and segments come out. Open windows are in memory;
 * final ones in the store, and in a bounded cache while late events ask for them.
 *
 * Invariants: which windows are final changes at a commit only, and never back; a window is final before it is forgotten; after
 * `open` everything is as it was at the last commit, but that all rows of open windows count as unsent.
 */
import { FRESH } from '../batch.ts';
import type { EventColumns } from '../batch.ts';
import type { Records } from '../consume/records.ts';
import type { Plan } from '../plan.ts';
import { compileAddEvents, keyText, OverflowError, rowShape } from './accumulators.ts';
import type { AddEvents, RowShape } from './accumulators.ts';
import { KeyTable } from './keys.ts';
import { LateTouches } from './late.ts';
import { Publisher } from './publish.ts';
import { Shelf } from './shelf.ts';
import { UNSENT, Window } from './window.ts';
import { ZoneClock } from './zones.ts';
import { changesLayout, rowsLayout } from '../write/layout.ts';
import { WindowRows } from '../write/window-rows.ts';
import type { Emit } from '../write/window-rows.ts';
import type { Store, StoreBatch } from '../../state/store.ts';

const HOUR = 3_600_000;
const CACHE_BYTES = 256 << 20;
/** Windows that are found without asking the zone, by the event's quarter of an hour modulo this: 64 hours. */
const RECENT = 256,
  QUARTER = HOUR / 4;
/** Below this many keys the key table is never renumbered: it is small. */
const KEYS_MIN = 1 << 16;

/** The zone's rules are not those by which stored windows were cut: the runtime's tz data has changed. */
export class ZoneRulesError extends Error {
  readonly table: string;
  readonly zone: string;
  constructor(table: string, zone: string, start: number) {
    super(
      `the window of ${table} from ${new Date(start).toISOString()} does not fit the rules of zone ${zone}: the time zone data has changed since it was written`,
    );
    this.name = 'ZoneRulesError';
    this.table = table;
    this.zone = zone;
  }
}

export interface WindowCommit {
  readonly watermark: number;
  /** UTC hours that end by it are forgotten. */
  readonly boundary: number;
  readonly version: number;
  readonly changedAt: number;
  readonly provisional: boolean;
  /** Windows whose rows are written again, all of them: the tables have lost them. */
  readonly again?: readonly { readonly table: number; readonly start: number }[];
  readonly batch: StoreBatch;
  readonly emit: Emit;
}
export interface WindowStats {
  readonly openWindows: number;
  readonly cachedWindows: number;
  readonly storedWindows: number;
  /** In memory. */
  readonly rows: number;
  readonly keys: number;
  readonly bytes: number;
}

interface Table {
  readonly name: string;
  readonly zone: string;
  readonly size: 'hour' | 'day';
  readonly clock: ZoneClock;
  /** By start: every open window, and the final ones that are cached. */
  readonly memory: Map<number, Window>;
  readonly recent: Window[];
  readonly rows: WindowRows;
  readonly changes: WindowRows;
}

export class Windows {
  private readonly plan: Plan;
  private readonly shape: RowShape;
  private readonly tables: readonly Table[];
  private readonly addEvents: readonly AddEvents[];
  private readonly keys = new KeyTable();
  private readonly shelf: Shelf;
  private readonly publisher: Publisher;
  private readonly cacheBytesMax: number;
  private readonly keysMin: number;
  private readonly nowhere: Window;
  /** Final windows in memory, the longest unused first. */
  private readonly cache = new Set<Window>();
  private finalTo = -Infinity;
  private boundary = -Infinity;
  private running: Window;
  private at = new Int32Array(0);
  private key = new Int32Array(0);
  private row = new Int32Array(0);
  private readonly overflow = (measure: number, row: number): never => {
    const w = this.running,
      key = w.key[row]!,
      bytes = this.keys.arena.subarray(this.keys.startOf(key), this.keys.endOf(key));
    throw new OverflowError(this.tables[w.table]!.name, this.plan.measures[measure]!.name, w.start, keyText(this.plan, bytes));
  };

  constructor(o: { plan: Plan; shard: number; generation: number; store: Store; cacheBytesMax?: number; keysMin?: number }) {
    const { plan } = o,
      shape = rowShape(plan);
    this.plan = plan;
    this.shape = shape;
    this.cacheBytesMax = o.cacheBytesMax ?? CACHE_BYTES;
    this.keysMin = o.keysMin ?? KEYS_MIN;
    this.nowhere = new Window(0, 0, 0, true, shape);
    this.running = this.nowhere;
    this.tables = plan.tables.map((t) => ({
      name: t.name,
      zone: t.zone,
      size: t.size,
      clock: new ZoneClock(t.zone),
      memory: new Map<number, Window>(),
      recent: new Array<Window>(RECENT).fill(this.nowhere),
      rows: new WindowRows(plan, rowsLayout(plan, t, o.generation), shape, o.shard),
      changes: new WindowRows(plan, changesLayout(plan, t, o.generation), shape, o.shard),
    }));
    this.addEvents = plan.sources.map((_, source) => compileAddEvents(plan, source, shape));
    this.shelf = new Shelf(o.store, plan.tables.length, shape, this.keys);
    this.publisher = new Publisher(this.keys, shape);
  }

  /** Reads the open windows back. What the store says of finality goes before `watermark`, which counts for a new state only. */
  open(watermark: number): void {
    this.finalTo = this.shelf.open() ?? watermark;
    for (const [number, table] of this.tables.entries()) {
      for (const [start, end] of this.shelf.stored[number]!) {
        const bounds = table.clock.windowOf(start, table.size);
        if (bounds.start !== start || bounds.end !== end) throw new ZoneRulesError(table.name, table.zone, start);
        if (end <= this.finalTo) continue;
        const w = this.shelf.load(number, start, end, false);
        for (let r = 0; r < w.rows; r++) w.state[r]! |= UNSENT;
        w.unsent = w.rows;
        table.memory.set(start, w);
      }
    }
  }

  /** Adds the FRESH ones of events[first..last); late[i] = 1 when one of event i's windows was final at the last commit, else 0. */
  add(
    source: number,
    events: EventColumns,
    verdict: Uint8Array,
    origin: { topic: string; partition: number; records: Records },
    late: Uint8Array,
    first = 0,
    last = events.count,
  ): void {
    const n = this.fresh(first, last, verdict),
      { at } = this,
      { time } = events;
    if (n === 0) return;
    for (let k = 0; k < n; k++) late[at[k]!] = 0;
    this.keys.resolve(events, at, n, this.key);
    for (let t = 0; t < this.tables.length; t++) {
      for (let k = 0; k < n;) {
        const w = this.windowAt(t, time[at[k]!]!),
          { start, end } = w,
          from = k++;
        while (k < n && time[at[k]!]! >= start && time[at[k]!]! < end) k++;
        this.addRun(source, w, events, from, k, origin, late);
      }
    }
  }

  /** Indices of the fresh events into `at`. */
  private fresh(first: number, last: number, verdict: Uint8Array): number {
    const count = last - first;
    if (this.at.length < count) {
      this.at = new Int32Array(count * 2);
      this.key = new Int32Array(count * 2);
      this.row = new Int32Array(count * 2);
    }
    const { at } = this;
    let n = 0;
    for (let i = first; i < last; i++) if (verdict[i] === FRESH) at[n++] = i;
    return n;
  }

  /** Events at[from..to), all of one window. */
  private addRun(
    source: number,
    w: Window,
    events: EventColumns,
    from: number,
    to: number,
    origin: { topic: string; partition: number; records: Records },
    late: Uint8Array,
  ): void {
    const { at, row } = this;
    w.rowsOf(this.key, from, to, this.keys.count, row);
    if (w.final) {
      const touches = (w.late ??= new LateTouches(this.shape.stride)),
        name = `${origin.topic}/${origin.partition}`;
      for (let k = from; k < to; k++) {
        const i = at[k]!;
        late[i] = 1;
        touches.touch(w.sums, row[k]!, name, origin.records.offset[events.record[i]!]!);
      }
    }
    w.active = true;
    this.running = w;
    this.addEvents[source]!(from, to, at, row, w.sums, w.touched, events.where, events.lo, events.hi, this.overflow);
  }

  private windowAt(table: number, t: number): Window {
    const { recent } = this.tables[table]!,
      slot = Math.floor(t / QUARTER) % RECENT,
      w = recent[slot]!;
    if (t >= w.start && t < w.end) return w;
    return (recent[slot] = this.find(table, t));
  }

  private find(number: number, t: number): Window {
    const table = this.tables[number]!,
      { start, end } = table.clock.windowOf(t, table.size);
    let w = table.memory.get(start);
    if (w !== undefined) return w;
    if (this.isForgotten(end))
      throw new Error(`an event of ${new Date(t).toISOString()} was admitted, yet its window of ${table.name} is forgotten`);
    const final = end <= this.finalTo;
    if (this.shelf.stored[number]!.has(start)) {
      this.evict();
      w = this.shelf.load(number, start, end, final);
    } else w = new Window(number, start, end, final, this.shape);
    table.memory.set(start, w);
    if (final) this.cache.add(w);
    return w;
  }

  /** Whether every UTC hour that a window with this end touches is forgotten. */
  private isForgotten(end: number): boolean {
    return Math.ceil(end / HOUR) * HOUR <= this.boundary;
  }

  commit(c: WindowCommit): void {
    const before = this.finalTo;
    this.finalTo = Math.max(before, c.watermark);
    this.boundary = Math.max(this.boundary, c.boundary);
    this.publisher.version = c.version;
    this.publisher.changedAt = c.changedAt;
    const again = new Set((c.again ?? []).map(({ table, start }) => this.again(table, start, before)));
    for (const table of this.tables) {
      for (const w of [...table.memory.values()].sort((a, b) => a.start - b.start)) this.settle(w, table, c);
      for (const w of again) if (w?.final === true && this.tables[w.table] === table) this.publisher.again(w, table.rows);
      table.rows.flush(c.emit);
      table.changes.flush(c.emit);
    }
    this.forget(c.batch);
    if (this.finalTo > before) this.shelf.saveFinalTo(this.finalTo, c.batch);
    this.evict();
    this.dropUnusedKeys();
  }

  /** A window that is in the state, in memory; of an open one every row counts as unsent. */
  private again(number: number, start: number, finalTo: number): Window | undefined {
    const table = this.tables[number]!,
      end = this.shelf.stored[number]!.get(start);
    let w = table.memory.get(start);
    if (w === undefined && end !== undefined) {
      w = this.shelf.load(number, start, end, end <= finalTo);
      table.memory.set(start, w);
      this.cache.add(w);
    }
    if (w === undefined || w.final) return w;
    for (let r = 0; r < w.rows; r++) w.state[r]! |= UNSENT;
    w.unsent = w.rows;
    return w;
  }

  private settle(w: Window, table: Table, c: WindowCommit): void {
    const { publisher, shelf } = this,
      forgotten = this.isForgotten(w.end);
    if (w.final) {
      if (!w.active) return;
      publisher.correct(w, table.rows, table.changes);
      if (w.active && !forgotten) shelf.save(w, false, c.batch);
      this.cache.delete(w);
      this.cache.add(w);
    } else if (w.end <= this.finalTo || forgotten) {
      publisher.finalize(w, table.rows, table.changes);
      if (!forgotten) shelf.save(w, true, c.batch);
      this.cache.add(w);
    } else {
      publisher.open(w, table.rows, c.provisional);
      if (w.active) shelf.save(w, false, c.batch);
    }
  }

  private forget(batch: StoreBatch): void {
    for (const [number, table] of this.tables.entries()) {
      for (const [start, end] of this.shelf.stored[number]!) if (this.isForgotten(end)) this.shelf.forget(number, start, batch);
      for (const w of table.memory.values()) if (this.isForgotten(w.end)) this.leave(w);
    }
  }

  /** Lets the longest unused final windows go until the cache fits; one with changes that are not committed stays. */
  private evict(): void {
    let bytes = 0;
    for (const w of this.cache) bytes += w.bytes;
    for (const w of this.cache) {
      if (bytes <= this.cacheBytesMax) return;
      if (w.active) continue;
      bytes -= w.bytes;
      this.leave(w);
    }
  }

  private leave(w: Window): void {
    const table = this.tables[w.table]!;
    table.memory.delete(w.start);
    table.recent.fill(this.nowhere);
    this.cache.delete(w);
  }

  /** Keys of windows that have left memory go when they are the most: so the table is bounded by what the windows hold. */
  private dropUnusedKeys(): void {
    const { keys } = this;
    if (keys.count < this.keysMin || keys.count < 2 * this.rowsInMemory()) return;
    const used = new Uint8Array(keys.count);
    for (const { memory } of this.tables) {
      for (const w of memory.values()) for (let r = 0; r < w.rows; r++) used[w.key[r]!] = 1;
    }
    const map = keys.renumber(used);
    for (const { memory } of this.tables) for (const w of memory.values()) w.rekey(map, keys.count);
  }

  private rowsInMemory(): number {
    let rows = 0;
    for (const { memory } of this.tables) for (const w of memory.values()) rows += w.rows;
    return rows;
  }

  /** Rows of open windows that changed since they were last sent, as of the last commit. */
  get unsentRows(): number {
    let rows = 0;
    for (const { memory } of this.tables) for (const w of memory.values()) rows += w.unsent;
    return rows;
  }

  /** Bytes of final windows that late events have touched: only a commit lets them go. Asked at every parcel. */
  get touchedBytes(): number {
    let bytes = 0;
    for (const w of this.cache) if (w.active) bytes += w.bytes;
    return bytes;
  }

  /** The end of the last window that is open, or null. */
  lastOpenEnd(): number | null {
    let last: number | null = null;
    for (const { memory } of this.tables) for (const w of memory.values()) if (!w.final && (last === null || w.end > last)) last = w.end;
    return last;
  }

  stats(): WindowStats {
    let bytes = this.keys.bytes,
      openWindows = 0,
      storedWindows = 0;
    for (const [number, { memory }] of this.tables.entries()) {
      storedWindows += this.shelf.stored[number]!.size;
      for (const w of memory.values()) {
        bytes += w.bytes;
        if (!w.final) openWindows++;
      }
    }
    return {
      openWindows,
      cachedWindows: this.cache.size,
      storedWindows,
      rows: this.rowsInMemory(),
      keys: this.keys.count,
      bytes,
    };
  }
}
