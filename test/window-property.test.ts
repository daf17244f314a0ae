import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import type { PlanTable } from '../topology/plan.ts';
import { Windows } from '../topology/window/windows.ts';
import { insertTarget } from '../topology/write/layout.ts';
import { addNaively, columnsOf, decodeRows, emptyValues, keyOf, ModelTable, testPlan } from './window-model.ts';
import type { Decoded, ModelRow, ModelWindow, TestEvent, Values } from './window-model.ts';

const HOUR = 3_600_000,
  SHARD = 513;
// Berlin repeats an hour on the 27th, Lord Howe lost half an hour on the 6th, Sao Paulo lost a midnight on 4 November 2018.
const BEGINNINGS = ['2024-10-26T10:00:00Z', '2024-10-05T02:00:00Z', '2018-11-03T06:00:00Z', '1970-01-01T00:00:00Z'];
const ZONES = ['UTC', 'Europe/Berlin', 'Asia/Kolkata', 'Australia/Lord_Howe', 'America/Sao_Paulo'];

function mulberry(seed: number): (below: number) => number {
  let a = seed | 0;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

/** A touch of a window that was final, as the model saw it. */
interface Touch {
  readonly window: ModelWindow;
  readonly row: ModelRow;
  readonly before: Values | null;
  readonly cause: string;
  more: number;
}

class Scenario {
  readonly random: (below: number) => number;
  readonly plan;
  readonly models: ModelTable[];
  store = new MemoryStore();
  windows: Windows;
  now: number;
  maxTime = -1;
  finalTo = -1;
  boundary = -Infinity;
  version = 2 ** 40 + 5;
  offset = 0;
  /** Slices since the last commit, for the machine that starts again. */
  pending: { source: number; partition: number; events: TestEvent[]; late: number[] }[] = [];
  unsent: Set<string>[];
  final: Set<number>[];
  gone: Set<number>[];
  touches: Map<string, Touch>[];
  latest: Map<string, Decoded>[];
  folded: Map<string, Values>[];
  readonly cacheBytesMax: number;

  constructor(seed: number) {
    const random = (this.random = mulberry(seed));
    const table = (name: string, size: 'hour' | 'day'): PlanTable => ({ name, size, zone: ZONES[random(ZONES.length)]! });
    const tables = [table('hourly', 'hour'), table('daily', 'day'), ...(random(3) === 0 ? [table('other', 'hour')] : [])];
    this.plan = testPlan(tables);
    this.models = tables.map((t) => new ModelTable(this.plan, t));
    this.now = Date.parse(BEGINNINGS[random(BEGINNINGS.length)]!);
    this.cacheBytesMax = [0, 20_000, 1 << 28][random(3)]!;
    this.unsent = tables.map(() => new Set());
    this.final = tables.map(() => new Set());
    this.gone = tables.map(() => new Set());
    this.touches = tables.map(() => new Map());
    this.latest = tables.map(() => new Map());
    this.folded = tables.map(() => new Map());
    this.windows = this.reopen();
  }

  reopen(): Windows {
    const windows = new Windows({
      plan: this.plan,
      shard: SHARD,
      generation: 3,
      store: this.store,
      cacheBytesMax: this.cacheBytesMax,
      keysMin: 8,
    });
    windows.open(this.finalTo);
    return windows;
  }

  event(source: number): TestEvent {
    const { random } = this,
      back = random(10) === 0 ? random(60 * HOUR) : random(2 * HOUR),
      large = random(8) === 0;
    const time = Math.max(0, this.now - (random(40) === 0 ? 0 : back)),
      expired = (Math.floor(time / HOUR) + 1) * HOUR <= this.liveBoundary();
    const verdict = expired ? 3 : random(12) === 0 ? 1 + random(2) : 0;
    if (!expired) this.maxTime = Math.max(this.maxTime, time);
    const name = ['', 'a', 'b', 'bé', 'x'.repeat(200)][random(5)]!,
      some = <T>(v: T): T | null => (random(4) === 0 ? null : v);
    const wide = (): bigint => (BigInt(random(2 ** 31)) - 2n ** 30n) * (large ? 2n ** 29n + 7n : 1n);
    return {
      source,
      time,
      verdict,
      offset: this.offset++,
      partition: 0,
      name,
      number: BigInt(random(3)) - 1n,
      flag: random(2) === 0,
      cost: some(wide()),
      size: some(wide()),
      ratio: some([0, -0, 1.5, -2.25, random(1000) / 7][random(5)]!),
      seen: some(random(2 ** 31) * 1900),
      paid: random(3) > 0,
    };
  }
  liveBoundary = (): number => this.maxTime - this.plan.horizonMs;

  add(): void {
    const { random } = this;
    this.now += random(4) === 0 ? random(5 * HOUR) : random(HOUR / 4);
    const source = random(3),
      partition = random(4),
      events = Array.from({ length: random(25) }, () => this.event(source)),
      late: number[] = [];
    for (const e of events) {
      e.partition = partition;
      late.push(e.verdict === 0 ? this.addToModels(e) : 7);
    }
    const slice = { source, partition, events, late };
    this.pending.push(slice);
    this.feed(slice);
  }

  feed({ source, partition, events, late }: (typeof this.pending)[0]): void {
    const { columns, records, verdict } = columnsOf(this.plan, source, events),
      out = new Uint8Array(events.length).fill(7);
    this.windows.add(source, columns, verdict, { topic: 'views', partition, records }, out);
    expect([...out]).toEqual(late);
  }

  addToModels(e: TestEvent): number {
    let late = 0;
    for (const [t, model] of this.models.entries()) {
      const before = model.windows.get(this.boundsOf(model, e))?.rows.get(keyOf(e)),
        copy = before === undefined ? null : [...before.values];
      const w = model.add(e),
        id = `${w.start}|${keyOf(e)}`;
      if (w.end > this.finalTo) {
        this.unsent[t]!.add(id);
        continue;
      }
      late = 1;
      const touch = this.touches[t]!.get(id);
      if (touch !== undefined) touch.more++;
      else
        this.touches[t]!.set(id, {
          window: w,
          row: w.rows.get(keyOf(e))!,
          before: copy,
          cause: `late views/${e.partition}@${e.offset}`,
          more: 0,
        });
    }
    return late;
  }
  boundsOf(model: ModelTable, e: TestEvent): number {
    for (const w of model.windows.values()) if (e.time >= w.start && e.time < w.end) return w.start;
    return -1;
  }

  restart(): void {
    this.store = this.store.fork();
    this.windows = this.reopen();
    for (const [t, model] of this.models.entries()) {
      for (const w of model.windows.values()) {
        if (w.end > this.finalTo && !this.gone[t]!.has(w.start)) for (const key of w.rows.keys()) this.unsent[t]!.add(`${w.start}|${key}`);
      }
    }
    // The slices since the last commit are read again.
    for (const slice of this.pending) this.feed(slice);
  }

  commit(provisional: boolean, everything = false): void {
    const { random } = this,
      watermark = everything ? Infinity : this.now - [0, HOUR, 30 * HOUR, 70 * HOUR][random(4)]!;
    const finalTo = Math.max(this.finalTo, everything ? (this.windows.lastOpenEnd() ?? this.finalTo) : watermark),
      boundary = this.liveBoundary();
    const batch = this.store.batch(),
      emitted: { target: string; rows: number; body: Uint8Array }[] = [],
      version = ++this.version;
    this.windows.commit({
      watermark: finalTo,
      boundary,
      version,
      changedAt: 1_700_000_000_123,
      provisional,
      batch,
      emit: (target, rows, body) => emitted.push({ target, rows, body }),
    });
    this.store.commit(batch);
    this.finalTo = finalTo;
    this.boundary = Math.max(this.boundary, boundary);
    let at = 0;
    for (const [t, model] of this.models.entries()) {
      const take = (layout: ModelTable['rows']): Decoded[] => {
        const out: Decoded[] = [];
        while (at < emitted.length && emitted[at]!.target === insertTarget(layout)) {
          const rows = decodeRows(layout, emitted[at]!.body);
          expect(rows.length).toBe(emitted[at++]!.rows);
          out.push(...rows);
        }
        return out;
      };
      const rows = take(model.rows),
        changes = take(model.changes);
      this.check(t, model, rows, changes, provisional);
    }
    expect(at).toBe(emitted.length);
    this.pending = [];
  }

  /** What the commit had to say of a table, in full, against what it said. */
  check(t: number, model: ModelTable, rows: Decoded[], changes: Decoded[], provisional: boolean): void {
    const wantRows: string[] = [],
      wantChanges: string[] = [],
      final = this.final[t]!,
      unsent = this.unsent[t]!;
    for (const w of model.windows.values()) {
      if (final.has(w.start)) continue;
      const closes = w.end <= this.finalTo || Math.ceil(w.end / HOUR) * HOUR <= this.boundary;
      for (const [key, row] of w.rows) {
        if ((closes || provisional) && unsent.delete(`${w.start}|${key}`)) wantRows.push(this.rowText(w, row, 0));
        if (closes && !this.touches[t]!.has(`${w.start}|${key}`)) wantChanges.push(this.changeText(w, row, row.values, '+I', ''));
      }
      if (closes && ![...this.touches[t]!.values()].some((x) => x.window === w)) final.add(w.start);
    }
    for (const touch of this.touches[t]!.values()) {
      const { window, row, before } = touch,
        cause = touch.more > 0 ? `${touch.cause} and ${touch.more} more` : touch.cause;
      final.add(window.start);
      if (before !== null && before.every((v, m) => Object.is(v, row.values[m]))) continue;
      row.corrected = true;
      wantRows.push(this.rowText(window, row, 1));
      if (before !== null) wantChanges.push(this.changeText(window, row, before, '-U', cause));
      wantChanges.push(this.changeText(window, row, row.values, before === null ? '+I' : '+U', cause));
    }
    this.touches[t]!.clear();
    expect(
      rows
        .map((r) => this.decodedText(r, ['window_start', 'window_end', ...this.dims, ...this.measures, 'corrected', 'version', 'shard']))
        .sort(),
    ).toEqual(wantRows.sort());
    expect(
      changes
        .map((r) =>
          this.decodedText(r, [
            'window_start',
            'window_end',
            ...this.dims,
            ...this.measures,
            'op',
            'sign',
            'cause',
            'version',
            'changed_at',
            'shard',
          ]),
        )
        .sort(),
    ).toEqual(wantChanges.sort());
    this.fold(t, rows, changes);
    for (const w of model.windows.values()) if (Math.ceil(w.end / HOUR) * HOUR <= this.boundary) this.gone[t]!.add(w.start);
    this.checkFinals(t, model);
  }

  get dims(): string[] {
    return this.plan.dimensions.map((d) => d.name);
  }
  get measures(): string[] {
    return this.plan.measures.map((m) => m.name);
  }
  decodedText(r: Decoded, columns: string[]): string {
    return columns.map((c) => String(r[c])).join(';');
  }
  rowText(w: ModelWindow, row: ModelRow, corrected: number): string {
    return [w.start, w.end, ...JSON.parse(row.key), ...row.values.map(String), corrected, this.version, SHARD].join(';');
  }
  changeText(w: ModelWindow, row: ModelRow, values: Values, op: string, cause: string): string {
    return [
      w.start,
      w.end,
      ...JSON.parse(row.key),
      ...values.map(String),
      op,
      op === '-U' ? -1 : 1,
      cause,
      this.version,
      1_700_000_000_123,
      SHARD,
    ].join(';');
  }

  fold(t: number, rows: Decoded[], changes: Decoded[]): void {
    const id = (r: Decoded): string => `${String(r['window_start'])}|${JSON.stringify([r['name'], String(r['number']), r['flag']])}`;
    for (const r of rows) this.latest[t]!.set(id(r), r);
    for (const r of changes) {
      const values = this.measures.map((m) => r[m] as Values[0]),
        before = this.folded[t]!.get(id(r));
      if (r['op'] === '+I') expect(before).toBe(undefined);
      if (r['op'] === '-U') expect(values).toEqual(before);
      if (r['op'] === '+U' || r['op'] === '+I') this.folded[t]!.set(id(r), values);
    }
  }

  /** At every commit: the changes add up to the final windows, and their newest rows say the same. */
  checkFinals(t: number, model: ModelTable): void {
    let rows = 0;
    for (const w of model.windows.values()) {
      if (!this.final[t]!.has(w.start)) continue;
      for (const [key, row] of w.rows) {
        const id = `${w.start}|${key}`,
          latest = this.latest[t]!.get(id)!;
        rows++;
        const folded = this.folded[t]!.get(id)!,
          same = row.values.every((v, m) => Object.is(v, folded[m]) && Object.is(v, latest[this.measures[m]!]));
        // `expect` a million times would take most of the test's time.
        if (!same || latest['corrected'] !== (row.corrected ? 1 : 0)) expect([folded, latest]).toEqual(row);
      }
    }
    expect(this.folded[t]!.size).toBe(rows);
  }
}

test('windows agree with a naive model at every commit, across lateness, forgetting, small caches and restarts', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const s = new Scenario(seed);
      for (let step = 0; step < 60; step++) {
        const what = s.random(10);
        if (what < 6) s.add();
        else if (what < 9) s.commit(s.random(2) === 0);
        else s.restart();
      }
      s.commit(true, true);
      expect(s.windows.stats().openWindows).toBe(0);
      expect(s.windows.unsentRows).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test('what a model of the model adds is what it says', () => {
  const plan = testPlan([]),
    values = emptyValues(plan);
  const e: TestEvent = {
    source: 1,
    time: 0,
    verdict: 0,
    offset: 0,
    partition: 0,
    name: '',
    number: 0n,
    flag: true,
    cost: 5n,
    size: -3n,
    ratio: -0,
    seen: 9,
    paid: true,
  };
  addNaively(plan, values, e);
  expect(values).toEqual([0n, 0n, 0n, 1n, 5n, -3n, null, null, 0, 9n, null]);
});
