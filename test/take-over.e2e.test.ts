/**
 * A shard that changes hands: a lost disk with and without a snapshot, an owner that was stopped and goes on when it is replaced, and rows
 * of his that come in late. Each ends with a recount that finds every table, book and change exact.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeClient, command, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Place, sales, statusOf, told, until, urlOf } from './end-to-end-fixture.ts';
import type { Done, Running } from './end-to-end-fixture.ts';

const EPOCH = 2 ** 40;
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
  url = urlOf(engine, database);
  client = makeClient({ ...engine.admin, database });
});
afterEach(async () => {
  await client.close();
  await place.remove();
});

const words = (data: string, shards: string, ...more: string[]): string[] => [
  ...['run', place.job, '--contracts', place.contracts, '--log', place.log, '--data', data, '--clickhouse', url, '--shards', shards],
  ...['--config', place.path('tally.json'), ...more],
];
const live = (data: string, shards: string): Running => place.start(words(data, shards));
const toEnd = (data: string, shards: string, ...more: string[]): Promise<Done> =>
  place.tally(...words(data, shards, '--until-end', '--json', ...more));
const verify = (data: string): Promise<Done> =>
  place.tally(...['verify', place.job, '--contracts', place.contracts, '--log', place.log, '--data', data, '--clickhouse', url, '--json']);
const one = async <T>(sql: string): Promise<T> => (await rows<T>(client, sql))[0]!;

function config(o: object = {}): void {
  writeConfig({ snapshots: { dir: place.path('snapshots'), every: '1s' }, takeover: { settle: '2s' }, ...o });
}
function writeConfig(o: object): void {
  place.write('tally.json', JSON.stringify(o));
}
const snapshotsOf = (shard: string): string[] => {
  try {
    return readdirSync(place.path('snapshots', 'sales', 'g1', shard)).filter((name) => /^v\d+$/.test(name));
  } catch {
    return [];
  }
};
const counted = (data: string): number =>
  statusOf(place.path(data))?.shards.reduce((sum, s) => sum + s.partitions.reduce((n, p) => n + p.offset, 0), 0) ?? 0;

/** A live run has counted so much, and its snapshot holds it. */
async function settledAt(run: Running, data: string, records: number): Promise<void> {
  await until(
    () => counted(data) >= records || run.child.exitCode !== null,
    () => `counted ${counted(data)} of ${records}: ${run.stderr()}`,
  );
  expect(run.child.exitCode, run.stderr()).toBe(null);
}
/** As if an owner before had written them past what the snapshot holds. */
async function ghosts(shop: string, version: number): Promise<void> {
  await command(
    client,
    `INSERT INTO sales_hourly_g1_rows (window_start, window_end, shop, shard, sales, corrected, version) VALUES ('2026-03-28 01:00:00', '2026-03-28 02:00:00', '${shop}', 0, 7, 0, ${version})`,
  );
  await command(
    client,
    `INSERT INTO sales_hourly_changes_g1_rows (window_start, window_end, shop, shard, sales, op, sign, cause, version, changed_at) VALUES ('2026-03-28 01:00:00', '2026-03-28 02:00:00', '${shop}', 0, 7, '+I', 1, '', ${version}, now64(3))`,
  );
  await command(
    client,
    `INSERT INTO tally_quarantine_rows (job, generation, shard, topic, partition, offset, timestamp, raw, code, field, detail, contract, contract_version, version) VALUES ('sales', 1, 0, 'sales', 0, 3, now64(3), 'x', 'UNPARSEABLE', '', '${shop}', 'sale', '1.0.0', ${version})`,
  );
}

test(
  'a lost disk: the newest snapshot, under a new epoch; what it had past it goes away, early or late',
  { timeout: 240_000 },
  async () => {
    config();
    const first = sales(0, 1500),
      second = sales(1400, 2600);
    place.append(first);
    const run = live('a', '1');
    await settledAt(run, 'a', first.length);
    await until(
      () => snapshotsOf('shard-0of1').length > 0,
      () => `no snapshot: ${run.stderr()}`,
    );
    // From here on what is counted is in no snapshot: the newest one stays as it is.
    const kept = place.path('kept');
    run.child.kill('SIGSTOP');
    place.copy(place.path('snapshots'), kept);
    run.child.kill('SIGCONT');
    place.append(second);
    await settledAt(run, 'a', first.length + second.length);
    await until(
      async () =>
        (await one<{ n: string }>("SELECT sum(records) AS n FROM tally_books WHERE class = 'read'")).n ===
        String(first.length + second.length),
      () => 'the books are not there',
    );
    run.child.kill('SIGKILL');
    await run.done;
    const before = Number((await one<{ v: string }>('SELECT max(version) AS v FROM sales_hourly_g1_rows')).v);
    rmSync(place.path('a'), { recursive: true });
    rmSync(place.path('snapshots'), { recursive: true });
    place.copy(kept, place.path('snapshots'));
    const newest = Math.max(...snapshotsOf('shard-0of1').map((name) => Number(name.slice(1))));
    expect(newest).toBeLessThan(before);

    await ghosts('ghost', before + 1);
    const again = place.start(words('b', '1', '--until-end', '--json'));
    // His last insert comes in when the shard has changed hands already.
    await until(
      async () => Number((await one<{ e: number }>('SELECT max(epoch) AS e FROM tally_epochs')).e) === 2,
      () => again.stderr(),
    );
    await until(
      async () => (await one<{ n: string }>("SELECT count() AS n FROM sales_hourly_live WHERE shop = 'ghost'")).n === '0',
      () => 'the ghost is there',
    );
    await ghosts('late ghost', before + 2);
    const done = await again.done;
    expect(done.status, done.stderr).toBe(0);
    expect(done.stderr).toMatch(/its state comes from the snapshot/);
    const verified = await verify('b');
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ records: first.length + second.length });
    expect((await one<{ n: string }>('SELECT count() AS n FROM tally_quarantine WHERE offset = 3')).n).toBe('0');
    const audit = readFileSync(place.path('b', 'audit', 'audit.jsonl'), 'utf8');
    expect(audit).toMatch(new RegExp(`"shard.taken".*"epoch":2,"fork":${newest}`));
    expect(Number((await one<{ v: string }>('SELECT min(version) AS v FROM tally_progress')).v)).toBeGreaterThan(2 * EPOCH);

    // And on as ever, with the state that is there now.
    place.append(sales(2600, 2700));
    const more = await toEnd('b', '1');
    expect([more.status, more.stderr]).toEqual([0, expect.not.stringMatching(/snapshot/)]);
    expect((await verify('b')).status).toBe(0);
  },
);

test('a lost disk without a snapshot is refused with the choices, and nothing is made', { timeout: 120_000 }, async () => {
  writeConfig({});
  place.append(sales(0, 200), 2);
  expect((await toEnd('a', '2')).status).toBe(0);
  rmSync(place.path('a'), { recursive: true });
  const lost = await toEnd('a', '2');
  expect([lost.status, lost.stderr]).toEqual([3, expect.stringMatching(told('E_STATE_LOST'))]);
  expect(lost.stderr).toMatch(/Bring back.*--snapshots.*--rebuild-frozen/s);
  expect(readdirSync(place.path('a'))).not.toContain('sales');
});

test('an owner that was stopped, replaced, and goes on writes nothing more and takes nothing back', { timeout: 240_000 }, async () => {
  config();
  const first = sales(0, 1200),
    second = sales(1200, 1800),
    third = sales(1800, 2000);
  place.append(first);
  const old = live('a', '1');
  await settledAt(old, 'a', first.length);
  await until(
    () => snapshotsOf('shard-0of1').length > 0,
    () => old.stderr(),
  );
  old.child.kill('SIGSTOP');
  place.append(second);
  const taken = await toEnd('b', '1');
  expect(taken.status, taken.stderr).toBe(0);
  place.append(third);
  old.child.kill('SIGCONT');
  const fenced = await old.done;
  expect(fenced.status).not.toBe(0);
  expect(fenced.stderr).toMatch(told('E_FENCED'));
  const back = await toEnd('a', '1');
  expect([back.status, back.stderr]).toEqual([expect.any(Number), expect.stringMatching(told('E_FENCED'))]);
  expect((await toEnd('b', '1')).status).toBe(0);
  const verified = await verify('b');
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  expect(JSON.parse(verified.stdout)).toMatchObject({ records: first.length + second.length + third.length });
});
