/** A plan with every kind of measure, its rows by hand, and an engine of one's own in a directory that goes afterwards. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import type { Plan, PlanMeasure } from '../topology/plan.ts';
import { changesLayout, insertTarget, rowsLayout } from '../topology/write/layout.ts';
import { RowBinary } from '../topology/write/row-binary.ts';

const measure = (name: string, kind: PlanMeasure['kind'], type: PlanMeasure['type'], scale = 0): PlanMeasure => ({
  name,
  kind,
  type,
  scale,
  source: 0,
  field: kind === 'count' ? null : name,
  where: [],
});

export const plan: Plan = {
  format: 1,
  job: 'ads',
  sources: [{ contract: 'c', version: '1.0.0', digest: '', topic: 'ads' }],
  id: 'id',
  time: 'at',
  horizonMs: 1,
  outOfOrderMs: 1,
  fenceMs: 1,
  maxRecordBytes: 1,
  producerKey: null,
  dimensions: [{ name: 'country', type: 'string' }],
  measures: [
    measure('clicks', 'count', 'int64'),
    measure('spend', 'sum', 'decimal', 6),
    measure('micros', 'sum', 'int64'),
    measure('lowest', 'min', 'decimal', 2),
    measure('latest', 'max', 'timestamp'),
  ],
  tables: [{ name: 'hourly', size: 'hour', zone: 'UTC' }],
};

export interface Cell {
  readonly start: number;
  readonly country: string;
  readonly shard: number;
  readonly clicks: number;
  readonly spend: bigint;
  readonly micros: bigint;
  readonly lowest: number | null;
  readonly latest: number | null;
  readonly version: number;
  readonly corrected?: number;
}
/** What inserts of rows and of changes begin with. */
export const ROWS_TARGET = insertTarget(rowsLayout(plan, plan.tables[0]!, 1)),
  CHANGES_TARGET = insertTarget(changesLayout(plan, plan.tables[0]!, 1));
export const HOUR = 3600;
export const START = Date.UTC(2026, 0, 5) / 1000;
export const cell = (o: Partial<Cell>): Cell => ({
  start: START,
  country: 'de',
  shard: 0,
  clicks: 1,
  spend: 0n,
  micros: 0n,
  lowest: null,
  latest: null,
  version: 1,
  ...o,
});

function big(out: RowBinary, v: bigint): void {
  out.i64(Number(v & 0xffffffffn), Number(v >> 32n));
}
function nullable(out: RowBinary, v: number | null): void {
  out.u8(v === null ? 1 : 0);
  if (v !== null) out.int(v);
}
function shared(out: RowBinary, c: Cell): void {
  out.u32(c.start);
  out.u32(c.start + HOUR);
  out.string(c.country);
  out.u16(c.shard);
  out.int(c.clicks);
  big(out, c.spend);
  big(out, c.micros);
  nullable(out, c.lowest);
  nullable(out, c.latest);
}
export function rowBytes(cells: readonly Cell[]): Uint8Array {
  const out = new RowBinary();
  for (const c of cells) {
    shared(out, c);
    out.u8(c.corrected ?? 0);
    out.int(c.version);
  }
  return out.take();
}
export function changeBytes(changes: readonly (readonly [op: 1 | 2 | 3, cell: Cell])[]): Uint8Array {
  const out = new RowBinary();
  for (const [op, c] of changes) {
    shared(out, c);
    out.u8(op);
    out.u8(op === 2 ? 255 : 1);
    out.string('late ads/0@7');
    out.int(c.version);
    out.int(START * 1000);
  }
  return out.take();
}
export function progressBytes(
  shards: number,
  to: readonly (readonly [shard: number, finalTo: number, version: number])[],
  instance = 'i1',
  job = plan.job,
): Uint8Array {
  const out = new RowBinary();
  for (const [shard, finalTo, version] of to) {
    out.string(job);
    out.u32(1);
    out.u16(shard);
    out.u16(shards);
    out.string(instance);
    out.int(finalTo * 1000);
    out.string('[]');
    out.int(START * 1000);
    out.int(version);
  }
  return out.take();
}

export interface Rig {
  readonly data: string;
  readonly dir: string;
  readonly engine: Engine;
  readonly writer: Client;
  readonly reader: Client;
  ask(sql: string): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
}
export async function rig(): Promise<Rig> {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'tally clickhouse ')),
    dir = path.join(data, 'clickhouse');
  const engine = await startEngine({ dir, publish: true });
  const writer = makeClient(engine.admin),
    { url, user, password, database } = engine.reader;
  const reader = makeClient({ url, username: user, password, database });
  return {
    data,
    dir,
    engine,
    writer,
    reader,
    ask: (sql) => rows(reader, sql),
    async close() {
      await Promise.all([writer.close(), reader.close()]);
      await engine.stop();
      fs.rmSync(data, { recursive: true, force: true });
    },
  };
}
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A child that nobody has waited for yet is dead all the same.
    return process.platform !== 'linux' || !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
