/**
 * A shard whose state is lost for good, counted again from what the log still holds: windows that began before that stay as they are to the
 * last byte, those after it are exact, and nothing of it happens unasked. The recount names what it could not look at.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { command, makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Place, sale, sales, told, until, urlOf } from './end-to-end-fixture.ts';
import type { Done } from './end-to-end-fixture.ts';

/** The log begins after a day then; the next midnight in Berlin after the highest time of its first 1000 records, an hour and 5 minutes. */
const FROZEN = '2026-03-29T22:00:00Z';
const GONE = 1500;
let engines: Place, engine: Engine, client: Client, place: Place, url: string;
let databases = 0;
beforeAll(async () => {
  engines = new Place();
  engine = await startEngine({ dir: engines.path('engine') });
});
afterAll(async () => {
  await engine?.stop();
  await engines.remove();
});
beforeEach(async () => {
  const database = `d${++databases}`;
  place = new Place();
  place.write('tally.json', JSON.stringify({ takeover: { settle: '1s' } }));
  url = urlOf(engine, database);
  client = makeClient({ ...engine.admin, database });
});
afterEach(async () => {
  await client.close();
  await place.remove();
});

const words = (shards: string, ...more: string[]): string[] => [
  ...['run', place.job, '--contracts', place.contracts, '--log', place.log, '--data', 'a', '--clickhouse', url, '--shards', shards],
  ...['--config', place.path('tally.json'), '--until-end', '--json', ...more],
];
const run = (shards: string, ...more: string[]): Promise<Done> => place.tally(...words(shards, ...more));
const check = (...more: string[]): Promise<Done> =>
  place.tally(...['verify', place.job, '--contracts', place.contracts, '--log', place.log, '--data', 'a', '--clickhouse', url, ...more]);
interface Verified {
  readonly ok: boolean;
  readonly records: number;
  readonly frozen: object[];
  readonly unchecked: Record<string, number>;
  readonly uncheckedWindows: number;
}
async function verified(): Promise<Verified> {
  const done = await check('--json');
  expect(done.status, done.stdout + done.stderr).toBe(0);
  return JSON.parse(done.stdout) as Verified;
}
async function ok(done: Promise<Done>): Promise<Done> {
  const { status, stderr } = await done;
  expect(status, stderr).toBe(0);
  return done;
}
const all = (sql: string): Promise<Record<string, unknown>[]> => rows(client, sql);
const TABLES = ['sales_hourly', 'sales_daily'];
const earlier = `window_start < parseDateTimeBestEffort('${FROZEN}')`;
/** Every row, as the views show it and as it lies there. */
async function frozenRows(): Promise<unknown[]> {
  const names = TABLES.flatMap((t) => [t, `${t}_live`, `${t}_changes`, `${t}_g1_rows FINAL`, `${t}_changes_g1_rows FINAL`]);
  return Promise.all(names.map((name) => all(`SELECT * FROM ${name} WHERE ${earlier} ORDER BY ALL`)));
}
/** Whether a row was corrected is the commits' to say. */
const laterRows = (): Promise<unknown[]> =>
  Promise.all(TABLES.map((t) => all(`SELECT * EXCEPT (state) FROM ${t}_live WHERE NOT (${earlier}) ORDER BY ALL`)));
const number = async (sql: string): Promise<number> => Number((await all(`SELECT (${sql}) AS n`))[0]!.n);
const segments = (partition: number): string[] =>
  readdirSync(`${place.log}/sales-${partition}`)
    .filter((name) => name.endsWith('.log'))
    .sort();

/** Retention: segments whose successor begins at or before the offset. Says where the log begins now. */
function retain(partition: number, offset: number): number {
  const names = segments(partition),
    first = names.findLast((name) => Number(name.slice(0, 20)) <= offset)!;
  for (const name of names) if (name < first) rmSync(`${place.log}/sales-${partition}/${name}`);
  return Number(first.slice(0, 20));
}
const audit = (): Record<string, unknown>[] =>
  readFileSync(place.path('a', 'audit', 'audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('windows that the log does not hold whole any more stay; all others are counted again', { timeout: 240_000 }, async () => {
  place.append(sales(0, 7200), 1, 4096, 20_000);
  await ok(run('1'));
  expect(await verified()).toMatchObject({ frozen: [], unchecked: {}, uncheckedWindows: 0 });
  const before = await frozenRows(),
    after = await laterRows();
  expect(Math.min(...[...before, ...after].map((r) => (r as unknown[]).length))).toBeGreaterThan(10);
  const quarantined = await all('SELECT * FROM tally_quarantine ORDER BY offset');

  const start = retain(0, GONE);
  expect(start).toBeGreaterThan(GONE - 500);
  rmSync(place.path('a'), { recursive: true });
  const refused = await run('1');
  expect([refused.status, refused.stderr]).toEqual([3, expect.stringMatching(told('E_STATE_LOST'))]);
  expect(await frozenRows()).toEqual(before);

  const rebuilt = await ok(run('1', '--rebuild-frozen'));
  expect(rebuilt.stderr).toMatch(/shard 0: its state is lost.*sales\/0@\d+.*2026-03-29T22:00/);
  expect(await frozenRows()).toEqual(before);
  expect(await laterRows()).toEqual(after);
  const seen = await verified(),
    { length } = (await all(`SELECT DISTINCT window_start, window_end FROM sales_hourly WHERE ${earlier}`)).concat(
      await all(`SELECT DISTINCT window_start FROM sales_daily WHERE ${earlier}`),
    );
  expect(seen).toMatchObject({ frozen: [{ shard: 0, before: FROZEN }], uncheckedWindows: length });
  expect(seen.unchecked).toMatchObject({
    sales_hourly: (before[0] as unknown[]).length,
    sales_hourly_live: (before[1] as unknown[]).length,
    sales_hourly_changes: (before[2] as unknown[]).length,
    tally_quarantine: quarantined.filter((r) => Number(r.offset) < start).length,
  });
  const text = await check();
  expect(text.stdout).toMatch(/shard 0 was counted again .* before 2026-03-29T22:00:00Z were left[^]*not compared for that: \d+ windows/);
  expect(audit().filter((e) => e.kind === 'shard.rebuilt')).toMatchObject([
    { shard: 0, epoch: 2, frozen_to: FROZEN.replace('Z', '.000Z'), starts: { 'sales/0': start } },
  ]);

  // What was turned away before stays where it was, and what is expired now has a row that says why.
  expect(await all(`SELECT * FROM tally_quarantine WHERE offset < ${start} ORDER BY offset`)).toEqual(
    quarantined.filter((r) => Number(r.offset) < start),
  );
  const expired = "SELECT count() FROM tally_quarantine WHERE code = 'EXPIRED' AND detail LIKE 'its window was frozen%'";
  const old = await number(expired);
  expect(old).toBeGreaterThan(1000);

  // And on as ever, unasked: an event of a frozen window is expired, one of the first that is not is late.
  const at = Date.parse(FROZEN);
  place.append([sale(8000, { at: at - 1 }), sale(8001, { at }), ...sales(8002, 8100)], 1, 4096, 20_000);
  await ok(run('1'));
  expect(await frozenRows()).toEqual(before);
  expect((await verified()).frozen).toEqual([{ shard: 0, before: FROZEN }]);
  expect(await number(expired)).toBe(old + 1);
  expect(await number("SELECT sum(records) FROM tally_books WHERE code = 'EXPIRED'")).toBe(old + 1);
  expect(audit().filter((e) => e.kind === 'shard.rebuilt').length).toBe(1);

  // The strictness has not gone: a row that is counted again must be right.
  await command(
    client,
    `INSERT INTO sales_hourly_g1_rows SELECT * REPLACE (sales + 1 AS sales, version + 1 AS version) FROM sales_hourly_g1_rows FINAL WHERE NOT (${earlier}) ORDER BY window_start LIMIT 1`,
  );
  expect((await check()).status).toBe(1);
});

test(
  'windows that were open become final as they stand, and rows and changes agree, whatever had not come in',
  { timeout: 240_000 },
  async () => {
    place.append(sales(0, 3000), 1, 4096, 20_000);
    await ok(run('1'));
    retain(0, 1e6);
    const totals =
      'window_start, window_end, shop, sum(sales) AS a, sum(by_card) AS b, sum(revenue) AS c, sum(card_revenue) AS d, sum(units) AS e';
    // One row goes ahead of its changes, one has not come in, and one stays behind its changes.
    const one = (offset: number): string =>
      `FROM sales_hourly_g1_rows AS r FINAL WHERE window_end < toDateTime('2026-03-28 12:00:00') ORDER BY ALL LIMIT 1 OFFSET ${offset}`;
    await command(client, `INSERT INTO sales_hourly_g1_rows SELECT * REPLACE (r.sales + 5 AS sales, r.version + 1 AS version) ${one(3)}`);
    await command(client, `INSERT INTO sales_hourly_g1_rows SELECT * REPLACE (1 AS is_deleted, r.version + 1 AS version) ${one(7)}`);
    const change =
      'FROM sales_hourly_changes_g1_rows AS r FINAL WHERE (r.window_start, r.shop) IN (SELECT window_start, shop FROM sales_hourly_changes GROUP BY ALL HAVING count() = 1) ORDER BY ALL LIMIT 1 OFFSET 40';
    const said = (op: string, sign: number, more: number): string =>
      `SELECT * FROM (SELECT * REPLACE ('${op}' AS op, ${sign} AS sign, r.sales + ${more} AS sales, r.version + 1 AS version) ${change})`;
    await command(client, `INSERT INTO sales_hourly_changes_g1_rows ${said('-U', -1, 0)} UNION ALL ${said('+U', 1, 2)}`);
    const open = await number("SELECT count() FROM sales_hourly_live WHERE state = 'provisional'"),
      live = await number('SELECT count() FROM sales_hourly_live');
    expect(open).toBeGreaterThan(0);

    rmSync(place.path('a'), { recursive: true });
    await ok(run('1', '--rebuild-frozen'));
    expect(await number('SELECT count() FROM sales_hourly_live')).toBe(live + 1);
    for (const t of TABLES) {
      const final = await all(`SELECT ${totals} FROM ${t} GROUP BY ALL ORDER BY ALL`);
      expect(final.length).toBe(await number(`SELECT count() FROM ${t}_live`));
      const signed = totals.replaceAll(/sum\((\w+)\)/g, 'sum(sign * $1)');
      expect(await all(`SELECT ${signed} FROM ${t}_changes GROUP BY ALL ORDER BY ALL`)).toEqual(final);
    }
    const ops = await all("SELECT op, count() AS n FROM sales_hourly_changes WHERE cause = 'frozen' GROUP BY op ORDER BY op");
    expect(ops).toEqual([
      { op: '+I', n: String(open) },
      { op: '-U', n: '1' },
      { op: '+U', n: '1' },
    ]);
    const seen = await verified();
    expect(seen.uncheckedWindows).toBeGreaterThan(50);
    const before = await frozenRows();
    await ok(run('1'));
    expect(await frozenRows()).toEqual(before);
  },
);

test('of a log that is whole everything is counted again, and nothing is frozen', { timeout: 240_000 }, async () => {
  place.append(sales(0, 1500), 1, 4096, 20_000);
  await ok(run('1'));
  const before = [await frozenRows(), await laterRows()].map((tables) => (tables as unknown[][]).map((t) => t.length));
  rmSync(place.path('a', 'sales'), { recursive: true });
  // Killed as soon as the tables begin to change, it is begun again, or goes on.
  const killed = place.start(words('1', '--rebuild-frozen'));
  await until(
    async () => (await number('SELECT max(epoch) FROM tally_epochs')) === 2,
    () => killed.stderr(),
  );
  killed.child.kill('SIGKILL');
  await killed.done;
  await ok(run('1', '--rebuild-frozen'));
  const epoch = await number('SELECT max(epoch) FROM tally_epochs');
  expect([await frozenRows(), await laterRows()].map((tables) => (tables as unknown[][]).map((t) => t.length))).toEqual(before);
  expect(await verified()).toMatchObject({ frozen: [], unchecked: {} });
  expect(audit().find((e) => e.kind === 'shard.rebuilt')).toMatchObject({ frozen_to: null, starts: { 'sales/0': 0 } });
  // A log that has lost its end is another one: nothing is taken away for it.
  rmSync(place.path('a', 'sales'), { recursive: true });
  rmSync(`${place.log}/sales-0/${segments(0).at(-1)!}`);
  const cut = await run('1', '--rebuild-frozen');
  expect([cut.status, cut.stderr]).toEqual([3, expect.stringMatching(told('E_LOG_TRUNCATED'))]);
  expect(await number('SELECT max(epoch) FROM tally_epochs')).toBe(epoch);
});

test('one shard of two: the other goes on, and its part of frozen windows is still checked', { timeout: 240_000 }, async () => {
  place.append(sales(0, 7200), 2, 4096, 10_000);
  await ok(run('2'));
  const before = await frozenRows(),
    after = await laterRows();
  retain(0, GONE / 2);
  rmSync(place.path('a', 'sales', 'g1', 'shard-0of2'), { recursive: true });
  await ok(run('2', '--rebuild-frozen'));
  const seen = await verified();
  expect(seen.frozen).toMatchObject([{ shard: 0 }]);
  expect(audit().filter((e) => e.kind === 'shard.rebuilt')).toMatchObject([{ shard: 0 }]);
  expect(await frozenRows()).toEqual(before);
  const frozen = Date.parse((seen.frozen[0] as { before: string }).before);
  expect(frozen).toBeGreaterThanOrEqual(Date.parse(FROZEN));
  expect(await laterRows()).toEqual(after);

  await command(
    client,
    `INSERT INTO sales_hourly_changes_g1_rows SELECT * REPLACE (sales + 1 AS sales, epoch + 1 AS epoch) FROM sales_hourly_changes_g1_rows FINAL WHERE shard = 1 AND ${earlier} AND op = '+I' ORDER BY ALL LIMIT 1`,
  );
  const spoilt = await check();
  expect([spoilt.status, spoilt.stdout]).toEqual([1, expect.stringMatching(/changes: sales_hourly_changes window/)]);
});
