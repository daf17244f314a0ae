/**
 * Rows a second through the sink into the embedded engine, acknowledged and fsynced: RowBinary bodies of 10k and 100k rows, one and three at
 * once, against JSON lines one insert after the other. `node bench/sink.ts [--quick]`.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { command, makeClient } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import { tableDdl } from '../src/clickhouse/ddl.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { monotonicMs } from '../src/clock.ts';
import type { Plan } from '../topology/plan.ts';
import { rowsLayout } from '../topology/write/layout.ts';
import { RowBinary } from '../topology/write/row-binary.ts';
import { print, row } from './table.ts';
import type { Row } from './table.ts';

const DIMENSIONS = ['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement'],
  MEASURES = ['impressions', 'clicks', 'conversions', 'spend_micros', 'value_micros'];
const plan = {
  job: 'bench',
  dimensions: DIMENSIONS.map((name) => ({ name, type: 'string' as const })),
  measures: MEASURES.map((name, i) => ({
    name,
    kind: i < 3 ? ('count' as const) : ('sum' as const),
    type: 'int64' as const,
    scale: 0,
    source: 0,
    field: null,
    where: [],
  })),
} as unknown as Plan;
const HOURS = 24;

function bodies(total: number, rowsEach: number): Uint8Array[] {
  const out = new RowBinary();
  return Array.from({ length: total / rowsEach }, (_, n) => {
    for (let i = 0; i < rowsEach; i++) {
      const row = n * rowsEach + i,
        start = 1_767_225_600 + 3600 * (row % HOURS);
      out.u32(start);
      out.u32(start + 3600);
      for (const prefix of ['adv', 'cmp', 'ad']) out.string(`${prefix}-${row % 10_007}`);
      out.string(['DE', 'FR', 'US', 'BR'][row & 3]!);
      out.string('feed');
      out.u16(0);
      for (let m = 0; m < MEASURES.length; m++) out.int(row + m);
      out.u8(0);
      out.int(n + 1);
    }
    return out.take();
  });
}

async function insertAll(sink: Sink, table: string, all: readonly Uint8Array[], rowsEach: number, parallel: number): Promise<number> {
  let next = 0;
  const began = monotonicMs();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (next < all.length) await sink.insert(table, all[next++]!, rowsEach);
    }),
  );
  return (all.length * rowsEach) / ((monotonicMs() - began) / 1000);
}

/** The same rows as objects, by the client's own JSON. */
async function insertObjects(client: Client, table: string, total: number, rowsEach: number): Promise<number> {
  const began = monotonicMs();
  for (let from = 0; from < total; from += rowsEach) {
    const values = Array.from({ length: rowsEach }, (_, i) => {
      const n = from + i,
        start = 1_767_225_600 + 3600 * (n % HOURS);
      return {
        window_start: start,
        window_end: start + 3600,
        advertiser_id: `adv-${n % 10_007}`,
        campaign_id: `cmp-${n % 10_007}`,
        ad_id: `ad-${n % 10_007}`,
        country: ['DE', 'FR', 'US', 'BR'][n & 3]!,
        placement: 'feed',
        shard: 0,
        impressions: n,
        clicks: n + 1,
        conversions: n + 2,
        spend_micros: n + 3,
        value_micros: n + 4,
        corrected: 0,
        version: 1,
      };
    });
    await client.insert({ table, values, format: 'JSONEachRow' });
  }
  return total / ((monotonicMs() - began) / 1000);
}

export async function benchSink(quick: boolean): Promise<Row[]> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-bench-')),
    engine = await startEngine({ dir }),
    client = makeClient(engine.admin),
    sink = new Sink(engine.admin),
    out: Row[] = [];
  try {
    const layout = rowsLayout(plan, { name: 'bench', size: 'hour', zone: 'UTC' }, 1),
      total = quick ? 500_000 : 2_000_000;
    const afresh = async (): Promise<void> => {
      await command(client, `DROP TABLE IF EXISTS ${layout.name} SYNC`);
      await command(client, tableDdl(layout));
    };
    for (const rowsEach of quick ? [100_000] : [10_000, 100_000]) {
      const all = bodies(total, rowsEach);
      await afresh();
      const naive = await insertObjects(client, layout.name, total / 5, rowsEach);
      for (const parallel of [1, 3]) {
        await afresh();
        out.push(
          row(
            'sink',
            `inserts of ${rowsEach.toLocaleString('en')} rows, ${parallel} at once, against JSON`,
            await insertAll(sink, `${layout.name} (${layout.columns.map((c) => c.name).join(', ')})`, all, rowsEach, parallel),
            naive,
            'rows/s',
          ),
        );
      }
    }
    const status = fs.existsSync(`/proc/${engine.pid}/status`) ? fs.readFileSync(`/proc/${engine.pid}/status`, 'latin1') : '';
    out.push(row('sink', 'peak memory of the engine', Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024, null, 'MiB'));
  } finally {
    await Promise.all([client.close(), sink.close()]);
    await engine.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
  return out;
}

if (import.meta.main) print(await benchSink(process.argv.includes('--quick')));
