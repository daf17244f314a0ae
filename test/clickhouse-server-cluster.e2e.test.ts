/**
 * Tables over a cluster of two ClickHouse servers that speak ClickHouse's own protocol with each other: every version of a row on one
 * shard, a whole run that `verify` finds exact, and what is refused. Replication and ON CLUSTER need Keeper, which these engines
 * do not have: their statements are read here, and run where Docker is.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { dropJob } from '../src/clickhouse/instance.ts';
import { distributedDdl, tableDdl, viewDdl } from '../src/clickhouse/ddl.ts';
import { migrate } from '../src/clickhouse/schema.ts';
import { checkServer } from '../src/clickhouse/server.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { planViews } from '../src/clickhouse/views.ts';
import { LAYOUTS, rowsLayout } from '../topology/write/layout.ts';
import { ROWS_TARGET, START, cell, plan, progressBytes, rowBytes } from './clickhouse-fixture.ts';
import { startCluster } from './clickhouse-server-fixture.ts';
import type { Server } from './clickhouse-server-fixture.ts';
import { Place, sales } from './end-to-end-fixture.ts';
import { hasDocker, startReplicas } from './clickhouse-docker-fixture.ts';

const ROWS = 'hourly_g1_rows';
const m = { plan, generation: 1, shards: 1, instance: '', cluster: { name: 'ads', replicated: false } };
let nodes: Server[], first: Client, second: Client;
const open: Client[] = [];
const client = (server: Server): Client => {
  const made = makeClient(server.admin, { connections: 2 });
  open.push(made);
  return made;
};
beforeAll(async () => {
  nodes = await startCluster([1, 2]);
  for (const node of nodes) await checkServer(node.admin);
  [first, second] = nodes.map(client) as [Client, Client];
  await migrate(first, m);
  await migrate(second, m);
});
afterAll(async () => {
  await Promise.all(open.map((c) => c.close()));
  await Promise.all(nodes.map((node) => node.close()));
});
const fault = async (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'nothing',
    (e: { code?: string; message: string; hint?: string }) => `${e.code}: ${e.message} ${e.hint}`,
  );
const cells = (version: number): Uint8Array =>
  rowBytes(Array.from({ length: 60 }, (_, i) => cell({ country: `c${i}`, clicks: version * 100 + i, version })));
const count = async (c: Client, sql: string): Promise<number> =>
  Number((await rows<{ n: string }>(c, `SELECT count() AS n FROM ${sql}`))[0]!.n);

test('all versions of a row meet on one shard, whichever server took them, and the newest wins', async () => {
  const sinks = nodes.map((node) => new Sink(node.admin));
  for (let version = 1; version <= 6; version++) expect(await sinks[version % 2]!.insert(ROWS_TARGET, cells(version), 60)).toBe(true);
  expect(await sinks[0]!.insert(ROWS_TARGET, cells(3), 60)).toBe(true);
  const [a, b] = [await count(first, `${ROWS}_local FINAL`), await count(second, `${ROWS}_local FINAL`)];
  expect([a + b, a > 5, b > a]).toEqual([60, true, true]);
  for (const c of [first, second]) {
    expect(await rows(c, 'SELECT count() AS n, sum(clicks) AS s FROM hourly_live')).toEqual([
      { n: '60', s: String(600 * 60 + (60 * 59) / 2) },
    ]);
  }
  // Final is what progress says, asked over the cluster too.
  expect(await count(second, 'hourly')).toBe(0);
  await sinks[0]!.insert('tally_progress_rows', progressBytes(1, [[0, START + 3600, 6]]), 1);
  expect([await count(first, 'hourly'), await count(second, 'hourly')]).toEqual([60, 60]);
  await Promise.all(sinks.map((sink) => sink.close()));
});

test('while a shard is away nothing is acknowledged, and all of it is afterwards', async () => {
  const troubles: string[] = [],
    sink = new Sink(nodes[0]!.admin, { retryMsMax: 100 });
  sink.onTrouble = (sentence) => troubles.push(sentence);
  await nodes[1]!.stop();
  let isDone = false;
  const taken = sink.insert(ROWS_TARGET, cells(9), 60).then((is) => (isDone = is));
  while (troubles.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  expect([isDone, troubles[0]]).toEqual([false, expect.stringMatching(/a shard of its cluster cannot be reached/)]);
  await nodes[1]!.start();
  expect(await taken).toBe(true);
  expect(await rows(first, 'SELECT count() AS n, sum(clicks) AS s FROM hourly_live')).toEqual([
    { n: '60', s: String(900 * 60 + (60 * 59) / 2) },
  ]);
  await sink.close();
});

test('who counts into the tables is not told that they are a cluster; another cluster, or other weights, are refused', async () => {
  const { cluster: _, ...plain } = m;
  expect(await migrate(first, plain)).toEqual([]);
  expect(await migrate(first, m)).toEqual([]);
  expect(await fault(migrate(first, { ...m, cluster: { name: 'nowhere', replicated: false } }))).toMatch(
    /^E_CLUSTER: .*no cluster nowhere.*ads/,
  );
  expect(await fault(migrate(first, { ...m, cluster: { name: 'other', replicated: false } }))).toMatch(
    /^E_CLUSTER_CHANGED: .*ads with 2 shard\(s\) weighing 1, 2, without replication; now it is other/,
  );
  expect(await fault(migrate(first, { ...m, cluster: { name: 'ads', replicated: true } }))).toMatch(/^E_CLUSTER_CHANGED/);
  // As if remote_servers had been changed since.
  const record = (weights: string): Promise<void> =>
    nodes[0]!.do(
      `INSERT INTO tally.tally_tables_rows (table_name, job, generation, instance, version) SETTINGS distributed_foreground_insert = 1, async_insert = 0 VALUES ('(cluster)', '(cluster)', 0, '{"name":"ads","replicated":false,"weights":${weights}}', 0)`,
    );
  await record('[1]');
  expect(await fault(migrate(first, plain))).toMatch(/^E_CLUSTER_CHANGED: .*1 shard\(s\) weighing 1, .*2 shard\(s\) weighing 1, 2/);
  await record('[1,2]');
  expect(await migrate(first, plain)).toEqual([]);
  expect(await fault(dropJob(first, 'ads'))).toMatch(/^E_CLUSTER: .*not dropped/);
});

test('tables that are spread otherwise, or not at all, are refused and stay', async () => {
  await nodes[0]!.do('CREATE DATABASE odd');
  const odd = makeClient(nodes[0]!.as('writer', 'w', 'odd'), { connections: 2 });
  open.push(odd);
  await migrate(odd, m);
  await nodes[0]!.do('DROP TABLE odd.tally_books_rows SYNC');
  await nodes[0]!.do(
    "CREATE TABLE odd.tally_books_rows AS odd.tally_books_rows_local ENGINE = Distributed('ads', odd, tally_books_rows_local, rand()) COMMENT 'tally'",
  );
  expect(await fault(migrate(odd, m))).toMatch(/^E_SCHEMA: The table tally_books_rows .* spread otherwise: .*rand/);
  await nodes[0]!.do('DROP TABLE odd.tally_books_rows SYNC');
  await nodes[0]!.do('CREATE TABLE odd.tally_books_rows AS odd.tally_books_rows_local');
  expect(await fault(migrate(odd, m))).toMatch(/^E_SCHEMA: The table tally_books_rows .* not spread over the cluster/);
  expect(await count(odd, 'tally_books_rows')).toBe(0);
  await nodes[0]!.do('CREATE DATABASE alone');
  const alone = makeClient(nodes[0]!.as('writer', 'w', 'alone'), { connections: 2 });
  open.push(alone);
  const { cluster: _, ...plain } = m;
  await migrate(alone, plain);
  expect(await fault(migrate(alone, m))).toMatch(/^E_CLUSTER: .*this server alone/);
});

test('a job that counts into a cluster is exact, and verify says so', { timeout: 180_000 }, async () => {
  const place = new Place();
  try {
    const url = `http://writer@${new URL(nodes[0]!.url).host}/whole`;
    process.env['TALLY_CLICKHOUSE_PASSWORD'] = 'w';
    for (const node of nodes) {
      const to = url.replace(new URL(nodes[0]!.url).host, new URL(node.url).host);
      const migrated = await place.tally(
        'clickhouse',
        'migrate',
        place.job,
        '--contracts',
        place.contracts,
        '--shards',
        '2',
        '--cluster',
        'ads',
        '--no-replication',
        '--clickhouse',
        to,
      );
      expect([migrated.status, migrated.stderr]).toEqual([0, expect.stringMatching(/made \d+: .*sales_hourly_g1_rows_local/)]);
    }
    place.append(sales(0, 6000), 2);
    place.append(sales(2000, 3000), 2);
    const common = ['--contracts', place.contracts, '--log', place.log, '--clickhouse', url];
    const done = await place.tally(
      'run',
      place.job,
      ...common,
      '--data',
      place.path('data'),
      '--shards',
      '2',
      '--until-end',
      '--finish',
      '--commit-events',
      '700',
    );
    expect([done.status, done.stderr]).toEqual([0, expect.any(String)]);
    const verified = await place.tally('verify', place.job, ...common, '--data', place.path('data'));
    expect([verified.status, verified.stderr]).toEqual([0, expect.any(String)]);
    const spread = await Promise.all(nodes.map((node) => node.ask('SELECT count() AS n FROM whole.sales_hourly_g1_rows_local')));
    expect(spread.every((s) => Number(s[0]!['n']) > 0)).toBe(true);
  } finally {
    delete process.env['TALLY_CLICKHOUSE_PASSWORD'];
    await place.remove();
  }
});

test('replicated tables ON CLUSTER are statements that ClickHouse understands', async () => {
  const cluster = { name: 'ads', replicated: true, weights: [1, 2] };
  const layouts = [...LAYOUTS, rowsLayout(plan, plan.tables[0]!, 1)];
  const statements = [
    ...layouts.flatMap((layout) => [tableDdl(layout, cluster), distributedDdl(layout, cluster)]),
    ...planViews(plan, 1, 2).map((view) => viewDdl(view, cluster)),
  ];
  for (const statement of statements) {
    expect(statement).toContain(' ON CLUSTER `ads` ');
    await nodes[0]!.do(`EXPLAIN AST ${statement}`);
  }
  expect(await fault(nodes[0]!.do(`EXPLAIN AST ${statements[0]!.replace('ENGINE', 'ENGINES')}`))).toMatch(/^E_CLICKHOUSE/);
  expect(statements[0]).toMatch(/ENGINE = ReplicatedReplacingMergeTree\(version\).* replicated_deduplication_window = 0/);
});

const docker = hasDocker() ? '' : ' [SKIPPED: replication and ON CLUSTER need Keeper, and there is no Docker here to run servers with it]';
test.skipIf(docker !== '')(
  `replicated over two real servers with Keeper, a replica may go and come back${docker}`,
  { timeout: 600_000 },
  async () => {
    const replicas = await startReplicas();
    const [one, two] = replicas.endpoints.map((endpoint) => makeClient(endpoint, { connections: 2 })) as [Client, Client];
    try {
      await checkServer(replicas.endpoints[0]!, 'ads');
      const replicated = { ...m, cluster: { name: 'ads', replicated: true } };
      expect((await migrate(one, replicated)).length).toBeGreaterThan(10);
      const { cluster: _, ...plain } = m;
      expect(await migrate(two, plain)).toEqual([]);
      const sink = new Sink(replicas.endpoints[0]!, { retryMsMax: 500 }),
        troubles: string[] = [];
      sink.onTrouble = (sentence) => troubles.push(sentence);
      for (let version = 1; version <= 3; version++) expect(await sink.insert(ROWS_TARGET, cells(version), 60)).toBe(true);
      expect(await rows(two, 'SELECT count() AS n, sum(clicks) AS s FROM hourly_live')).toEqual([
        { n: '60', s: String(300 * 60 + (60 * 59) / 2) },
      ]);
      // The quorum of two is two: nothing is acknowledged while one is away.
      replicas.stop(1);
      let isDone = false;
      const taken = sink.insert(ROWS_TARGET, cells(4), 60).then((is) => (isDone = is));
      while (troubles.length === 0) await new Promise((resolve) => setTimeout(resolve, 100));
      expect(isDone).toBe(false);
      replicas.start(1);
      expect(await taken).toBe(true);
      expect(await rows(two, 'SELECT sum(clicks) AS s FROM hourly_live')).toEqual([{ s: String(400 * 60 + (60 * 59) / 2) }]);
      await sink.close();
    } finally {
      await Promise.all([one.close(), two.close()]);
      replicas.remove();
    }
  },
);
