/** A ClickHouse server that dies, refuses and comes back while a job counts into it: the job waits, loses nothing, and verify says so. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Sink } from '../src/clickhouse/sink.ts';
import { startServer } from './clickhouse-server-fixture.ts';
import type { Server } from './clickhouse-server-fixture.ts';
import { sleep } from './clickhouse-fixture.ts';
import { Place, sales, until } from './end-to-end-fixture.ts';

let server: Server;
beforeAll(async () => {
  server = await startServer();
  process.env['TALLY_CLICKHOUSE_PASSWORD'] = 'w';
});
afterAll(async () => {
  delete process.env['TALLY_CLICKHOUSE_PASSWORD'];
  await server.close();
});

test('killed again and again while a job counts, it gets every row once', { timeout: 180_000 }, async () => {
  const place = new Place();
  try {
    place.append(sales(0, 2000));
    const common = ['--contracts', place.contracts, '--log', place.log, '--clickhouse', `http://writer@${new URL(server.url).host}/tally`];
    const words = ['run', place.job, ...common, '--data', place.path('data'), '--commit-events', '150'];
    const run = place.start(words);
    const rows = async (): Promise<number> =>
      server.ask('SELECT sum(records) AS n FROM tally.tally_books').then(
        (found) => Number(found[0]!['n']),
        () => 0,
      );
    for (let round = 1; round <= 4; round++) {
      // Some of it stands, some is on its way, and some comes while nobody is there to take it.
      const before = await rows();
      await until(async () => (await rows()) > before, run.stderr);
      place.append(sales(2000 * round, 2000 * (round + 1)));
      await server.stop();
      place.append(sales(2000 * round - 700, 2000 * round + 300));
      await sleep(200 * round);
      await server.start();
    }
    run.child.kill('SIGTERM');
    const stopped = await run.done;
    expect([stopped.status, stopped.stderr]).toEqual([0, expect.stringContaining('ClickHouse does not take rows')]);
    expect(await place.tally(...words, '--until-end', '--finish')).toMatchObject({ status: 0 });
    const verified = await place.tally('verify', place.job, ...common);
    expect([verified.status, verified.stderr]).toEqual([0, expect.any(String)]);
    // Dropped by hand: no run would write them again, so none is advised.
    await server.do('DROP TABLE tally.tally_progress');
    const gone = await place.tally('verify', place.job, ...common, '--data', place.path('data'));
    expect([gone.status, gone.stderr]).toEqual([
      3,
      expect.stringMatching(/^tally: E_STATE_TABLES: .*they were dropped.*\nhint: .*tally drop sales/),
    ]);
  } finally {
    await place.remove();
  }
});

test('a table that has too many parts is waited for, and it is said why', async () => {
  await server.do('CREATE DATABASE IF NOT EXISTS busy');
  await server.do(
    'CREATE TABLE busy.t (a Int64) ENGINE = MergeTree ORDER BY a SETTINGS parts_to_throw_insert = 2, parts_to_delay_insert = 2, max_delay_to_insert = 1',
  );
  await server.do('SYSTEM STOP MERGES busy.t');
  const sink = new Sink(server.as('writer', 'w', 'busy'), { retryMsMax: 50 }),
    troubles: string[] = [];
  sink.onTrouble = (sentence) => troubles.push(sentence);
  const one = (): Promise<boolean> => sink.insert('t', new Uint8Array(8), 1);
  let taken = 0,
    isOver = false;
  const all = (async () => {
    for (; taken < 6; taken++) expect(await one()).toBe(true);
    isOver = true;
  })();
  await until(
    () => troubles.length > 0,
    () => `${taken} taken`,
  );
  expect([isOver, troubles[0]]).toEqual([false, expect.stringMatching(/it merges more slowly than rows come in: Too many parts/)]);
  await server.do('SYSTEM START MERGES busy.t');
  await server.do('ALTER TABLE busy.t MODIFY SETTING parts_to_throw_insert = 3000, parts_to_delay_insert = 1000');
  await all;
  expect(await server.ask('SELECT count() AS n FROM busy.t')).toEqual([{ n: '6' }]);
  await sink.close();
});
