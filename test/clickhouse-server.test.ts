/** A ClickHouse server elsewhere: what counts as acknowledged, what is refused at the start, TLS and passwords, and who may do what. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { connect, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeClient, parseEndpoint, rows } from '../src/clickhouse/client.ts';
import { ERROR_CODES } from '../src/clickhouse/error-codes.ts';
import type { Endpoint } from '../src/clickhouse/engine.ts';
import { migrate } from '../src/clickhouse/schema.ts';
import { checkServer } from '../src/clickhouse/server.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { ROWS_TARGET, cell, plan, rowBytes, sleep } from './clickhouse-fixture.ts';
import { fakeServer, freePort, startServer, tlsFront } from './clickhouse-server-fixture.ts';
import type { Server } from './clickhouse-server-fixture.ts';
import { Place, sales } from './end-to-end-fixture.ts';

const ROWS = 'hourly_g1_rows';
const m = { plan, generation: 1, shards: 1, instance: '' };

/** The grants that deploy/clickhouse-users.sql gives, as the embedded engine takes them: by XML. */
function usersOfSql(): string {
  const sql = fs.readFileSync(path.join(import.meta.dirname, '../deploy/clickhouse-users.sql'), 'utf8');
  return ['writer', 'promoter', 'reader', 'migrator']
    .map((who) => {
      const grants = [...sql.matchAll(new RegExp(`^(GRANT .*) TO tally_${who};$`, 'gm'))].map((g) => `<query>${g[1]}</query>`);
      expect(grants.length, who).toBeGreaterThan(2);
      const profile = who === 'reader' ? 'reader' : 'default';
      return `<tally_${who}><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>${profile}</profile><quota>default</quota><grants>${grants.join('')}</grants></tally_${who}>`;
    })
    .join('');
}
const user = (name: string, profile: string): string =>
  `<${name}><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>${profile}</profile><quota>default</quota></${name}>`;

let server: Server;
beforeAll(async () => {
  server = await startServer({
    users: `${usersOfSql()}${user('buffered', 'buffered')}${user('nothing_but_select', 'frozen')}`,
    profiles:
      '<buffered><async_insert>1</async_insert><constraints><async_insert><readonly/></async_insert></constraints></buffered>' +
      '<frozen><readonly>1</readonly></frozen>',
    xml: '<access_control_improvements><table_engines_require_grant>true</table_engines_require_grant><select_from_system_db_requires_grant>true</select_from_system_db_requires_grant></access_control_improvements>',
  });
});
afterAll(() => server.close());

const fault = async (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'nothing',
    (e: { code?: string; message: string; hint?: string }) => `${e.code}: ${e.message} ${e.hint}`,
  );
async function withClient<T>(endpoint: Endpoint, use: (client: ReturnType<typeof makeClient>) => Promise<T>): Promise<T> {
  const client = makeClient(endpoint, { connections: 2 });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}
const insertOne = async (endpoint: Endpoint, o = {}): Promise<boolean> => {
  const sink = new Sink(endpoint, { retryMsMax: 5, ...o });
  try {
    return await sink.insert(ROWS_TARGET, rowBytes([cell({})]), 1);
  } finally {
    await sink.close();
  }
};

test('the migrator makes the tables, the writer finds them right and counts, and neither may do more', async () => {
  const migrator = server.as('tally_migrator', 'p'),
    writer = server.as('tally_writer', 'p');
  // The writer may not make what is missing, and says who may.
  expect(await fault(checkServer(writer))).toMatch(/^E_CLICKHOUSE_GRANT: The database tally .*tally clickhouse migrate/);
  await checkServer(migrator);
  expect(await fault(withClient(writer, (c) => migrate(c, m)))).toMatch(
    /^E_CLICKHOUSE_GRANT: The table tally_books_rows is missing.*tally clickhouse migrate/,
  );
  const made = await withClient(migrator, (c) => migrate(c, m));
  expect(made).toEqual(
    expect.arrayContaining(['tally_tables_rows', ROWS, 'hourly_changes_g1_rows', 'hourly', 'hourly_live', 'tally_books']),
  );
  expect(await withClient(migrator, (c) => migrate(c, m))).toEqual([]);
  await checkServer(writer);
  expect(await withClient(writer, (c) => migrate(c, { ...m, instance: 'i1' }))).toEqual([]);
  expect(await withClient(writer, (c) => migrate(c, { ...m, instance: 'i1' }))).toEqual([]);
  // A migration on the side does not take the tables from the state that fills them.
  await withClient(migrator, (c) => migrate(c, m));
  expect(await server.ask("SELECT DISTINCT instance FROM tally.tally_tables_rows FINAL WHERE job = 'ads'")).toEqual([{ instance: 'i1' }]);
  expect(await insertOne(writer)).toBe(true);
  const asReader = (sql: string): Promise<unknown> => withClient(server.as('tally_reader', 'p'), (c) => rows(c, sql));
  expect(await asReader('SELECT country, clicks FROM hourly_live')).toEqual([{ country: 'de', clicks: '1' }]);
  for (const [who, sql] of [
    ['tally_reader', `INSERT INTO ${ROWS} (country) VALUES ('x')`],
    ['tally_reader', 'CREATE TABLE x (a Int64) ENGINE = Memory'],
    ['tally_writer', `DROP TABLE ${ROWS}`],
    ['tally_writer', `TRUNCATE TABLE ${ROWS}`],
    ['tally_writer', 'CREATE TABLE x (a Int64) ENGINE = ReplacingMergeTree ORDER BY a'],
    ['tally_writer', `ALTER TABLE ${ROWS} DELETE WHERE 1`],
    ['tally_migrator', `DROP TABLE ${ROWS}`],
    ['tally_migrator', `INSERT INTO ${ROWS} (country) VALUES ('x')`],
    ['tally_promoter', `INSERT INTO ${ROWS} (country) VALUES ('x')`],
  ] as const)
    expect(await fault(withClient(server.as(who, 'p'), (c) => c.command({ query: sql }))), `${who}: ${sql}`).toMatch(/^(497|164): /);
});

test('a view that is out of date is replaced by the migrator, and refused to the writer', async () => {
  const two = { ...m, shards: 2, instance: 'i1' };
  expect(await fault(withClient(server.as('tally_writer', 'p'), (c) => migrate(c, two)))).toMatch(/^E_CLICKHOUSE_GRANT: The view hourly/);
  expect((await withClient(server.as('tally_migrator', 'p'), (c) => migrate(c, two))).toSorted()).toEqual([
    'hourly',
    'hourly_changes',
    'hourly_live',
  ]);
  expect(await withClient(server.as('tally_writer', 'p'), (c) => migrate(c, two))).toEqual([]);
  await withClient(server.as('tally_migrator', 'p'), (c) => migrate(c, m));
});

test('users, profiles and grants are statements that ClickHouse understands', async () => {
  const sql = fs.readFileSync(path.join(import.meta.dirname, '../deploy/clickhouse-users.sql'), 'utf8');
  const statements = sql
    .replaceAll(/^--.*$/gm, '')
    .split(';')
    .map((s) => s.trim())
    .filter((s) => s !== '');
  expect(statements.length).toBeGreaterThan(20);
  for (const statement of statements) expect((await server.ask(`EXPLAIN AST ${statement}`)).length, statement).toBeGreaterThan(0);
  expect(await fault(server.ask(`EXPLAIN AST ${statements.at(-1)!.replace('SELECT', 'SELEKT')}`))).toMatch(/E_CLICKHOUSE/);
});

test('an answer counts only when it says that all rows are written', async () => {
  const summary = (n: number): Record<string, string> => ({ 'x-clickhouse-summary': `{"read_rows":"1","written_rows":"${n}"}` });
  const answers: [what: string, answer: { status?: number; headers?: Record<string, string>; body?: string }][] = [
    [
      'an exception in the headers',
      { headers: { ...summary(1), 'x-clickhouse-exception-code': '241' }, body: 'Code: 241. DB::Exception: x. (MEMORY_LIMIT_EXCEEDED)' },
    ],
    [
      'an exception in the body alone',
      { headers: summary(1), body: '__exception__\r\nCode: 241. DB::Exception: x. (MEMORY_LIMIT_EXCEEDED)' },
    ],
    ['another status', { status: 202, headers: summary(1) }],
    ['too few rows', { headers: summary(0) }],
    ['too many rows', { headers: summary(2) }],
    ['no summary', {}],
    [
      'too many parts',
      {
        status: 500,
        headers: { 'x-clickhouse-exception-code': '252' },
        body: 'Code: 252. DB::Exception: Too many parts. (TOO_MANY_PARTS)',
      },
    ],
    ['a proxy', { status: 503, body: '<h1>no</h1>' }],
  ];
  for (const [what, bad] of answers) {
    const fake = await fakeServer((query, n) =>
      query.startsWith('INSERT') ? (n < 3 ? bad : { headers: summary(1) }) : { body: '{"engine":"ReplacingMergeTree"}\n' },
    );
    expect(await insertOne({ ...server.admin, url: fake.url }), what).toBe(true);
    expect(fake.inserts.length, what).toBe(3);
    expect(fake.inserts[0], what).toMatch(/async_insert=0&insert_deduplicate=0&wait_end_of_query=1/);
    await fake.close();
  }
});

test('a table that answers with other numbers again and again ends the run, and is named', async () => {
  await server.do('CREATE TABLE tally.copy (a String) ENGINE = MergeTree ORDER BY a');
  await server.do(`CREATE MATERIALIZED VIEW tally.copies TO tally.copy AS SELECT country AS a FROM tally.${ROWS}`);
  expect(await fault(insertOne(server.admin))).toMatch(new RegExp(`^E_CLICKHOUSE_ROWS: .*${ROWS}.* wrote 2 rows of 1.*materialized view`));
  await server.do('DROP VIEW tally.copies SYNC');
  expect(await insertOne(server.admin)).toBe(true);
});

test('every code of the table does what the table says', async () => {
  expect(ERROR_CODES.size).toBeGreaterThan(50);
  for (const [code, { verdict, name }] of ERROR_CODES) {
    const no = {
      status: 500,
      headers: { 'x-clickhouse-exception-code': code },
      body: `Code: ${code}. DB::Exception: because. (${name}) (version 26.7.2.1)\n`,
    };
    const fake = await fakeServer((_, n) => (n < 2 ? no : { headers: { 'x-clickhouse-summary': '{"written_rows":"1"}' } }));
    const came = await fault(insertOne({ ...server.admin, url: fake.url }));
    if (verdict === 'retry') expect([came, fake.inserts.length], name).toEqual(['nothing', 2]);
    else expect([came.split(':')[0]!.startsWith('E_'), fake.inserts.length], name).toEqual([true, 1]);
    await fake.close();
  }
});

test('codes and names are those of ClickHouse itself', async () => {
  const found = await server.ask(
    `SELECT toString(c) AS code, errorCodeToName(c) AS name FROM (SELECT arrayJoin([${[...ERROR_CODES.keys()].join(', ')}]) AS c)`,
  );
  expect(found.map((f) => `${f['code']} ${f['name']}`)).toEqual([...ERROR_CODES].map(([code, { name }]) => `${code} ${name}`));
});

test('a server that is old, that is none, or whose profile forbids the settings is refused before anything is made', async () => {
  const versions: [string, RegExp][] = [
    ['24.3.1.1', /^E_CLICKHOUSE_VERSION: .*24\.3\.1\.1.*25\.8/],
    ['25.7.9.1', /^E_CLICKHOUSE_VERSION/],
    ['25.8.1.1', /^nothing/],
    ['127.0.1.1', /^nothing/],
    ['PostgreSQL 16', /^E_CLICKHOUSE_VERSION: .*PostgreSQL 16.*no version of ClickHouse/],
  ];
  for (const [version, expected] of versions) {
    const fake = await fakeServer((query) => ({
      body: query.includes('version()') ? version : query.includes('getSetting') ? '0\t0\t1\tauto\n' : '1\n',
    }));
    expect(await fault(checkServer({ ...server.admin, url: fake.url })), version).toMatch(expected);
    await fake.close();
  }
  expect(await fault(checkServer(server.as('buffered', 'p')))).toMatch(/^E_CLICKHOUSE_SETTINGS: .*async_insert/);
  expect(await fault(checkServer(server.as('nothing_but_select', 'p')))).toMatch(/^E_CLICKHOUSE_SETTINGS: .*readonly/i);
  const silent = await fakeServer((query) => ({
    body: query.includes('version()') ? '26.1.1.1' : query.includes('getSetting') ? '1\t0\t1\tauto\n' : '1\n',
  }));
  expect(await fault(checkServer({ ...server.admin, url: silent.url }))).toMatch(
    /^E_CLICKHOUSE_SETTINGS: .*async_insert is 1, and must be 0/,
  );
  await silent.close();
});

test('wrong places and wrong passwords are one sentence; what may heal is asked again', async () => {
  expect(await fault(checkServer({ ...server.admin, password: 'geheim' }))).toMatch(/^E_CLICKHOUSE_AUTH(?!.*geheim)/);
  expect(await fault(checkServer({ ...server.admin, url: 'http://no-such-host.invalid:8123' }))).toMatch(
    /^E_CLICKHOUSE_DOWN: .*no-such-host\.invalid/,
  );
  const port = await freePort(),
    never = checkServer({ ...server.admin, url: `http://127.0.0.1:${port}` });
  expect(await fault(never)).toMatch(new RegExp(`^E_CLICKHOUSE_DOWN: .*127.0.0.1:${port}`));
});

test('a server that starts a moment later than Tally is waited for', async () => {
  const port = await freePort(),
    checked = checkServer({ ...server.admin, url: `http://127.0.0.1:${port}` }).then(() => 'checked');
  await sleep(600);
  const { hostname, port: at } = new URL(server.url);
  const late = createServer((socket) => {
    const on = connect(Number(at), hostname);
    socket
      .on('error', () => {})
      .pipe(on.on('error', () => {}))
      .pipe(socket);
  }).listen(port, '127.0.0.1');
  expect(await checked).toBe('checked');
  late.close();
});

test("TLS: an authority of one's own, a certificate of our own, and what is wrong with either", async () => {
  const front = await tlsFront(server.url);
  const trusted = { ...server.admin, url: front.url, caFile: front.caFile };
  await checkServer(trusted);
  expect(await insertOne(trusted)).toBe(true);
  expect(await fault(checkServer({ ...server.admin, url: front.url }))).toMatch(/^E_CLICKHOUSE_TLS: .*TALLY_CLICKHOUSE_CA_FILE/);
  const other = front.url.replace('localhost', '127.0.0.1');
  expect(await fault(checkServer({ ...trusted, url: other }))).toMatch(/^E_CLICKHOUSE_TLS: .*another name/);
  expect(await fault(checkServer({ ...trusted, url: server.url.replace('http:', 'https:') }))).toMatch(/^E_CLICKHOUSE_TLS: .*http:\/\//);
  expect(await fault(checkServer({ ...trusted, caFile: '/nowhere/ca.crt' }))).toMatch(/^E_SECRET_MISSING: .*\/nowhere\/ca\.crt.*ENOENT/);
  await front.close();
  const mutual = await tlsFront(server.url, { wantsClient: true });
  const known = { ...server.admin, url: mutual.url, caFile: mutual.caFile, certFile: mutual.certFile, keyFile: mutual.keyFile };
  await checkServer(known);
  expect(await insertOne(known)).toBe(true);
  const { certFile: _, keyFile: __, ...unknown } = known;
  expect(await fault(checkServer(unknown))).toMatch(/^E_CLICKHOUSE_TLS: .*TALLY_CLICKHOUSE_CERT_FILE/);
  await mutual.close();
});

test('a password comes from a file, is read again when it changes, and is never shown', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-secret-')),
    file = path.join(dir, 'password');
  const url = `http://writer@${new URL(server.url).host}/tally`;
  fs.writeFileSync(file, 'w\n');
  const endpoint = parseEndpoint(url, { TALLY_CLICKHOUSE_PASSWORD_FILE: file, TALLY_CLICKHOUSE_PASSWORD: 'no' });
  await checkServer(endpoint);
  const sink = new Sink(endpoint, { retryMsMax: 5 }),
    one = (): Promise<boolean> => sink.insert(ROWS_TARGET, rowBytes([cell({})]), 1);
  expect(await one()).toBe(true);
  fs.writeFileSync(file, 'wrong-and-secret');
  expect(await fault(one())).toMatch(/^E_CLICKHOUSE_AUTH(?!.*wrong-and-secret)/);
  fs.writeFileSync(file, 'w');
  expect(await one()).toBe(true);
  // Away for a moment, as while a mounted secret is exchanged.
  fs.rmSync(file);
  expect(await one()).toBe(true);
  await sink.close();
  // Changed here and there while an insert was on its way: the next attempt has the new one.
  fs.writeFileSync(file, 'old');
  const fake = await fakeServer((_, n) => {
    if (n > 1) return { headers: { 'x-clickhouse-summary': '{"written_rows":"1"}' } };
    fs.writeFileSync(file, 'new');
    return {
      status: 403,
      headers: { 'x-clickhouse-exception-code': '516' },
      body: 'Code: 516. DB::Exception: no. (AUTHENTICATION_FAILED)',
    };
  });
  expect([await insertOne({ ...endpoint, url: fake.url }), fake.inserts.length]).toEqual([true, 2]);
  await fake.close();
  expect(await fault(checkServer(parseEndpoint(url, { TALLY_CLICKHOUSE_PASSWORD_FILE: path.join(dir, 'none') })))).toMatch(
    /^E_SECRET_MISSING: .*none.*ENOENT/,
  );
  expect(JSON.stringify(endpoint)).not.toContain('"w"');
  fs.rmSync(dir, { recursive: true });
});

test('tally clickhouse migrate makes the tables of a job, and says what it made', () => {
  const root = path.dirname(import.meta.dirname);
  const run = (...args: string[]): string =>
    execFileSync(
      process.execPath,
      [
        'src/cli/main.ts',
        'clickhouse',
        'migrate',
        'ads-insights',
        '--clickhouse',
        `http://writer@${new URL(server.url).host}/fresh`,
        ...args,
      ],
      {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, TALLY_CLICKHOUSE_PASSWORD: 'w' },
      },
    );
  expect((JSON.parse(run('--json')) as { made: string[] }).made).toEqual(
    expect.arrayContaining(['ads_hourly_g1_rows', 'ads_hourly_live', 'tally_tables_rows']),
  );
  expect((JSON.parse(run('--json')) as { made: string[] }).made).toEqual([]);
});

test('a job counts as the writer and is verified as the reader, each with no more than its rights', { timeout: 180_000 }, async () => {
  const place = new Place();
  try {
    process.env['TALLY_CLICKHOUSE_PASSWORD'] = 'p';
    const url = (who: string): string => `http://tally_${who}@${new URL(server.url).host}/tally`,
      common = ['--contracts', place.contracts];
    place.append(sales(0, 3000));
    place.append(sales(1000, 1500));
    const run = [
      'run',
      place.job,
      ...common,
      '--log',
      place.log,
      '--data',
      place.path('data'),
      '--clickhouse',
      url('writer'),
      '--until-end',
      '--finish',
    ];
    const early = await place.tally(...run);
    expect([early.status, early.stderr]).toEqual([
      3,
      expect.stringMatching(/E_CLICKHOUSE_GRANT: The table sales_hourly_g1_rows .*\nhint: .*tally clickhouse migrate/),
    ]);
    expect(await place.tally('clickhouse', 'migrate', place.job, ...common, '--clickhouse', url('migrator'))).toMatchObject({ status: 0 });
    expect(await place.tally(...run)).toMatchObject({ status: 0 });
    expect(await place.tally('verify', place.job, ...common, '--log', place.log, '--clickhouse', url('reader'))).toMatchObject({
      status: 0,
    });
    expect(await server.ask("SELECT count() > 1 AS n FROM tally.tally_audit WHERE job = 'sales'")).toEqual([{ n: 1 }]);
  } finally {
    delete process.env['TALLY_CLICKHOUSE_PASSWORD'];
    await place.remove();
  }
});

test('rows of more months than ClickHouse takes in one insert as a rule are taken', async () => {
  const cells = Array.from({ length: 150 }, (_, i) => cell({ start: Date.UTC(2010, i, 1) / 1000, country: 'months' }));
  const sink = new Sink(server.admin, { retryMsMax: 5 });
  expect(await sink.insert(ROWS_TARGET, rowBytes(cells), cells.length)).toBe(true);
  expect(await server.ask(`SELECT count() AS n FROM tally.${ROWS} FINAL WHERE country = 'months'`)).toEqual([{ n: '150' }]);
  await sink.close();
});
