/** What a recount may hold: a few dozen bytes an event, and of the log no more than a few batches at a time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { TopicWriter } from '../src/log/writer.ts';
import { Cells } from '../src/verify/cells.ts';
import { Differences } from '../src/verify/model.ts';
import { openLogged } from '../src/verify/open-log.ts';
import { ShardRecount } from '../src/verify/recount.ts';
import { walkPartition } from '../src/verify/walk.ts';
import { contract, field, measure, plan } from './gate-fixtures.ts';

const EVENTS = 100_000,
  PAD = 'x'.repeat(4000),
  T0 = Date.UTC(2026, 0, 10),
  GROWTH_BYTES_MAX = 200 * 2 ** 20;
const CONTRACT = contract([field('event_id', 'string'), field('event_time', 'timestamp'), field('shop', 'string')]);
const PLAN = {
  ...plan([{ name: 'shop', type: 'string' }], [measure('all', { kind: 'count', field: null })]),
  tables: [{ name: 'hourly', size: 'hour' as const, zone: 'UTC' }],
};

test('a log of 400 MB is recounted in half of that', { timeout: 60_000 }, async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'tally-recount-'));
  try {
    const writer = new TopicWriter(dir, 'test');
    for (let n = 0; n < EVENTS; n++)
      writer.append(0, null, Buffer.from(`{"event_id":"id ${n}","event_time":${T0 + n},"shop":"s${n % 50}","pad":"${PAD}"}`), T0 + n);
    writer.close();
    const cells = new Cells(PLAN, [CONTRACT]),
      differences = new Differences(10),
      recount = new ShardRecount(PLAN, [CONTRACT], 0, cells, differences);
    const before = process.memoryUsage().rss;
    let most = 0;
    const share = await recount.open({ topic: 'test', source: 0, partition: 0, end: EVENTS, skipped: [] }, false, async () => [], 1);
    await walkPartition([share], null, await openLogged(dir, undefined), () => {
      most = Math.max(most, process.memoryUsage().rss);
    });
    recount.finish();
    expect(differences.shown).toEqual([]);
    expect([recount.counted, cells.tables.get('hourly')!.count]).toEqual([EVENTS, 50]);
    expect(most - before).toBeLessThan(GROWTH_BYTES_MAX);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
