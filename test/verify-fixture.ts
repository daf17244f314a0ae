/**
 * A small log and the views that a right run of it would show, worked out by hand: every event below carries the class that it
 * must end in. `ask` answers the oracle's questions from plain rows, which a test may spoil first.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { field } from './gate-fixtures.ts';
import type { Contract } from '../topology/contract/model.ts';
import type { Plan } from '../topology/plan.ts';
import { verifyJob } from '../src/verify/verify-job.ts';
import type { Ask, VerifyResult } from '../src/verify/model.ts';

const HOUR = 3_600_000;
export const T0 = Date.UTC(2026, 0, 10);

export const VIEWS: Contract = {
  id: 'views',
  version: '1.0.0',
  topic: 'views',
  digest: 'd1',
  fields: [
    field('event_id', 'string', { minLength: 1 }),
    field('event_time', 'timestamp'),
    field('country', 'string', { pattern: '^[A-Z]{2}$' }),
    field('cost', 'number', { multipleOf: '0.01', scale: 2, minimum: '0' }),
    field('paid_by', 'string', { required: false, validValues: ['card', 'cash'] }),
  ],
};
export const SALES: Contract = {
  id: 'sales',
  version: '2.0.0',
  topic: 'sales',
  digest: 'd2',
  fields: [
    field('event_id', 'string'),
    field('event_time', 'timestamp'),
    field('country', 'string'),
    field('value', 'integer', { required: false }),
  ],
};
export const PLAN: Plan = {
  format: 1,
  job: 'shop',
  id: 'event_id',
  time: 'event_time',
  horizonMs: 48 * HOUR,
  outOfOrderMs: 60_000,
  fenceMs: HOUR,
  maxRecordBytes: 70_000,
  producerKey: null,
  sources: [
    { contract: 'views', version: '1.0.0', digest: 'd1', topic: 'views' },
    { contract: 'sales', version: '2.0.0', digest: 'd2', topic: 'sales' },
  ],
  dimensions: [{ name: 'country', type: 'string' }],
  measures: [
    { name: 'views', kind: 'count', source: 0, field: null, where: [], type: 'int64', scale: 0 },
    { name: 'card', kind: 'count', source: 0, field: null, where: [{ field: 'paid_by', equals: 'card' }], type: 'int64', scale: 0 },
    { name: 'cost', kind: 'sum', source: 0, field: 'cost', where: [], type: 'decimal', scale: 2 },
    { name: 'best', kind: 'max', source: 1, field: 'value', where: [], type: 'int64', scale: 0 },
  ],
  tables: [
    { name: 'shop_hourly', size: 'hour', zone: 'UTC' },
    { name: 'shop_daily', size: 'day', zone: 'Europe/Berlin' },
  ],
};

/** `as`: the class it ends in; '' counts. Times are hours after T0; the record's own time is the event's unless `arrival` says. */
interface Given {
  readonly at: string;
  readonly raw: string | Buffer | null;
  readonly time: number;
  readonly as:
    | ''
    | 'LATE'
    | 'duplicate'
    | 'ID_CONFLICT'
    | 'OVERSIZE'
    | 'UNPARSEABLE'
    | 'VALUE_OUT_OF_RANGE'
    | 'INVALID_VALUE'
    | 'FUTURE_TIME'
    | 'EXPIRED'
    | 'MISSING_FIELD'
    | 'TYPE_MISMATCH';
  readonly field?: string;
  readonly adds?: { country: string; cost?: bigint; card?: boolean; best?: bigint };
  readonly key?: string;
}
const view = (id: string, h: number, country: string, cost: string, more = ''): string =>
  `{"event_id":"${id}","event_time":${T0 + h * HOUR},"country":"${country}","cost":${cost}${more}}`;
const sale = (id: string, h: number, country: string, value: string): string =>
  `{"event_id":"${id}","event_time":${T0 + h * HOUR},"country":"${country}"${value}}`;
const big = Buffer.from(view('big', 1, 'DE', '1', `,"pad":"${'x'.repeat(80_000)}"`));

export const GIVEN: readonly Given[] = [
  {
    at: 'views-0',
    raw: view('A1', 0.5, 'DE', '1.50', ',"paid_by":"card"'),
    time: 0.5,
    as: '',
    adds: { country: 'DE', cost: 150n, card: true },
    key: 'A1',
  },
  { at: 'views-0', raw: view('a2', 0.6, 'DE', '2'), time: 0.6, as: '', adds: { country: 'DE', cost: 200n } },
  { at: 'views-0', raw: view('a2', 0.6, 'DE', '2.00', ' '), time: 1, as: 'duplicate' },
  { at: 'views-0', raw: view('a2', 0.6, 'DE', '3'), time: 1, as: 'ID_CONFLICT', field: 'event_id' },
  { at: 'views-0', raw: 'no json', time: 1, as: 'UNPARSEABLE', field: '' },
  { at: 'views-0', raw: view('a3', 1.2, 'FR', '0.001'), time: 1.2, as: 'VALUE_OUT_OF_RANGE', field: 'cost' },
  { at: 'views-0', raw: view('a3', 1.2, 'Fr', '0.01'), time: 1.2, as: 'INVALID_VALUE', field: 'country' },
  { at: 'views-0', raw: view('a3', 1.2, 'FR', '1e-2'), time: 1.2, as: '', adds: { country: 'FR', cost: 1n } },
  { at: 'views-0', raw: view('f1', 9, 'FR', '1'), time: 2, as: 'FUTURE_TIME', field: 'event_time' },
  { at: 'views-0', raw: big, time: 2, as: 'OVERSIZE', field: '' },
  { at: 'views-0', raw: null, time: 2, as: 'UNPARSEABLE', field: '' },
  {
    at: 'views-1',
    raw: view('0b0b0b0b-0000-4000-8000-00000000000A', 25, 'DE', '4'),
    time: 25,
    as: '',
    adds: { country: 'DE', cost: 400n },
  },
  { at: 'views-1', raw: view('0B0B0B0B-0000-4000-8000-00000000000a', 25, 'DE', '4'), time: 25, as: 'duplicate' },
  { at: 'views-1', raw: view('0b0b0b0b-0000-4000-8000-00000000000a', 25, 'DE', '4.01'), time: 25, as: 'ID_CONFLICT', field: 'event_id' },
  { at: 'views-1', raw: view('l1', 0.7, 'DE', '5'), time: 26, as: 'LATE', adds: { country: 'DE', cost: 500n } },
  { at: 'views-1', raw: view('h1', 60, 'DE', '1'), time: 60, as: '', adds: { country: 'DE', cost: 100n } },
  { at: 'views-1', raw: view('e1', 3, 'DE', '1'), time: 61, as: 'EXPIRED', field: 'event_time' },
  { at: 'sales-0', raw: sale('s1', 1.5, 'DE', ',"value":7'), time: 1.5, as: '', adds: { country: 'DE', best: 7n } },
  { at: 'sales-0', raw: sale('s2', 1.6, 'DE', ''), time: 1.6, as: '', adds: { country: 'DE' } },
  { at: 'sales-0', raw: sale('s3', 8, 'DE', ',"value":9'), time: 61, as: 'EXPIRED', field: 'event_time' },
  { at: 'sales-0', raw: sale('s4', 50, 'ES', ',"value":-2'), time: 61, as: '', adds: { country: 'ES', best: -2n } },
];
const FINAL_TO = T0 + 26 * HOUR;

function varint(n: number): Buffer {
  let v = n < 0 ? -2n * BigInt(n) - 1n : 2n * BigInt(n);
  const out: number[] = [];
  for (; v > 127n; v >>= 7n) out.push(Number(v & 127n) | 128);
  return Buffer.from([...out, Number(v)]);
}
const blob = (b: Buffer | null): Buffer => (b === null ? varint(-1) : Buffer.concat([varint(b.length), b]));

export interface Logged {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: Buffer | null;
}
/** One record batch of Kafka's format v2, uncompressed. */
export function batch(records: readonly Logged[], attributes = 0, producer = -1, pack = (body: Buffer): Buffer => body): Buffer {
  const base = records[0]!.offset,
    t = records[0]!.timestamp;
  const plain = Buffer.concat(
    records.map((r) => {
      const one = Buffer.concat([
        Buffer.from([0]),
        varint(r.timestamp - t),
        varint(r.offset - base),
        blob(r.key === null ? null : Buffer.from(r.key)),
        blob(r.value),
        varint(0),
      ]);
      return Buffer.concat([varint(one.length), one]);
    }),
  );
  const body = pack(plain),
    head = Buffer.alloc(61);
  head.writeBigInt64BE(BigInt(base), 0);
  head.writeInt32BE(49 + body.length, 8);
  head[16] = 2;
  head.writeInt16BE(attributes, 21);
  head.writeInt32BE(records.at(-1)!.offset - base, 23);
  head.writeBigInt64BE(BigInt(t), 27);
  head.writeBigInt64BE(BigInt(Math.max(...records.map((r) => r.timestamp))), 35);
  head.writeBigInt64BE(BigInt(producer), 43);
  head.writeInt32BE(records.length, 57);
  const whole = Buffer.concat([head, body]);
  whole.writeUInt32BE(crc32c(whole.subarray(21)), 17);
  return whole;
}

export function writeLog(dir: string, place: string, batches: readonly Buffer[]): void {
  mkdirSync(join(dir, place), { recursive: true });
  writeFileSync(join(dir, place, `${'0'.repeat(20)}.log`), Buffer.concat(batches));
}

export type Row = Record<string, string | number | boolean | null>;
export type Tables = Record<string, Row[]>;

interface Total {
  views: bigint;
  card: bigint;
  cost: bigint;
  best: bigint | null;
}
const measures = (t: Total): Row => ({
  m0: String(t.views),
  m1: String(t.card),
  m2: `${t.cost / 100n}.${String(t.cost % 100n).padStart(2, '0')}`,
  m3: t.best === null ? null : String(t.best),
});

/** Window bounds by hand: UTC hours, and days of Berlin in winter. */
const bounds = (table: string, time: number): [number, number] => {
  if (table === 'shop_hourly') return [Math.floor(time / HOUR) * HOUR, (Math.floor(time / HOUR) + 1) * HOUR];
  const start = Math.floor((time + HOUR) / (24 * HOUR)) * 24 * HOUR - HOUR;
  return [start, start + 24 * HOUR];
};

function add(into: Total, g: Given): void {
  const fromViews = g.at.startsWith('views');
  if (fromViews) into.views++;
  if (g.adds!.card) into.card++;
  into.cost += g.adds!.cost ?? 0n;
  const best = g.adds!.best;
  if (best !== undefined && (into.best === null || best > into.best)) into.best = best;
}

/** Rows of the three views of a table: events that are LATE come after the first version of final windows. */
function viewsOf(table: string, out: Tables): void {
  const groups = new Map<string, Given[]>();
  for (const g of GIVEN) {
    if (g.adds === undefined) continue;
    const time = T0 + eventHours(g) * HOUR,
      place = `${bounds(table, time).join(' ')} ${g.adds.country}`;
    groups.set(place, [...(groups.get(place) ?? []), g]);
  }
  out[table] = [];
  out[`${table}_live`] = [];
  out[`${table}_changes`] = [];
  for (const [place, events] of groups) {
    const [start, end, country] = place.split(' '),
      isFinal = Number(end) <= FINAL_TO;
    const base: Row = { start_s: Number(start) / 1000, end_s: Number(end) / 1000, d0: country! };
    const total: Total = { views: 0n, card: 0n, cost: 0n, best: null };
    for (const g of events) if (g.as === '') add(total, g);
    const first = measures(total),
      late = events.filter((g) => g.as === 'LATE');
    for (const g of late) add(total, g);
    const state = !isFinal ? 'provisional' : late.length > 0 ? 'corrected' : 'final';
    out[`${table}_live`]!.push({ ...base, ...measures(total), state });
    if (!isFinal) continue;
    out[table]!.push({ ...base, ...measures(total) });
    const change = (op: string, sign: number, m: Row, version: string): Row => ({
      ...base,
      ...m,
      op_text: op,
      sign,
      cause: op === '+I' ? '' : 'late views/1@3',
      shard: 0,
      version_text: version,
    });
    out[`${table}_changes`]!.push(change('+I', 1, first, '1099511627777'));
    if (late.length > 0)
      out[`${table}_changes`]!.push(change('+U', 1, measures(total), '1099511627778'), change('-U', -1, first, '1099511627778'));
  }
}

const eventHours = (g: Given): number => (Number(/"event_time":(\d+)/.exec(String(g.raw))![1]) - T0) / HOUR;
const sha = (b: Buffer): string => createHash('sha256').update(b).digest('hex');

function quarantineRow(g: Given, offset: number, topic: string, partition: number): Row {
  const value = g.raw === null ? Buffer.alloc(0) : Buffer.from(g.raw),
    kept = g.as === 'OVERSIZE' ? value.subarray(0, 65536) : value;
  const contract = topic === 'views' ? VIEWS : SALES;
  return {
    topic,
    partition,
    offset,
    code: g.as,
    field: g.field!,
    shard: 0,
    at_ms: String(T0 + g.time * HOUR),
    key_hex: g.key === undefined ? null : Buffer.from(g.key).toString('hex').toUpperCase(),
    raw_bytes: String(kept.length),
    raw_sha256: sha(kept),
    detail: g.as === 'OVERSIZE' ? `${value.length} bytes, sha256 ${sha(value)}` : 'why',
    contract: contract.id,
    contract_version: contract.version,
  };
}

export function rightTables(): Tables {
  const out: Tables = { tally_quarantine: [], tally_books: [], tally_audit: [], tally_epochs: [] },
    next = new Map<string, number>(),
    pages = new Map<string, Map<string, number>>();
  for (const g of GIVEN) {
    const offset = next.get(g.at) ?? 0,
      cut = g.at.lastIndexOf('-'),
      topic = g.at.slice(0, cut),
      partition = Number(g.at.slice(cut + 1));
    next.set(g.at, offset + 1);
    const page = pages.get(g.at) ?? new Map<string, number>();
    pages.set(g.at, page);
    const line =
      g.as === ''
        ? 'counted '
        : g.as === 'LATE'
          ? 'counted LATE'
          : g.as === 'duplicate'
            ? 'duplicate '
            : g.as === 'ID_CONFLICT'
              ? 'conflict ID_CONFLICT'
              : `quarantined ${g.as}`;
    for (const l of ['read ', line]) page.set(l, (page.get(l) ?? 0) + 1);
    if (g.field !== undefined) out.tally_quarantine!.push(quarantineRow(g, offset, topic, partition));
  }
  for (const [at, page] of pages) {
    const cut = at.lastIndexOf('-');
    for (const [line, n] of page) {
      const [cls, code] = line.split(' ');
      out.tally_books!.push({
        shard: 0,
        topic: at.slice(0, cut),
        partition: Number(at.slice(cut + 1)),
        class: cls!,
        code: code!,
        n: String(n),
      });
    }
  }
  const offsets = [...next].map(([at, n]) => [at.slice(0, at.lastIndexOf('-')), Number(at.slice(at.lastIndexOf('-') + 1)), n]);
  out.tally_progress = [
    { shard: 0, shards: 1, instance: 'i', final_to_ms: String(FINAL_TO), offsets: JSON.stringify(offsets), committed_at_ms: '0' },
  ];
  viewsOf('shop_hourly', out);
  viewsOf('shop_daily', out);
  return out;
}

/** Answers the few questions that the oracle puts, by the view's name and the bounds in the text. */
export function askOf(tables: Tables): Ask {
  return async (sql) => {
    const view = /FROM `?(\w+)`?/.exec(sql)![1]!,
      rows = tables[view];
    if (rows === undefined) throw new Error(`no view ${view}`);
    if (sql.includes('GROUP BY start_s')) {
      const counts = new Map<number, number>();
      for (const r of rows) counts.set(r.start_s as number, (counts.get(r.start_s as number) ?? 0) + 1);
      return [...counts].sort((a, b) => a[0] - b[0]).map(([start_s, n]) => ({ start_s, n: String(n) }));
    }
    const range = /window_start >= toDateTime\((\d+), 'UTC'\) AND window_start < toDateTime\((\d+), 'UTC'\)/.exec(sql);
    if (range !== null) return rows.filter((r) => (r.start_s as number) >= Number(range[1]) && (r.start_s as number) < Number(range[2]));
    const place = /topic = '(\w+)' AND partition = (\d+) AND `offset` > (-?\d+) AND `offset` < (\d+)/.exec(sql);
    if (place === null) return rows;
    const [, topic, partition, from, to] = place,
      shard = /AND shard = (\d+)/.exec(sql)?.[1];
    return rows
      .filter(
        (r) =>
          (shard === undefined || r.shard === Number(shard)) &&
          r.topic === topic &&
          r.partition === Number(partition) &&
          (r.offset as number) > Number(from) &&
          (r.offset as number) < Number(to),
      )
      .sort((a, b) => (a.offset as number) - (b.offset as number));
  };
}

/** Writes the log, spoils the right tables, verifies. */
export async function verifySpoilt(spoil: (t: Tables, dir: string) => void, given: readonly Given[] = GIVEN): Promise<VerifyResult> {
  const dir = mkdtempSync(join(tmpdir(), 'tally-verify-'));
  try {
    const places = new Map<string, Logged[]>();
    for (const g of given) {
      const records = places.get(g.at) ?? [];
      places.set(g.at, records);
      records.push({
        offset: records.length,
        timestamp: T0 + g.time * HOUR,
        key: g.key ?? null,
        value: g.raw === null ? null : Buffer.from(g.raw),
      });
    }
    for (const [place, records] of places)
      writeLog(dir, place, [batch(records.slice(0, 3)), ...(records.length > 3 ? [batch(records.slice(3))] : [])]);
    const tables = rightTables();
    spoil(tables, dir);
    return await verifyJob({ plan: PLAN, contracts: [VIEWS, SALES], logDir: dir, ask: askOf(tables), generation: 1 });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
