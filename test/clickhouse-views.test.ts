/** What analysts see, held against rows that were written by hand for two shards; and what is refused. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { command, rows } from '../src/clickhouse/client.ts';
import { checkInstance, dropJob } from '../src/clickhouse/instance.ts';
import type { InstanceCheck } from '../src/clickhouse/instance.ts';
import { migrate } from '../src/clickhouse/schema.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { CHANGES_TARGET, HOUR, ROWS_TARGET, START, cell, changeBytes, plan, progressBytes, rig, rowBytes } from './clickhouse-fixture.ts';
import type { Cell, Rig } from './clickhouse-fixture.ts';

let r: Rig, sink: Sink;
const MAX = 2n ** 63n - 1n;
const m = { plan, generation: 1, shards: 2, instance: 'i1' };
beforeAll(async () => {
  r = await rig();
  sink = new Sink(r.engine.admin);
});
afterAll(async () => {
  await sink.close();
  await r.close();
});
beforeEach(async () => {
  await dropJob(r.writer, plan.job);
  await migrate(r.writer, m);
});
const put = (cells: readonly Cell[]): Promise<boolean> => sink.insert(ROWS_TARGET, rowBytes(cells), cells.length);
const progress = (...to: [number, number, number][]): Promise<boolean> =>
  sink.insert('tally_progress_rows', progressBytes(2, to), to.length);
const fault = async (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'nothing',
    (e: { code?: string; message: string }) => `${e.code}: ${e.message}`,
  );

test("shards are put together by each measure's own aggregate, decimals to the last unit", async () => {
  await put([
    cell({ clicks: 3, spend: 9_007_199_254_740_993n, micros: -5n, lowest: -250, latest: null }),
    cell({ shard: 1, clicks: 4, spend: 1n, micros: 7n, lowest: 125, latest: START * 1000 + 1 }),
    cell({ country: 'fr', lowest: null, latest: null, spend: -1n }),
  ]);
  const found = await r.ask(
    'SELECT country, clicks, toString(spend) AS spend, micros, toString(lowest) AS lowest, latest, window_start, window_end FROM hourly_live ORDER BY country',
  );
  expect(found).toEqual([
    {
      country: 'de',
      clicks: '7',
      spend: '9007199254.740994',
      micros: '2',
      lowest: '-2.5',
      latest: '2026-01-05 00:00:00.001',
      window_start: '2026-01-05 00:00:00',
      window_end: '2026-01-05 01:00:00',
    },
    {
      country: 'fr',
      clicks: '1',
      spend: '-0.000001',
      micros: '0',
      lowest: null,
      latest: null,
      window_start: '2026-01-05 00:00:00',
      window_end: '2026-01-05 01:00:00',
    },
  ]);
  const types = await r.ask("SELECT name, type FROM system.columns WHERE database = 'tally' AND table = 'hourly'");
  expect(types.map((c) => c['type'])).toEqual([
    "DateTime('UTC')",
    "DateTime('UTC')",
    'String',
    'UInt64',
    'Decimal(38, 6)',
    'Int64',
    'Nullable(Decimal(38, 2))',
    "Nullable(DateTime64(3, 'UTC'))",
  ]);
});

test('a sum over the shards that does not fit fails, it does not wrap', async () => {
  await put([cell({ spend: MAX, micros: 1n }), cell({ shard: 1, spend: 1n, micros: 1n })]);
  await progress([0, START + HOUR, 1], [1, START + HOUR, 1]);
  expect(await fault(r.ask('SELECT spend FROM hourly_live'))).toContain('Int64');
  expect(await fault(r.ask('SELECT spend FROM hourly'))).toContain('Int64');
  expect(await r.ask('SELECT micros FROM hourly')).toEqual([{ micros: '2' }]);
  await put([cell({ spend: MAX - 1n, micros: 1n, version: 2 })]);
  expect(await r.ask('SELECT toString(spend) AS s FROM hourly')).toEqual([{ s: '9223372036854.775807' }]);
});

test('a resend changes nothing, and an older version never wins', async () => {
  await put([cell({ clicks: 5, version: 2 })]);
  await put([cell({ clicks: 4, version: 1 })]);
  for (let i = 0; i < 3; i++) await put([cell({ clicks: 5, version: 2 })]);
  expect(await r.ask('SELECT clicks FROM hourly_live')).toEqual([{ clicks: '5' }]);
  await command(r.writer, 'OPTIMIZE TABLE hourly_g1_rows FINAL');
  await put([cell({ clicks: 4, version: 1 })]);
  expect(await r.ask('SELECT clicks FROM hourly_live')).toEqual([{ clicks: '5' }]);
});

test('a window is final when every shard is past it, and a shard without progress is past nothing', async () => {
  const states = async (): Promise<unknown[]> =>
    (await r.ask('SELECT state FROM hourly_live ORDER BY window_start')).map((s) => s['state']);
  const finals = async (): Promise<number> => Number((await r.ask('SELECT count() AS n FROM hourly'))[0]!['n']);
  await put([cell({}), cell({ shard: 1, corrected: 1 }), cell({ start: START + HOUR }), cell({ start: START + 2 * HOUR })]);
  await sink.insert(
    CHANGES_TARGET,
    changeBytes([
      [1, cell({})],
      [1, cell({ start: START + HOUR })],
    ]),
    2,
  );
  expect(await states()).toEqual(['provisional', 'provisional', 'provisional']);
  await progress([0, START + 9 * HOUR, 1]);
  expect([await states(), await finals(), (await r.ask('SELECT 1 FROM hourly_changes')).length]).toEqual([
    ['provisional', 'provisional', 'provisional'],
    0,
    0,
  ]);
  await progress([1, START + HOUR, 1]);
  expect([await states(), await finals(), (await r.ask('SELECT 1 FROM hourly_changes')).length]).toEqual([
    ['corrected', 'provisional', 'provisional'],
    1,
    1,
  ]);
  await progress([1, START + 2 * HOUR - 0.001, 2]);
  expect(await finals()).toBe(1);
  await progress([1, START + 2 * HOUR, 3]);
  expect([await states(), await finals(), (await r.ask('SELECT 1 FROM hourly_changes')).length]).toEqual([
    ['corrected', 'final', 'provisional'],
    2,
    2,
  ]);
});

test('the changes add up to the final table', async () => {
  const before = cell({ clicks: 2, spend: 10n }),
    after = cell({ clicks: 3, spend: 4n, version: 2, corrected: 1 }),
    other = cell({ shard: 1, clicks: 9, spend: -1n });
  await put([before, after, other]);
  const changes = changeBytes([
    [1, before],
    [2, { ...before, version: 2 }],
    [3, after],
    [1, other],
  ]);
  for (let i = 0; i < 2; i++) await sink.insert(CHANGES_TARGET, changes, 4);
  await progress([0, START + HOUR, 2], [1, START + HOUR, 2]);
  const sums = 'SELECT country, sum(sign * clicks) AS clicks, toString(sum(sign * spend)) AS spend FROM hourly_changes GROUP BY country';
  expect(await r.ask(sums)).toEqual(await r.ask('SELECT country, clicks, toString(spend) AS spend FROM hourly'));
  expect(
    await r.ask('SELECT op, sign, cause, shard, version, toString(spend) AS spend FROM hourly_changes ORDER BY shard, version, op'),
  ).toEqual([
    { op: '+I', sign: 1, cause: 'late ads/0@7', shard: 0, version: '1', spend: '0.00001' },
    { op: '-U', sign: -1, cause: 'late ads/0@7', shard: 0, version: '2', spend: '0.00001' },
    { op: '+U', sign: 1, cause: 'late ads/0@7', shard: 0, version: '2', spend: '0.000004' },
    { op: '+I', sign: 1, cause: 'late ads/0@7', shard: 1, version: '1', spend: '-0.000001' },
  ]);
});

test('one shard is shown by the same columns, types and rules', async () => {
  const types = (): Promise<unknown> =>
    r.ask(
      "SELECT table, name, type FROM system.columns WHERE database = 'tally' AND table IN ('hourly', 'hourly_live', 'hourly_changes') ORDER BY table, position",
    );
  const two = await types();
  await migrate(r.writer, { ...m, shards: 1 });
  expect(await types()).toEqual(two);
  await put([cell({ clicks: 1 }), cell({ clicks: 2, version: 2, corrected: 1, lowest: 5 }), cell({ start: START + HOUR })]);
  await progress([0, START + HOUR, 1]);
  expect(await r.ask('SELECT clicks, state, toString(lowest) AS lowest FROM hourly_live ORDER BY window_start')).toEqual([
    { clicks: '2', state: 'corrected', lowest: '0.05' },
    { clicks: '1', state: 'provisional', lowest: null },
  ]);
  expect(await r.ask('SELECT clicks FROM hourly')).toEqual([{ clicks: '2' }]);
});

test('filters go down to the index through the views', async () => {
  await put(
    Array.from({ length: 30_000 }, (_, i) => cell({ country: `c${i % 100}`, start: START + HOUR * Math.floor(i / 100), shard: i & 1 })),
  );
  await progress([0, START + 999 * HOUR, 1], [1, START + 999 * HOUR, 1]);
  const plan = await rows<{ explain: string }>(
    r.writer,
    `EXPLAIN indexes = 1 SELECT clicks FROM hourly WHERE country = 'c7' AND window_start = toDateTime('2026-01-05 03:00:00', 'UTC')`,
  );
  const [few, all] = /Granules: (\d+)\/(\d+)/
    .exec(
      plan
        .map((p) => p.explain)
        .reverse()
        .find((line) => /Granules: \d+\/\d+/.test(line))!,
    )!
    .slice(1)
    .map(Number) as [number, number];
  expect(all).toBeGreaterThan(3);
  expect(few).toBeLessThan(all);
});

test('making the tables again is harmless; tables of another shape or another job are refused and left as they are', async () => {
  await put([cell({ clicks: 5 })]);
  await migrate(r.writer, m);
  expect(await r.ask('SELECT clicks FROM hourly_live')).toEqual([{ clicks: '5' }]);
  expect(await fault(migrate(r.writer, { ...m, plan: { ...plan, job: 'other' } }))).toMatch(/^E_TABLE_TAKEN: .*hourly.* job ads/);
  expect(await fault(migrate(r.writer, { ...m, plan: { ...plan, measures: plan.measures.slice(1) } }))).toMatch(/^E_SCHEMA: .*clicks/);
  expect(await fault(migrate(r.writer, { ...m, plan: { ...plan, dimensions: [{ name: 'country', type: 'integer' }] } }))).toMatch(
    /^E_SCHEMA: .*country is String, not Int64/,
  );
  await command(r.writer, 'CREATE VIEW theirs AS SELECT 1 AS x');
  expect(await fault(migrate(r.writer, { ...m, plan: { ...plan, tables: [{ name: 'theirs', size: 'hour', zone: 'UTC' }] } }))).toMatch(
    /^E_SCHEMA: theirs/,
  );
  expect(await rows(r.writer, "SELECT name FROM system.tables WHERE database = 'tally' AND name LIKE 'theirs%'")).toEqual([
    { name: 'theirs' },
  ]);
  await command(r.writer, 'DROP VIEW theirs');
  expect(await r.ask('SELECT clicks FROM hourly_live')).toEqual([{ clicks: '5' }]);
});

test('state and tables that do not belong together are refused', async () => {
  const states = (fresh: boolean, acknowledged: readonly number[], version: readonly number[]): InstanceCheck['states'] =>
    acknowledged.map((a, shard) => ({ shard, fresh, acknowledged: a, version: version[shard]! }));
  const o: InstanceCheck = { job: 'ads', generation: 1, shards: 2, instance: 'i1', states: states(true, [0, 0], [100, 100]) };
  const old = (acknowledged: readonly number[], version: readonly number[] = [100, 100]): InstanceCheck => ({
    ...o,
    states: states(false, acknowledged, version),
  });
  const check = (c: InstanceCheck): Promise<string> => fault(checkInstance(r.writer, c));
  const second = { ...o, instance: 'i2', states: o.states.slice(1) };
  expect(await check(o)).toBe('nothing');
  expect(await check(old([101, 0]))).toMatch(/^E_STATE_TABLES: .*nothing of shard 0/);
  expect(await check({ ...o, instance: 'i2' })).toBe('nothing');
  await put([cell({})]);
  expect(await check({ ...o, instance: 'i2' })).toMatch(/^E_STATE_TABLES: .*another data directory/);
  expect(await check(second)).toBe('nothing');
  expect(await check(o)).toBe('nothing');
  await progress([0, START, 102]);
  expect(await check(second)).toBe('nothing');
  expect(await check({ ...second, shards: 3 })).toMatch(/^E_STATE_TABLES: .*filled by 2 shard/);
  await progress([1, START, 102]);
  expect(await check(second)).toMatch(/^E_STATE_TABLES: .*shard 1 .*another data directory/);
  expect(await check(old([102, 101], [102, 105]))).toBe('nothing');
  expect(await check(o)).toMatch(/^E_STATE_TABLES: .*the state is new/);
  expect(await check({ ...old([0, 0]), instance: 'i2' })).toMatch(/^E_STATE_TABLES: .*another data directory/);
  expect(await check(old([102, 103], [110, 110]))).toMatch(/^E_STATE_TABLES: .*shard 1 .*behind/);
  expect(await check(old([0, 0], [101, 110]))).toMatch(/^E_STATE_TABLES: .*shard 0 .*ahead/);
  await sink.insert('tally_audit_rows', auditRow(), 1);
  expect(await dropJob(r.writer, 'ads')).toBe(true);
  expect(await check(o)).toBe('nothing');
  expect(await rows(r.writer, "SELECT name FROM system.tables WHERE database = 'tally' AND name LIKE 'hourly%'")).toEqual([]);
  expect(await r.ask('SELECT job FROM tally_progress')).toEqual([]);
  expect(await r.ask('SELECT kind FROM tally_audit')).toEqual([{ kind: 'run' }]);
});

function auditRow(): Uint8Array {
  const text = (s: string): Buffer => Buffer.concat([Buffer.from([s.length]), Buffer.from(s)]),
    int = (n: number): Buffer => {
      const b = Buffer.alloc(8);
      b.writeUInt32LE(n);
      return b;
    };
  return Buffer.concat([text('i1'), int(1), int(1), text('run'), text('ads'), text('{}'), text('00'), int(1)]);
}
