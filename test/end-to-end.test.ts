/** The promises of Tally, held against processes: what a log says is in the tables once, whatever happened on the way. */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { sendAgain } from '../src/generate/send-again.ts';
import { FileLock } from '../src/lock.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { DAY, HOUR, JOB, Place, ROOT, T0, sale, sales, statusOf, told, until } from './end-to-end-fixture.ts';
import type { Done } from './end-to-end-fixture.ts';

const SLOW = { timeout: 300_000 };
const places: Place[] = [];
function place(): Place {
  const made = new Place();
  places.push(made);
  return made;
}
/** Some process has it now. */
function isHeld(file: string): boolean {
  if (!existsSync(file)) return false;
  const lock = FileLock.tryLock(file);
  lock?.unlock();
  return lock === undefined;
}
afterAll(() => Promise.all(places.map((p) => p.remove())));

test.concurrent(
  'a log that grew, then is sent again, then read with other commits and shards, gives the tables of one run over all of it',
  SLOW,
  async () => {
    const p = place(),
      one = p.path('one'),
      four = p.path('four'),
      whole = p.path('whole');
    const round = async (...words: string[]): Promise<void> => {
      await Promise.all([
        p.count(one, ...words).then(() => p.verified(one)),
        p.count(four, '--shards', '4', ...words).then(() => p.verified(four)),
      ]);
    };
    p.append(sales(0, 1500), 4);
    await round();
    p.append(sales(1500, 3000), 4);
    await round('--commit-events', '300');
    const before = await Promise.all([p.rows(one), p.rows(four)]);
    const sent = await sendAgain(p.log);
    const [again, againByFour] = await Promise.all([p.count(one, '--commit-events', '777'), p.count(four, '--commit-events', '50')]);
    for (const summary of [again, againByFour]) {
      expect(summary.records).toBe(sent);
      expect(summary.classes.counted).toBe(0);
    }
    await Promise.all([p.verified(one), p.verified(four), p.count(whole)]);
    const after = await Promise.all([p.rows(one), p.rows(four), p.rows(whole)]);
    expect(after[0].split('\n').length).toBeGreaterThan(300);
    expect(before).toEqual([after[0], after[0]]);
    expect(after).toEqual([after[0], after[0], after[0]]);
    const verified = await p.verified(whole);
    expect(verified).toMatchObject({ records: 2 * sent, counted: 3000 });
  },
);

/** A live run's own view of itself and of its tables. */
async function live(p: Place, data: string): Promise<ReturnType<Place['start']>> {
  const run = p.start(['run', p.job, '--contracts', p.contracts, '--log', p.log, '--data', data]);
  await until(
    () => existsSync(path.join(data, 'clickhouse', 'connection.json')) && statusOf(data) !== undefined,
    () => `the run does not begin: ${run.stderr()}`,
  );
  return run;
}

test.concurrent(
  'a live run shows what comes in, survives its engine, keeps others out, and ends in order by any signals',
  SLOW,
  async () => {
    const p = place(),
      data = p.path('data');
    p.append(sales(0, 200));
    const run = await live(p, data);
    const shown = (n: number): Promise<void> =>
      until(
        async () => {
          const done = await p.tally('query', '--data', 'data', '--format', 'TSV', 'SELECT sum(sales) FROM sales_hourly_live');
          return done.status === 0 && done.stdout.trim() === String(n);
        },
        () => `${n} sales are not shown: ${run.stderr()}`,
      );
    await shown(200);
    const busy = await p.refused(data);
    expect(busy).toMatchObject({ status: 3, stderr: expect.stringMatching(told('E_LOCKED')) });
    const produced = await p.start(
      ['produce', '--log', 'log', '--topic', 'sales', '--key', 'id'],
      undefined,
      `${sale(200).text}\n\n${sale(201).text}\nno json\n`,
    ).done;
    expect(produced.status, produced.stderr).toBe(0);
    await shown(202);
    const status = JSON.parse((await p.tally('status', '--data', 'data', '--json')).stdout);
    expect(status).toMatchObject({
      running: true,
      clickhouse: { url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) },
      jobs: [{ job: 'sales', running: true }],
    });
    const enginePid = JSON.parse(readFileSync(p.path('data', 'clickhouse', 'connection.json'), 'utf8')).pid as number;
    process.kill(enginePid, 'SIGKILL');
    p.append(sales(202, 300));
    await shown(300);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGTERM'] as const) run.child.kill(signal);
    const done = await run.done;
    expect(done.status, done.stderr).toBe(0);
    expect(done.stderr).not.toMatch(/E_[A-Z]+:/);
    expect(existsSync(p.path('data', 'clickhouse', 'connection.json'))).toBe(false);
    expect(JSON.parse((await p.tally('status', '--data', 'data', '--json')).stdout)).toMatchObject({
      running: false,
      clickhouse: null,
      jobs: [{ job: 'sales', running: false }],
    });
    expect(await p.verified(data)).toMatchObject({ counted: 300 });
    const audit = await p.tally('audit', 'list', '--data', data);
    expect(audit.stdout).toContain('stopped by a signal');
  },
);

test.concurrent('signals to the launcher, at any moment of a run, end it in order and lose nothing', SLOW, async () => {
  const p = place(),
    node = process.env['npm_node_execpath'] ?? process.execPath;
  p.append(sales(0, 2000));
  for (const wait of [150, 400, 0, 700]) {
    const run = p.start(
      ['run', p.job, '--contracts', p.contracts, '--log', p.log, '--data', 'data', '--commit-events', '100'],
      [node, path.join(ROOT, 'bin', 'tally.mjs')],
    );
    // The first two meet it while it starts; before the program has taken over, a signal ends it as it ends any other.
    if (wait === 0 || wait === 700)
      await until(
        () => isHeld(p.path('data', 'lock')),
        () => `the run does not begin: ${run.stderr()}`,
      );
    await new Promise((resolve) => setTimeout(resolve, wait));
    for (const signal of ['SIGINT', 'SIGINT', 'SIGTERM'] as const) run.child.kill(signal);
    const done = await run.done;
    if (wait === 0 || wait === 700) expect(done.status, done.stderr).toBe(0);
    expect(done.stderr).not.toMatch(/E_[A-Z]+:/);
  }
  await p.count('data');
  expect(await p.verified('data')).toMatchObject({ counted: 2000 });
});

test.concurrent(
  'a state and tables that do not belong to the run are refused with the way out, and after a drop everything counts anew',
  SLOW,
  async () => {
    const p = place();
    p.append(sales(0, 300), 2);
    await Promise.all([p.count('data'), p.count('other')]);
    const refusals: [code: string, exit: number, done: Done][] = [];
    const refuse = async (code: string, exit: number, ...words: string[]): Promise<void> =>
      void refusals.push([code, exit, await p.refused('data', ...words)]);
    await refuse('E_STATE_SHARDS', 2, '--shards', '2');
    writeFileSync(p.job, JOB.replace('minutes(5)', 'minutes(6)'));
    await refuse('E_STATE_PLAN', 2);
    writeFileSync(p.job, JOB);
    mkdirSync(path.join(p.log, 'sales-2'));
    await refuse('E_STATE_PARTITIONS', 2);
    rmSync(path.join(p.log, 'sales-2'), { recursive: true });
    cpSync(p.path('data', 'sales'), p.path('kept'), { recursive: true });
    rmSync(p.path('data', 'sales'), { recursive: true });
    await refuse('E_STATE_TABLES', 3);
    rmSync(p.path('data', 'sales'), { recursive: true, force: true });
    cpSync(p.path('other', 'sales'), p.path('data', 'sales'), { recursive: true });
    await refuse('E_STATE_INSTANCE', 2);
    rmSync(p.path('data', 'sales'), { recursive: true });
    cpSync(p.path('kept'), p.path('data', 'sales'), { recursive: true });
    expect((await p.count('data')).records, 'put back, it goes on').toBe(0);
    cpSync(p.path('data', 'clickhouse'), p.path('foreign', 'clickhouse'), { recursive: true });
    refusals.push(['E_STATE_TABLES', 3, await p.refused('foreign')]);
    for (const [code, exit, done] of refusals)
      expect(done, code).toMatchObject({ status: exit, stdout: '', stderr: expect.stringMatching(told(code)) });
    for (const [code, , done] of refusals) if (code !== 'E_STATE_INSTANCE') expect(done.stderr, code).toContain('tally drop sales --data');
    expect((await p.tally('drop', 'sales', '--data', 'data')).status, 'without --yes').toBe(2);
    const dropped = await p.tally('drop', 'sales', '--data', 'data', '--yes');
    expect(dropped.status, dropped.stderr).toBe(0);
    writeFileSync(p.job, JOB.replace('minutes(5)', 'minutes(6)'));
    expect((await p.count('data', '--shards', '2')).classes.counted).toBe(300);
    await p.verified('data');
    expect((await p.tally('audit', 'verify', '--data', 'data')).status).toBe(0);
    expect((await p.tally('audit', 'list', '--data', 'data')).stdout).toContain('job.dropped');
  },
);

test.concurrent('decimals, conditions, NULLs and the days of a zone come out as they should', SLOW, async () => {
  const p = place(),
    at = (iso: string): number => Date.parse(iso);
  const event = (id: string, time: string, more: object): { text: string; arrival: number } => ({
    text: JSON.stringify({ id, at: at(time), shop: 'a', ...more }),
    arrival: at(time),
  });
  // On 29 March 2026 Berlin's day has 23 hours: it ends at 22:00 UTC.
  p.append([
    event('1', '2026-03-28T23:30:00Z', { total: 0.1, paid_by: 'card', units: 5, rating: -1.5 }),
    event('2', '2026-03-29T21:59:59Z', { total: 0.2, paid_by: 'cash' }),
    event('3', '2026-03-29T22:00:00Z', { total: 1e2, rating: 3 }),
    event('4', '2026-03-30T21:30:00Z', { total: -0.07, paid_by: null, rating: 4.5 }),
  ]);
  await p.count('data', '--finish');
  const rows = await p.query(
    'data',
    'SELECT window_start, window_end, sales, by_card, revenue, card_revenue, units, worst, best_by_card FROM sales_daily ORDER BY 1',
  );
  expect(rows.split('\n').map((r) => r.split('\t'))).toEqual([
    ['2026-03-28 23:00:00', '2026-03-29 22:00:00', '2', '1', '0.3', '0.1', '5', '-1.5', '-1.5'],
    ['2026-03-29 22:00:00', '2026-03-30 22:00:00', '2', '0', '99.93', '0', '0', '3', '\\N'],
  ]);
  expect(await p.query('data', 'SELECT sum(sales), sum(revenue), count() FROM sales_hourly')).toBe('4\t100.23\t4');
  await p.verified('data');
});

test.concurrent('a sum that would not fit stops the run by name, with the state as it was', SLOW, async () => {
  const p = place();
  p.append(
    [sale(1, { shop: 'north', units: '@' }), sale(2, { shop: 'north', units: 7 })].map((l) => ({
      ...l,
      text: l.text.replace('"@"', '9223372036854775800'),
    })),
  );
  await p.count('data');
  p.append([
    sale(3, { shop: 'south', units: 1 }),
    { ...sale(4, { shop: 'north', units: 9 }), text: sale(2, { shop: 'north', units: 9 }).text.replace('sale-2', 'sale-4') },
  ]);
  for (let i = 0; i < 2; i++) {
    const done = await p.refused('data');
    expect(done.status).toBe(3);
    expect(done.stderr).toMatch(told('E_OVERFLOW'));
    for (const name of [/sales_(hourly|daily)/, /units/, /north/, /2026-03-2[67]T/]) expect(done.stderr).toMatch(name);
    expect(await p.verified('data')).toMatchObject({ records: 2, counted: 2 });
  }
});

test.concurrent('a damaged or shortened log stops the run with its place, and what was counted stays', SLOW, async () => {
  const p = place(),
    file = path.join(p.log, 'sales-0', `${'0'.repeat(20)}.log`);
  p.append(sales(0, 100), 1, 2000);
  await p.count('data');
  const good = readFileSync(file),
    { records } = await p.verified('data');
  p.append([sale(100), sale(101)]);
  const grown = readFileSync(file),
    bad = Buffer.from(grown);
  bad[bad.length - 5]! ^= 0x40;
  writeFileSync(file, bad);
  const corrupt = await p.refused('data');
  expect(corrupt).toMatchObject({ status: 3, stderr: expect.stringMatching(told('E_CORRUPT_BATCH')) });
  expect(corrupt.stderr).toMatch(new RegExp(`sales, partition 0, offset ${records}`));
  writeFileSync(file, good);
  expect(await p.verified('data')).toMatchObject({ records });
  truncateSync(file, 0);
  const truncated = await p.refused('data');
  expect(truncated).toMatchObject({ status: 3, stderr: expect.stringMatching(told('E_LOG_TRUNCATED')) });
  expect(truncated.stderr).toMatch(new RegExp(`sales, partition 0: offset ${records}`));
  writeFileSync(file, grown);
  expect((await p.count('data')).classes.counted).toBe(2);
  expect(await p.verified('data')).toMatchObject({ counted: 102 });
});

test.concurrent('another log of the same topic is not read on in its middle, however long it is', SLOW, async () => {
  const p = place();
  p.append(sales(0, 300));
  await p.count('data');
  renameSync(p.log, p.path('first'));
  p.append(sales(1000, 2000));
  const refused = await p.refused('data');
  expect(refused).toMatchObject({ status: 3, stderr: expect.stringMatching(told('E_LOG_CHANGED')) });
  rmSync(p.log, { recursive: true });
  renameSync(p.path('first'), p.log);
  p.append(sales(300, 400));
  await p.count('data');
  await p.verified('data');
});

test.concurrent('first starts that are killed halfway are completed by the next', SLOW, async () => {
  const p = place();
  p.append(sales(0, 500), 2);
  for (const wait of [130, 200, 250, 300, 450, 800]) {
    const run = p.start(['run', p.job, '--contracts', p.contracts, '--log', p.log, '--data', 'data', '--shards', '2', '--until-end']);
    await new Promise((resolve) => setTimeout(resolve, wait));
    run.child.kill('SIGKILL');
    await run.done;
  }
  await p.count('data', '--shards', '2');
  expect(await p.verified('data')).toMatchObject({ counted: 500 });
  expect((await p.tally('audit', 'verify', '--data', 'data')).status).toBe(0);
});

test.concurrent('29 days late corrects what was published, also after a restart; 31 days late is expired', SLOW, async () => {
  const p = place(),
    now = { at: T0 + 30 * DAY, shop: 'a', total: 2 },
    arrival = now.at;
  p.append([
    { text: JSON.stringify({ id: 'old', at: T0 + DAY + HOUR, shop: 'a', total: 1, rating: 2 }), arrival: T0 + DAY + HOUR },
    { text: JSON.stringify({ id: 'now', ...now }), arrival },
  ]);
  await p.count('data');
  p.append([
    { text: JSON.stringify({ id: 'late', at: T0 + DAY + HOUR + 60_000, shop: 'a', total: 4, rating: 1 }), arrival },
    { text: JSON.stringify({ id: 'later', at: T0 + DAY + HOUR + 60_001, shop: 'new', total: 8 }), arrival },
    { text: JSON.stringify({ id: 'gone', at: T0 - DAY, shop: 'a', total: 16 }), arrival },
    { text: JSON.stringify({ id: 'old', at: T0 + DAY + HOUR, shop: 'a', total: 1, rating: 2 }), arrival },
  ]);
  expect(await p.count('data')).toMatchObject({ classes: { counted: 2, duplicate: 1, quarantined: 1 }, codes: { LATE: 2, EXPIRED: 1 } });
  await p.verified('data');
  const changes = await p.query(
    'data',
    "SELECT op, shop, sales, worst, cause != '' FROM sales_hourly_changes WHERE window_start < toDateTime('2026-03-30', 'UTC') ORDER BY version, shop, sign",
  );
  expect(changes.split('\n')).toEqual(['+I\ta\t1\t2\t0', '-U\ta\t1\t2\t1', '+U\ta\t2\t1\t1', '+I\tnew\t1\t\\N\t1']);
  expect(await p.query('data', "SELECT cause FROM sales_hourly_changes WHERE op = '+U'")).toContain('late sales/0@2');
});

test.concurrent('a record of 100 MB and a flood of broken ones go to the quarantine in bounded memory', SLOW, async () => {
  const p = place(),
    writer = new TopicWriter(p.log, 'sales', { compression: 'none' }),
    big = Buffer.alloc(100_000_000, 'x'),
    FLOOD = 100_000;
  writer.append(0, null, big, T0);
  for (let n = 0; n < FLOOD; n++) writer.append(0, null, Buffer.from(`{"id":"broken ${n}`), T0);
  const { text, arrival } = sale(0);
  writer.append(0, null, Buffer.from(text), arrival);
  writer.close();
  const summary = await p.count('data');
  expect(summary).toMatchObject({ classes: { counted: 1, quarantined: FLOOD + 1 }, codes: { OVERSIZE: 1, UNPARSEABLE: FLOOD } });
  expect(summary.peak_rss_bytes).toBeLessThan(2 * 2 ** 30);
  expect(
    await p.query('data', 'SELECT code, count(), max(length(raw)), uniqExact(raw) FROM tally_quarantine GROUP BY code ORDER BY code'),
  ).toBe(`OVERSIZE\t1\t65536\t1\nUNPARSEABLE\t${FLOOD}\t19\t${FLOOD}`);
  expect(readdirSync(p.path('data'))).toContain('sales');
});

test.concurrent('--finish makes the last windows final, however unevenly the shards were filled', SLOW, async () => {
  const p = place(),
    writer = new TopicWriter(p.log, 'sales', { partitions: 3 });
  const put = (partition: number, id: string, at: number): void =>
    writer.append(partition, Buffer.from(id), Buffer.from(JSON.stringify({ id, at, shop: 'a', total: 1 })), at);
  put(0, 'a', T0);
  put(0, 'b', T0 + HOUR);
  put(1, 'c', T0 + 5 * HOUR);
  writer.flush();
  await p.count('data', '--shards', '3');
  await p.count('data', '--shards', '3', '--finish');
  const shown = (): Promise<string> =>
    p.query('data', "SELECT sum(sales), max(window_end), (SELECT countIf(state = 'provisional') FROM sales_hourly_live) FROM sales_hourly");
  expect(await shown()).toBe('3\t2026-03-28 04:00:00\t0');
  await p.verified('data');
  put(2, 'd', T0 + 6 * HOUR);
  writer.close();
  await p.count('data', '--finish');
  expect(await p.query('data', 'SELECT sum(sales) FROM sales_daily')).toBe('4');
  await p.verified('data');
});
