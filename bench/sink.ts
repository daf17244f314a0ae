/** Rows a second through the sink into the embedded engine, acknowledged: RowBinary bodies of 10k and 100k rows, with and without fsync. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { command, makeClient, rows } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import { tableDdl } from '../src/clickhouse/schema.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { monotonicMs } from '../src/clock.ts';
import type { Plan } from '../topology/plan.ts';
import { rowsLayout } from '../topology/write/layout.ts';
import { RowBinary } from '../topology/write/row-binary.ts';

const DIMENSIONS = ['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement'], MEASURES = ['impressions', 'clicks', 'conversions', 'spend_micros', 'value_micros'];
const plan = {
  job: 'bench', dimensions: DIMENSIONS.map((name) => ({ name, type: 'string' as const })),
  measures: MEASURES.map((name, i) => ({ name, kind: i < 3 ? ('count' as const) : ('sum' as const), type: 'int64' as const, scale: 0, source: 0, field: null, where: [] })),
} as unknown as Plan;
const TOTAL = 2_000_000, HOURS = 24;

function bodies(rowsEach: number): Uint8Array[] {
  const out = new RowBinary();
  return Array.from({ length: TOTAL / rowsEach }, (_, n) => {
    for (let i = 0; i < rowsEach; i++) {
      const row = n * rowsEach + i, start = 1_767_225_600 + 3600 * (row % HOURS);
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
  await Promise.all(Array.from({ length: parallel }, async () => {
    while (next < all.length) await sink.insert(table, all[next++]!, rowsEach);
  }));
  return TOTAL / ((monotonicMs() - began) / 1000);
}

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-bench-'));
const engine = await startEngine({ dir });
const client = makeClient(engine.admin), sink = new Sink(engine.admin);
console.log(`engine ready in ${Math.round(engine.readyMs)} ms`);
try {
  const layout = rowsLayout(plan, { name: 'bench', size: 'hour', zone: 'UTC' }, 1);
  for (const rowsEach of [10_000, 100_000]) {
    const all = bodies(rowsEach);
    for (const parallel of [1, 3]) {
      for (const fsync of [1, 0]) {
        const ddl = tableDdl(layout).replace('fsync_after_insert = 1, fsync_part_directory = 1', `fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}`);
        await command(client, `DROP TABLE IF EXISTS ${layout.name} SYNC`);
        await command(client, ddl);
        const rate = await insertAll(sink, layout.name, all, rowsEach, parallel);
        const memory = /VmHWM:\s+(\d+)/.exec(fs.existsSync(`/proc/${engine.pid}/status`) ? fs.readFileSync(`/proc/${engine.pid}/status`, 'utf8') : '')?.[1];
        console.log(`${rowsEach} rows a body, ${parallel} at once, fsync ${fsync}: ${Math.round(rate / 1000)}k rows/s; engine peak ${Math.round(Number(memory ?? 0) / 1024)} MiB`);
      }
    }
  }
  console.log(`rows: ${(await rows(client, `SELECT count() AS n FROM ${layout.name}`))[0]!['n']}`);
} finally {
  await Promise.all([client.close(), sink.close()]);
  await engine.stop();
  fs.rmSync(dir, { recursive: true, force: true });
}
