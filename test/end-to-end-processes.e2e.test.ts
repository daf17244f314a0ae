/** One job over several processes: each runs some of the shards, with a data directory of its own, into one ClickHouse. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Place, sales, told, urlOf } from './end-to-end-fixture.ts';
import type { Done } from './end-to-end-fixture.ts';

let place: Place, engine: Engine, url: string;
beforeAll(async () => {
  place = new Place();
  engine = await startEngine({ dir: place.path('engine') });
  url = urlOf(engine);
});
afterAll(async () => {
  await engine?.stop();
  await place.remove();
});

const run = (data: string, shards: string, ...more: string[]): Promise<Done> =>
  place.tally(
    'run',
    place.job,
    '--contracts',
    place.contracts,
    '--log',
    place.log,
    '--data',
    data,
    '--clickhouse',
    url,
    '--shards',
    shards,
    '--until-end',
    '--json',
    ...more,
  );
async function counted(data: string, shards: string): Promise<number> {
  const done = await run(data, shards);
  expect(done.status, done.stderr).toBe(0);
  return (JSON.parse(done.stdout) as { records: number }).records;
}
async function ask(sql: string): Promise<string> {
  const done = await place.tally('query', '--clickhouse', url, '--format', 'TSV', sql);
  expect(done.status, done.stderr).toBe(0);
  return done.stdout.trimEnd();
}

test(
  'two processes with two shards each give what one gives with four, and hold each other back, not up',
  { timeout: 180_000 },
  async () => {
    place.append(sales(0, 1500), 4);
    const [first, second] = await Promise.all([counted('a', '0-1/4'), counted('b', '2-3/4')]);
    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(0);
    expect(first + second).toBe(sales(0, 1500).length);

    place.append(sales(1400, 2500), 4);
    await counted('a', '0-1/4');
    // Windows are final when every shard is past them: what one process alone has read makes none so.
    const before = Number(await ask('SELECT toUnixTimestamp(max(window_end)) FROM sales_hourly'));
    await counted('b', '2-3/4');
    expect(Number(await ask('SELECT toUnixTimestamp(max(window_end)) FROM sales_hourly'))).toBeGreaterThan(before);

    const verified = await place.tally(
      'verify',
      place.job,
      '--contracts',
      place.contracts,
      '--log',
      place.log,
      '--data',
      'a',
      '--clickhouse',
      url,
      '--json',
    );
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ records: sales(0, 1500).length + sales(1400, 2500).length });
    await place.count('all', '--shards', '4');
    const rows = 'SELECT * EXCEPT (state) FROM sales_daily_live ORDER BY ALL';
    expect(await ask(rows)).toBe(await place.query('all', rows));
  },
);

test('a shard that another data directory has counted is refused, and so is what processes cannot share', { timeout: 60_000 }, async () => {
  const taken = await run('c', '1/4');
  expect(taken.status).not.toBe(0);
  expect(taken.stderr).toMatch(told('E_STATE_LOST'));
  expect((await run('a', '0-1/8')).stderr).toMatch(told('E_STATE_SHARDS'));
  expect((await run('a', '0-1/4', '--finish')).stderr).toMatch(told('E_SHARDS'));
  const alone = await place.tally('run', place.job, '--contracts', place.contracts, '--log', place.log, '--data', 'd', '--shards', '1/4');
  expect(alone.stderr).toMatch(told('E_SHARDS'));
});
