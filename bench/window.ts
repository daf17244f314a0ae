/**
 * The windows alone: `node bench/window.ts`. Adds events of two tables (hour, day; key look-up included) at 10,000 and 200,000
 * Zipf keys and commits every 500,000, against Maps with string keys on the same columns, interleaved.
 */
import { MemoryStore } from '../state/memory.ts';
import { EventColumns } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import { sourceInputs } from '../topology/inputs.ts';
import type { Plan, PlanMeasure } from '../topology/plan.ts';
import { Windows } from '../topology/window/windows.ts';
import { median, print, row } from './table.ts';
import type { Row } from './table.ts';
import { avalanche, mixBytes } from '../topology/contract/identity.ts';

const HOUR = 3_600_000,
  START = Date.UTC(2024, 4, 1),
  SLICE = 4096,
  SLICES = 123;
const count = (name: string, source: number): PlanMeasure => ({
  name,
  kind: 'count',
  source,
  field: null,
  where: [],
  type: 'int64',
  scale: 0,
});
const sum = (name: string, source: number, field: string): PlanMeasure => ({
  name,
  kind: 'sum',
  source,
  field,
  where: [],
  type: 'int64',
  scale: 0,
});
const source = (contract: string): Plan['sources'][0] => ({ contract, version: '1', digest: '', topic: contract });
const plan: Plan = {
  format: 1,
  job: 'ads',
  sources: [source('delivery'), source('click'), source('conversion')],
  id: 'id',
  time: 't',
  horizonMs: 30 * 24 * HOUR,
  outOfOrderMs: 300_000,
  fenceMs: HOUR,
  maxRecordBytes: 1 << 20,
  producerKey: null,
  dimensions: ['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement'].map((name) => ({ name, type: 'string' as const })),
  measures: [count('impressions', 0), count('clicks', 1), count('conversions', 2), sum('spend', 0, 'cost'), sum('value', 2, 'value')],
  tables: [
    { name: 'hourly', size: 'hour', zone: 'UTC' },
    { name: 'daily', size: 'day', zone: 'UTC' },
  ],
};

/** A fixed stream of numbers in [0, 1). */
function stream(seed: number): () => number {
  let a = seed;
  return () => {
    a = (Math.imul(a, 1664525) + 1013904223) | 0;
    return ((Math.imul(a ^ (a >>> 15), 0x2c1b3c6d) >>> 8) & 0xffffff) / 0x1000000;
  };
}

/** Slices of events over `hours` of event time, keys by Zipf with exponent 1. */
function makeSlices(keys: number, hours: number): EventColumns[] {
  const random = stream(7),
    cumulative = new Float64Array(keys),
    bytes: Buffer[] = [];
  let total = 0;
  for (let k = 0; k < keys; k++) cumulative[k] = total += 1 / (k + 1);
  for (let k = 0; k < keys; k++) {
    const texts = [`adv-${k % 997}`, `cmp-${k % 9973}`, `ad-${k}`, 'DE', k % 3 === 0 ? 'feed' : 'story'];
    bytes.push(Buffer.concat(texts.flatMap((t) => [Buffer.from([t.length]), Buffer.from(t)])));
  }
  const out: EventColumns[] = [];
  for (let s = 0; s < SLICES; s++) {
    const events = new EventColumns(SLICE, sourceInputs(plan, 0).fields.length),
      parts: Buffer[] = [];
    let end = 0;
    events.count = SLICE;
    for (let i = 0; i < SLICE; i++) {
      const x = random() * total;
      let low = 0,
        high = keys - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (cumulative[middle]! < x) low = middle + 1;
        else high = middle;
      }
      const key = bytes[low]!;
      parts.push(key);
      end += key.length;
      events.record[i] = i;
      events.keyEnd[i] = end;
      events.keyHash[i] = avalanche(mixBytes(17, new DataView(key.buffer, key.byteOffset, key.length), 0, key.length, 0x1b873593));
      events.time[i] = Math.max(START, START + ((s * SLICE + i) / (SLICES * SLICE)) * hours * HOUR - Math.floor(random() * 120_000));
      events.lo[0]![i] = Math.floor(random() * 5_000_000);
    }
    events.keyBytes = Buffer.concat(parts);
    out.push(events);
  }
  return out;
}

interface NaiveRow {
  impressions: number;
  clicks: number;
  conversions: number;
  spend: bigint;
  value: bigint;
}

function addNaively(tables: Map<string, NaiveRow>[], events: EventColumns): void {
  let from = 0;
  const bytes = Buffer.from(events.keyBytes.buffer, events.keyBytes.byteOffset, events.keyBytes.length);
  for (let i = 0; i < events.count; i++) {
    const key = bytes.toString('latin1', from, events.keyEnd[i]),
      t = events.time[i]!;
    from = events.keyEnd[i]!;
    for (const [n, size] of [HOUR, 24 * HOUR].entries()) {
      const id = `${Math.floor(t / size)}|${key}`;
      let row = tables[n]!.get(id);
      if (row === undefined) tables[n]!.set(id, (row = { impressions: 0, clicks: 0, conversions: 0, spend: 0n, value: 0n }));
      row.impressions++;
      row.spend += BigInt(events.lo[0]![i]!);
    }
  }
}

const ns = (ms: number, n: number): number => (ms * 1e6) / n;

function run(keys: number, hours: number, rounds: number): Row[] {
  const slices = makeSlices(keys, hours),
    events = SLICES * SLICE,
    verdict = new Uint8Array(SLICE),
    late = new Uint8Array(SLICE),
    records = new Records();
  records.reserve(SLICE);
  const origin = { topic: 'ads', partition: 0, records },
    ours: number[] = [],
    naives: number[] = [],
    commits: number[] = [],
    again: number[] = [];
  let rows = 0,
    bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const store = new MemoryStore(),
      windows = new Windows({ plan, shard: 0, generation: 1, store });
    windows.open(-1);
    const commit = (version: number): number => {
      const batch = { put: (_: Uint8Array, value: Uint8Array): void => void (bytes += value.length), del: (): void => undefined };
      const began = performance.now();
      rows = 0;
      bytes = 0;
      windows.commit({ watermark: -1, boundary: -1, version, changedAt: 0, provisional: true, batch, emit: (_, n) => (rows += n) });
      return ns(performance.now() - began, rows);
    };
    for (const [pass, times] of [
      [0, ours],
      [1, again],
    ] as const) {
      const began = performance.now();
      for (const slice of slices) windows.add(0, slice, verdict, origin, late);
      times.push(ns(performance.now() - began, events));
      commits.push(commit(pass + 1));
    }
    const maps = [new Map<string, NaiveRow>(), new Map<string, NaiveRow>()],
      began = performance.now();
    for (const slice of slices) addNaively(maps, slice);
    naives.push(ns(performance.now() - began, events));
  }
  const what = `${keys.toLocaleString('en')} keys, ${hours} h`,
    naive = median(naives);
  return [
    row('window', `add, two tables, ${what}, from empty, against Maps of strings`, median(ours), naive, 'ns'),
    row('window', `add, ${what}, rows that exist`, median(again), naive, 'ns'),
    row('window', `commit, ${what}, a row`, median(commits), null, 'ns'),
    row('window', `state, ${what}, a row`, bytes / rows, null, 'bytes'),
  ];
}

export async function benchWindow(quick: boolean): Promise<Row[]> {
  if (quick) return run(10_000, 24, 3);
  return [...run(10_000, 1, 5), ...run(10_000, 24, 5), ...run(200_000, 1, 5), ...run(200_000, 24, 5)];
}

if (import.meta.main) print(await benchWindow(process.argv.includes('--quick')));
