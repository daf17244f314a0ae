/**
 * What a person gets who has made a mistake, or whose disk has: one sentence with a code and the way out, the right exit code, no stack,
 * and nothing half done.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeTopic } from '../src/log/topics.ts';
import { JOB, Place, ROOT, sales } from './end-to-end-fixture.ts';
import type { Done } from './end-to-end-fixture.ts';

const SLOW = { timeout: 180_000 };
const p = new Place();
beforeAll(() => p.append(sales(0, 200), 2));
afterAll(() => p.remove());

/** One error and no more, and nothing on stdout. */
function expectFault(done: Done, code: string, exit: number, ...words: readonly (string | RegExp)[]): void {
  const lines = done.stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('tally: warning:'));
  expect(lines.length, done.stderr).toBe(2);
  expect(lines[0]).toMatch(new RegExp(`^tally: ${code}: .{10,}`));
  expect(lines[1]).toMatch(/^hint: .{10,}/);
  for (const word of words)
    expect(done.stderr).toMatch(typeof word === 'string' ? new RegExp(word.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : word);
  expect(done).toMatchObject({ status: exit, stdout: '' });
}

const run = (job: string, data: string, ...more: string[]): Promise<Done> =>
  p.tally('run', job, '--contracts', 'contracts', '--log', 'log', '--data', data, '--until-end', ...more);

for (const [what, from, to, words] of [
  ['a field that is not there', "sum(sale, 'total')", "sum(sale, 'totl')", ['totl', 'total', 'sale']],
  ['a dimension that is not there', "keyBy('shop')", "keyBy('shp')", ['shp', 'shop']],
  ['an optional dimension', "keyBy('shop')", "keyBy('paid_by')", ['paid_by', 'required']],
  ['a sum over text', "sum(sale, 'total')", "sum(sale, 'paid_by')", ['paid_by', /text|string/]],
  ['a condition on a field that is not there', "{ paid_by: 'card' }), revenue", "{ payed_by: 'card' }), revenue", ['payed_by', 'paid_by']],
  ['an id that is not there', "by: 'id'", "by: 'idd'", ['idd']],
  ['a contract that is not there', "contract('sale')", "contract('sael')", ['sael', 'sale']],
  ['a zone that is not there', "hour, { zone: 'Europe/Berlin' }", "hour, { zone: 'Europe/Berln' }", ['Europe/Berln']],
  ['a syntax error', '.read(sale)', '.read(sale', ['.ts']],
] as const) {
  test(`a job with ${what} is told by file, name and the nearest right one, and nothing is made`, SLOW, async () => {
    const file = p.path(`bad ${what.replaceAll(/\W+/g, '-')}.ts`);
    expect(JOB).toContain(from);
    writeFileSync(file, JOB.replace(from, to));
    expectFault(await run(file, 'never'), 'E_JOB', 2, path.basename(file), ...words);
    expect(existsSync(p.path('never'))).toBe(false);
  });
}

type Case = [what: string, words: readonly string[], code: string, exit: number, says: readonly (string | RegExp)[]];
const CASES: readonly Case[] = [
  ['a job that is not there', ['run', 'ads-insigths', '--log', 'log', '--data', 'never'], 'E_JOB', 2, ['ads-insights']],
  ['a file of a job that is not there', ['run', './none.ts', '--log', 'log', '--data', 'never'], 'E_JOB', 2, ['none.ts']],
  [
    'a log that is not there',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'lgo', '--data', 'never'],
    'E_LOG_MISSING',
    3,
    ['lgo'],
  ],
  [
    'a file in place of a log',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'sales.ts', '--data', 'never'],
    'E_LOG_MISSING',
    3,
    ['sales.ts'],
  ],
  [
    'a topic that is not there',
    ['run', 'telemetry', '--log', 'log', '--data', 'never'],
    'E_TOPIC_MISSING',
    3,
    ['telemetry.events', 'sales'],
  ],
  [
    'a Kafka that is not there',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'kafka://127.0.0.1:1', '--data', 'never'],
    'E_KAFKA_UNREACHABLE',
    3,
    ['127.0.0.1:1'],
  ],
  [
    'producing to a Kafka that is not there',
    ['produce', '--log', 'kafka://127.0.0.1:1', '--topic', 'sales'],
    'E_KAFKA_UNREACHABLE',
    3,
    ['127.0.0.1:1'],
  ],
  [
    'an address of Kafka with a password',
    ['generate', '--job', 'telemetry', '--log', 'kafka://me:secret@broker:9092', '--events', '10'],
    'E_KAFKA_ADDRESS',
    2,
    ['user or a password'],
  ],
  [
    'a log of another kind',
    ['verify', 'sales.ts', '--contracts', 'contracts', '--log', 's3://bucket/log', '--data', 'never'],
    'E_LOG_ADDRESS',
    2,
    ['s3://bucket/log'],
  ],
  [
    'a file in place of the data directory',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'log', '--data', 'sales.ts'],
    'E_NOT_WRITABLE',
    3,
    ['sales.ts'],
  ],
  [
    'a data directory below a file',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'log', '--data', 'sales.ts/data'],
    'E_NOT_WRITABLE',
    3,
    ['sales.ts/data'],
  ],
  ...(process.platform === 'linux'
    ? [
        [
          'a data directory where the system makes none',
          ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'log', '--data', '/proc/tally/data'],
          'E_NOT_WRITABLE',
          3,
          ['/proc/tally/data'],
        ] satisfies Case,
      ]
    : []),
  ['an unknown option', ['run', 'sales.ts', '--log', 'log', '--data', 'never', '--shard', '2'], 'E_USAGE', 2, ['--shard', '--shards']],
  ['--finish without an end', ['run', 'sales.ts', '--log', 'log', '--data', 'never', '--finish'], 'E_USAGE', 2, ['--until-end']],
  ['no number of shards', ['run', 'sales.ts', '--log', 'log', '--data', 'never', '--shards', 'two'], 'E_USAGE', 2, ['--shards', 'two']],
  [
    'more shards than partitions',
    ['run', 'sales.ts', '--contracts', 'contracts', '--log', 'log', '--data', 'never', '--shards', '3'],
    'E_SHARDS',
    2,
    ['--shards 2'],
  ],
  [
    'contracts that are not there',
    ['run', 'sales.ts', '--contracts', 'contrats', '--log', 'log', '--data', 'never'],
    'E_CONTRACT',
    2,
    ['contrats'],
  ],
  ['a query where nothing was run', ['query', '--data', 'never', 'SELECT 1'], 'E_DATA_MISSING', 2, ['never']],
  ['a status of nothing', ['status', '--data', 'never'], 'E_DATA_MISSING', 3, ['never']],
  ['a drop of nothing', ['drop', 'sales', '--data', 'never', '--yes'], 'E_DATA_MISSING', 3, ['never']],
  ['an audit of nothing', ['audit', 'verify', '--data', 'never'], 'E_DATA_MISSING', 3, ['never']],
  ['a drop without a yes', ['drop', 'sales', '--data', 'never'], 'E_USAGE', 2, ['--yes']],
  [
    'another number of partitions',
    ['produce', '--log', 'log', '--topic', 'sales', '--partitions', '3'],
    'E_PARTITIONS',
    2,
    ['2 partitions'],
  ],
  ['a file of lines that is not there', ['produce', '--log', 'log', '--topic', 'sales', 'none.jsonl'], 'E_INPUT', 3, ['none.jsonl']],
  ['a server that is not there', ['query', '--clickhouse', 'http://127.0.0.1:9/x', 'SELECT 1'], 'E_CLICKHOUSE_DOWN', 3, ['127.0.0.1:9']],
];
test.each(CASES)('%s is one clear error, and nothing is made', SLOW, async (_what, words, code, exit, says) => {
  const before = readdirSync(p.dir);
  expectFault(await p.tally(...words), code, exit, ...says);
  expect(readdirSync(p.dir)).toEqual(before);
});

for (const [what, file, text, words] of [
  ['no YAML', 'bad.yaml', 'id: [\n', []],
  ['no UTF-8', 'bad.yaml', Buffer.from([0x69, 0x64, 0x3a, 0xff, 0x0a]), ['UTF-8']],
  ['a directory', 'bad.yaml', undefined, []],
  ['no contract', 'bad.yaml', 'apiVersion: v3.1.0\nkind: DataContract\nid: x\n', []],
  [
    'an unknown type',
    'bad.yaml',
    'apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: active\nschema:\n  - name: x\n    properties:\n      - { name: a, logicalType: txt }\n',
    ['txt'],
  ],
] as const) {
  test(`a contract that is ${what} is told by its file`, SLOW, async () => {
    const dir = p.path(`contracts ${what.replaceAll(/\W+/g, '-')}`);
    mkdirSync(dir);
    if (text === undefined) mkdirSync(path.join(dir, file));
    else writeFileSync(path.join(dir, file), text);
    expectFault(await p.tally('run', 'sales.ts', '--log', 'log', '--data', 'never', '--contracts', dir), 'E_CONTRACT', 2, file, ...words);
    expect(existsSync(p.path('never'))).toBe(false);
  });
}

test('questions that are wrong or would write are refused, and an empty topic is fine', SLOW, async () => {
  makeTopic(p.path('empty'), 'sales', 1);
  const done = await p.tally(
    'run',
    'sales.ts',
    '--contracts',
    'contracts',
    '--log',
    'empty',
    '--data',
    'empty-data',
    '--until-end',
    '--finish',
    '--json',
  );
  expect(done.status, done.stderr).toBe(0);
  expect(done.stdout.trimEnd().split('\n')).toHaveLength(1);
  const summary = JSON.parse(done.stdout) as Record<string, unknown>;
  expect(Object.keys(summary)).toEqual([
    'job',
    'generation',
    'records',
    'classes',
    'codes',
    'seconds',
    'events_per_second',
    'peak_rss_bytes',
  ]);
  expect(summary).toMatchObject({
    job: 'sales',
    generation: 1,
    records: 0,
    classes: { counted: 0, duplicate: 0, conflict: 0, quarantined: 0 },
    codes: {},
    events_per_second: 0,
  });
  expect(done.stderr).toBe('');
  const verified = await p.tally('verify', 'sales.ts', '--contracts', 'contracts', '--log', 'empty', '--data', 'empty-data');
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  // While a run is on, one engine answers all.
  const live = p.start(['run', 'sales.ts', '--contracts', 'contracts', '--log', 'empty', '--data', 'empty-data']);
  for (let i = 0; i < 600 && !existsSync(p.path('empty-data', 'clickhouse', 'connection.json')); i++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  const ask = (...words: string[]): Promise<Done> => p.tally('query', '--data', 'empty-data', ...words);
  expectFault(await ask('SELEC 1'), 'E_QUERY', 2);
  expectFault(await ask('SELECT nope FROM sales_hourly'), 'E_QUERY', 2, 'nope');
  expectFault(await ask('SELECT * FROM sales_hurly'), 'E_QUERY', 2, 'sales_hurly');
  for (const write of [
    'DROP VIEW sales_hourly',
    'INSERT INTO tally_books SELECT * FROM tally_books',
    'CREATE TABLE t (a Int8) ENGINE = Memory',
    'ALTER TABLE tally_audit DELETE WHERE 1',
    'TRUNCATE TABLE tally_progress',
  ]) {
    expectFault(await ask(write), 'E_QUERY', 2);
  }
  expectFault(await ask('--format', 'JSONEachRwo', 'SELECT 1'), 'E_QUERY', 2, 'JSONEachRwo');
  expectFault(await ask('  '), 'E_QUERY', 2);
  expect(await ask('SELECT 1 AS one')).toMatchObject({ status: 0, stdout: 'one\n1\n' });
  live.child.kill('SIGTERM');
  expect((await live.done).status).toBe(0);
  // The state is as it was; another job may not write these tables, and says whose they are.
  writeFileSync(p.path('thief.ts'), JOB.replace("topology('sales')", "topology('thief')"));
  const taken = await p.tally('run', 'thief.ts', '--contracts', 'contracts', '--log', 'empty', '--data', 'empty-data', '--until-end');
  expectFault(taken, 'E_TABLE_TAKEN', 2, /sales_(hourly|daily)/, 'the job sales', 'thief');
  expect(
    (await p.tally('run', 'sales.ts', '--contracts', 'contracts', '--log', 'empty', '--data', 'empty-data', '--until-end')).status,
  ).toBe(0);
  expect(readdirSync(p.path('empty-data'))).not.toContain('thief');
  writeFileSync(p.path('thief.ts'), JOB.replace("topology('sales')", "topology('thief')").replaceAll("'sales_", "'honest_"));
  const honest = await p.tally('run', 'thief.ts', '--contracts', 'contracts', '--log', 'log', '--data', 'empty-data', '--until-end');
  expect(honest.status, honest.stderr).toBe(0);
  const audit = await p.tally('audit', 'verify', '--data', 'empty-data');
  expect(audit.status, audit.stdout).toBe(0);
});

/** A small disk of one's own takes a mount namespace, and that takes rights. */
const mayMount =
  process.platform === 'linux' && spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=1m tmpfs /mnt']).status === 0;

/** Runs the words with `mounted` as a file system of its own. */
function mounted(how: string, words: readonly string[]): Promise<Done> {
  const script = `${how} && exec "$@"`;
  return p.start(words, ['unshare', '-m', 'sh', '-c', script, 'sh', process.execPath, path.join(ROOT, 'src', 'cli', 'main.ts')]).done;
}

test.skipIf(!mayMount)('a data directory on a read-only disk is refused (needs the right to mount)', SLOW, async () => {
  mkdirSync(p.path('readonly'));
  for (const data of ['readonly', 'readonly/deeper']) {
    const done = await mounted('mount -t tmpfs -o ro tmpfs readonly', [
      'run',
      'sales.ts',
      '--contracts',
      'contracts',
      '--log',
      'log',
      '--data',
      data,
      '--until-end',
    ]);
    expectFault(done, 'E_NOT_WRITABLE', 3, data);
  }
});

test.skipIf(!mayMount)(
  'a full disk stops a run, a producer and a generator with one error, and what was written is whole (needs the right to mount)',
  SLOW,
  async () => {
    p.append(sales(200, 30_000), 2, 1 << 18);
    mkdirSync(p.path('small'));
    for (const size of ['400k', '2m', '8m', '24m']) {
      const done = await mounted(`mount -t tmpfs -o size=${size} tmpfs small`, [
        'run',
        'sales.ts',
        '--contracts',
        'contracts',
        '--log',
        'log',
        '--data',
        'small',
        '--until-end',
      ]);
      if (size === '24m' && done.status === 0) continue;
      expectFault(done, 'E_DISK_FULL', 3);
    }
    const generated = await mounted('mount -t tmpfs -o size=1m tmpfs small', [
      'generate',
      '--job',
      'telemetry',
      '--log',
      'small',
      '--events',
      '200000',
    ]);
    expectFault(generated, 'E_DISK_FULL', 3);
    writeFileSync(
      p.path('lines'),
      sales(0, 40_000)
        .map((l) => l.text)
        .join('\n'),
    );
    const produced = await mounted('mount -t tmpfs -o size=300k tmpfs small', ['produce', '--log', 'small', '--topic', 'sales', 'lines']);
    expectFault(produced, 'E_DISK_FULL', 3);
  },
);
