/** A run as its operator has it: settings from a file, lines of JSON, metrics that agree with the books, health, and an orderly end. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, expect, test } from 'vitest';
import { Place, sales, statusOf, until } from './end-to-end-fixture.ts';

const places: Place[] = [];
function place(): Place {
  const p = new Place();
  places.push(p);
  return p;
}
afterAll(() => Promise.all(places.map((p) => p.remove())));

const SLOW = { timeout: 120_000 };

interface Line {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}
const linesOf = (stderr: string): Line[] =>
  stderr
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);

const records = (page: string): number =>
  [...page.matchAll(/^tally_records_total\{.*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);

test('a run that is configured by a file shows its metrics and health, and ends in order on SIGTERM', SLOW, async () => {
  const p = place();
  const sent = sales(0, 500);
  p.append(sent, 2);
  writeFileSync(
    p.path('tally.yaml'),
    'log: ./log\ndata: ./data\ncontracts: ./contracts\nshards: 2\nhttp: { listen: "127.0.0.1:0" }\nlogs: { format: json }\n',
  );
  const run = p.start(['run', p.job, '--config', 'tally.yaml']);
  const told = (event: string): Line | undefined => linesOf(run.stderr().replace(/[^\n]*$/, '')).find((line) => line['event'] === event);
  const address = (): string | undefined => /"http":"([^"]+)"/.exec(run.stderr())?.[1];
  await until(
    () => address() !== undefined,
    () => `no address: ${run.stderr()}`,
  );
  const get = async (path: string): Promise<[number, string]> => {
    const response = await fetch(address()! + path);
    return [response.status, await response.text()];
  };
  expect((await get('/healthz'))[0], 'alive from the start').toBe(200);
  await until(
    async () => (await get('/readyz'))[0] === 200,
    () => `never ready: ${run.stderr()}`,
  );
  expect(told('fits')).toMatchObject({ level: 'info', job: 'sales' });
  let page = '';
  await until(
    async () => {
      [, page] = await get('/metrics');
      return (
        records(page) === sent.length &&
        /^tally_outbox_rows\{.*shard="0"\} 0$/m.test(page) &&
        /^tally_outbox_rows\{.*shard="1"\} 0$/m.test(page)
      );
    },
    () => `${records(page)} of ${sent.length} records: ${page}`,
  );
  expect(page).toMatch(
    /^tally_records_total\{job="sales",shard="1",topic="sales",partition="1",class="quarantined",code="UNPARSEABLE"\} \d+$/m,
  );
  for (const lag of page.matchAll(/^tally_lag_\w+\{.*\} (.*)$/gm)) expect(lag[1], lag[0]).toBe('0');
  for (const shard of [0, 1]) {
    const count = (metric: string): number =>
      Number(new RegExp(`^${metric}_count\\{job="sales",shard="${shard}"\\} (\\d+)$`, 'm').exec(page)?.[1]);
    expect(count('tally_checkpoint_duration_seconds')).toBeGreaterThan(0);
    expect(count('tally_visible_latency_seconds')).toBeGreaterThan(0);
  }
  expect(Number(/^tally_state_bytes\{job="sales"\} (\d+)$/m.exec(page)?.[1])).toBeGreaterThan(1000);
  expect(JSON.parse((await get('/healthz'))[1])).toMatchObject({ ok: true, silent_shards: [], clickhouse_down_for_shards: [] });
  run.child.kill('SIGTERM');
  const done = await run.done;
  expect(done, done.stderr).toMatchObject({ status: 0, stdout: '' });
  const lines = linesOf(done.stderr);
  expect(lines.map((line) => line['event'])).toEqual([undefined, 'begins', 'opened', 'fits', 'stops', 'ended']);
  expect(lines.at(-1)).toMatchObject({ level: 'info', records: sent.length, job: 'sales' });
  await expect(fetch(`${address()}/healthz`)).rejects.toThrow('fetch failed');
  expect(statusOf(p.path('data'))).toMatchObject({ running: false });
});

test('a run that is told to stop before it has begun ends in order, and the next one counts it all', SLOW, async () => {
  const p = place();
  p.append(sales(0, 50));
  const words = ['run', p.job, '--contracts', p.contracts, '--log', 'log', '--data', 'data', '--log-format', 'json'];
  const run = p.start(words);
  await until(
    () => run.stderr().includes('"event":"begins"'),
    () => run.stderr(),
  );
  run.child.kill('SIGTERM');
  const done = await run.done;
  expect(done.status, done.stderr).toBe(0);
  expect(linesOf(done.stderr).map((line) => line['event'])).toEqual(expect.arrayContaining(['begins', 'stops', 'ended']));
  expect((await p.tally('run', p.job, '--contracts', p.contracts, '--log', 'log', '--data', 'data', '--until-end')).status).toBe(0);
  expect(await p.verified('data')).toMatchObject({ records: sales(0, 50).length });
});

test('the environment and flags reach a run as the file does, and text stays as it is for people', SLOW, async () => {
  const p = place();
  p.append(sales(0, 50));
  writeFileSync(p.path('tally.json'), JSON.stringify({ log: './nowhere', data: './data', contracts: './contracts', untilEnd: true }));
  process.env['TALLY_CONFIG'] = p.path('tally.json');
  const running = p.start(['run', p.job, '--log', 'log', '--json']);
  delete process.env['TALLY_CONFIG'];
  const done = await running.done;
  expect(done.status, done.stderr).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ job: 'sales', records: sales(0, 50).length });
  expect(done.stderr).toBe('');
});

test('who collects lines of JSON gets the reason of the end as one', SLOW, async () => {
  const p = place();
  p.append(sales(0, 10));
  const words = ['run', p.job, '--contracts', p.contracts, '--data', 'data', '--log-format', 'json'];
  const missing = await p.tally(...words, '--log', 'none');
  expect(missing.status).toBe(3);
  expect(linesOf(missing.stderr).at(-1)).toMatchObject({
    level: 'error',
    code: expect.stringMatching(/^E_[A-Z_]+$/),
    exit: 3,
    hint: expect.any(String),
  });
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  try {
    const { port } = taken.address() as AddressInfo;
    const refused = await p.tally(...words, '--log', 'log', '--http', `127.0.0.1:${port}`);
    expect(refused.status).toBe(3);
    expect(linesOf(refused.stderr)).toMatchObject([{ level: 'error', code: 'E_HTTP', message: expect.stringContaining(String(port)) }]);
  } finally {
    taken.close();
  }
});
