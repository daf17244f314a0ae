/**
 * One job over two processes that a group deals shards to, on a real broker: one joins, one is killed, one is stopped in order, one hangs past its
 * session and goes on, one loses its disk. Records come all the while, and late ones among them; the recount at the end finds all of it exact.
 * Once more with a job that is repartitioned: then whoever has a shard also sends a part of the source on to all the others.
 */
import { renameSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Place, sales, statusOf, told, until, urlOf } from './end-to-end-fixture.ts';
import type { Running } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Copy } from './kafka-produce.ts';

const SHARDS = 4;

const KINDS = [
  { kind: 'a job whose producers key it', isRepartitioned: false },
  { kind: 'a job that is repartitioned', isRepartitioned: true },
];

describe.skipIf(kafkaMissing !== undefined).each(KINDS)('shards in a group: $kind', { timeout: 400_000 }, ({ isRepartitioned }) => {
  let kafka: KafkaCluster, engine: Engine, client: Client, place: Place, copy: Copy, url: string;
  const runs: Running[] = [];
  beforeAll(async () => {
    place = new Place();
    if (isRepartitioned) place.repartition();
    [kafka, engine] = await Promise.all([startKafka({}), startEngine({ dir: place.path('engine') })]);
    url = urlOf(engine);
    client = makeClient(engine.admin);
    await kafka.createTopic('sales', SHARDS);
    copy = new Copy(place.log, kafka.brokers[0]!.plainPort, SHARDS);
    place.write(
      'tally.json',
      JSON.stringify({
        clickhouse: { url },
        snapshots: { dir: place.path('snapshots'), every: '2s' },
        takeover: { session: '6s', delay: '2s', settle: '2s' },
      }),
    );
  }, 120_000);
  afterAll(async () => {
    for (const run of runs) run.child.kill('SIGKILL');
    await client?.close();
    await engine?.stop();
    await kafka?.stop();
    await place?.remove();
  });

  const words = (data: string, ...more: string[]): string[] => [
    ...['run', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--data', data],
    ...['--config', place.path('tally.json'), '--shards', `group/${SHARDS}`, ...more],
  ];
  const start = (data: string): Running => {
    const run = place.start(words(data));
    runs.push(run);
    return run;
  };
  const shardsOf = (data: string): number => {
    const status = statusOf(place.path(data));
    return status?.running === true ? status.shards.length : 0;
  };
  let sent = 0;
  async function send(from: number, to: number): Promise<void> {
    const lines = sales(from, to);
    place.append(lines, SHARDS);
    await copy.go();
    sent += lines.length;
  }
  async function countedAll(): Promise<void> {
    let read = '';
    await until(
      async () => {
        read =
          (await rows<{ n: string }>(client, "SELECT sum(records) AS n FROM tally_books WHERE class = 'read'").catch(() => []))[0]?.n ?? '';
        return read === String(sent);
      },
      () => `read ${read} of ${sent}:\n${runs.map((run) => run.stderr()).join('\n--\n')}`,
      90_000,
    );
  }
  const readOf = async (...shards: number[]): Promise<number> => {
    const sql = `SELECT sum(records) AS n FROM tally_books WHERE class = 'read' AND shard IN (${shards.join(', ')})`;
    return Number((await rows<{ n: string }>(client, sql))[0]!.n);
  };
  const has = (data: string, n: number): Promise<void> =>
    until(
      () => shardsOf(data) === n,
      () => `${data} has ${shardsOf(data)} shards, not ${n}:\n${runs.map((run) => run.stderr()).join('\n--\n')}`,
      90_000,
    );

  it('counts each record once, whoever has its shard, and whatever happens to him', async () => {
    const a = start('a');
    await send(0, 800);
    await countedAll();
    expect(shardsOf('a')).toBe(SHARDS);

    // A second one joins while records come.
    const b = start('b');
    await send(700, 1300);
    await Promise.all([has('a', 2), has('b', 2)]);
    await countedAll();

    // It is killed, and comes back to its own.
    b.child.kill('SIGKILL');
    await b.done;
    await send(1200, 1700);
    await has('a', SHARDS);
    await countedAll();
    const b2 = start('b');
    await has('b', 2);
    await send(1700, 1900);
    await countedAll();

    // The first one is stopped in order, and started again.
    a.child.kill('SIGTERM');
    expect((await a.done).status, a.stderr()).toBe(0);
    await send(1850, 2200);
    await has('b', SHARDS);
    await countedAll();
    const a2 = start('a');
    await Promise.all([has('a', 2), has('b', 2)]);
    await send(2200, 2400);
    await countedAll();

    // It hangs past its session, and goes on when its shards are another's.
    a2.child.kill('SIGSTOP');
    await send(2300, 2700);
    await has('b', SHARDS);
    await countedAll();
    a2.child.kill('SIGCONT');
    await send(2700, 2800);
    await countedAll();
    await Promise.all([has('a', 2), has('b', 2)]);

    // The other one loses its disk.
    b2.child.kill('SIGKILL');
    await b2.done;
    rmSync(place.path('b'), { recursive: true });
    await send(2750, 3100);
    const b3 = start('b');
    await countedAll();
    await Promise.all([has('a', 2), has('b', 2)]);
    await send(3100, 3200);
    await countedAll();

    for (const run of [a2, b3]) {
      run.child.kill('SIGTERM');
      expect((await run.done).status, run.stderr()).toBe(0);
    }

    // Of two shards neither disk nor snapshot is left: they stand still, the others go on, until the snapshots are found again.
    const hide = (to: string, from: string): void => {
      for (const shard of [1, 3]) {
        const copies = place.path(`snapshots/sales/g1/shard-${shard}of${SHARDS}`);
        renameSync(copies + from, copies + to);
      }
    };
    hide('.hidden', '');
    const d = start('d');
    await has('d', SHARDS - 2);
    await until(
      () => d.stderr().split('of it that fits').length === 3,
      () => `two shards are not said to be lost: ${d.stderr()}`,
    );
    const before = await readOf(0, 2);
    await send(3150, 3300);
    await until(
      async () => (await readOf(0, 2)) > before,
      () => `the others do not go on: ${d.stderr()}`,
    );
    expect([shardsOf('d'), d.child.exitCode]).toEqual([SHARDS - 2, null]);
    hide('', '.hidden');
    await has('d', SHARDS);
    await countedAll();
    d.child.kill('SIGTERM');
    expect((await d.done).status, d.stderr()).toBe(0);

    const verified = await place.tally(
      ...['verify', place.job, '--contracts', place.contracts, '--log', place.log, '--data', 'a', '--clickhouse', url, '--json'],
    );
    if (verified.status !== 0) {
      console.log(JSON.stringify(await rows(client, 'SELECT * FROM tally_epochs_rows ORDER BY shard, epoch')));
      console.log(
        JSON.stringify(
          await rows(
            client,
            'SELECT shard, epoch, intDiv(version, 1099511627776) AS e, version % 1099511627776 AS c, is_deleted, count() AS n, min(changed_at) AS at FROM sales_hourly_changes_g1_rows FINAL GROUP BY ALL ORDER BY ALL',
          ),
        ),
      );
      console.log(runs.map((run) => run.stderr()).join('\n--\n'));
    }
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ records: sent });
    expect(Number((await rows<{ e: number }>(client, 'SELECT max(epoch) AS e FROM tally_epochs'))[0]!.e)).toBeGreaterThan(3);
  });

  it('refuses what a group cannot have', async () => {
    const bounded = await place.tally(...words('c', '--until-end'));
    expect([bounded.status, bounded.stderr]).toEqual([2, expect.stringMatching(told('E_SHARDS'))]);
  });
});
