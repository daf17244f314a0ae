/** `tally query` as a user meets it: its answers, its formats, its refusals and exit codes, with a run's engine and without one. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BrokenAnswer, untilException } from '../src/clickhouse/answer.ts';
import { command, parseEndpoint } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import { rig } from './clickhouse-fixture.ts';
import type { Rig } from './clickhouse-fixture.ts';

const MAIN = path.join(import.meta.dirname, '..', 'src', 'cli', 'main.ts');
let r: Rig, idle: string;
beforeAll(async () => {
  r = await rig();
  await command(r.writer, 'CREATE TABLE t (a Int64, d Decimal(38, 6)) ENGINE = MergeTree ORDER BY a');
  await command(r.writer, "INSERT INTO t VALUES (9007199254740993, '0.000001')");
  idle = path.join(r.data, 'idle');
  const engine = await startEngine({ dir: path.join(idle, 'clickhouse') });
  await engine.stop();
});
afterAll(() => r.close());

interface Said {
  readonly exit: number | null;
  readonly out: string;
  readonly err: string;
}
function tally(args: readonly string[], env: Record<string, string> = {}): Promise<Said> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, 'query', ...args],
      { env: { ...process.env, ...env }, maxBuffer: 1 << 28 },
      (_, out, err) => resolve({ exit: child.exitCode, out, err }),
    );
  });
}
const ask = (...args: string[]): Promise<Said> => tally(['--data', r.data, ...args]);

test('answers while the engine of a run is on, and writes the format that was asked for', async () => {
  const [plain, json, own, own2] = await Promise.all([
    ask('SELECT * FROM t'),
    ask('--format', 'JSONEachRow', 'SELECT * FROM t'),
    ask('SELECT a FROM t FORMAT CSV'),
    ask('--format', 'RowBinary', 'SELECT toUInt8(65)'),
  ]);
  expect(plain).toEqual({ exit: 0, out: 'a\td\n9007199254740993\t0.000001\n', err: '' });
  expect(json.out).toBe('{"a":"9007199254740993","d":"0.000001"}\n');
  expect(own.out).toBe('9007199254740993\n');
  expect(own2.out).toBe('A');
});

test('starts an engine when none is on; several at once wait for each other, and none is left', async () => {
  const answers = await Promise.all([1, 2, 3].map((n) => tally(['--data', idle, `SELECT ${n} AS n`])));
  expect(answers).toEqual([1, 2, 3].map((n) => ({ exit: 0, out: `n\n${n}\n`, err: '' })));
  expect(fs.existsSync(path.join(idle, 'clickhouse', 'connection.json'))).toBe(false);
  const next = await startEngine({ dir: path.join(idle, 'clickhouse'), lockWaitMs: 0 });
  await next.stop();
});

test('a connection.json that a killed run left behind does not mislead', async () => {
  fs.writeFileSync(path.join(idle, 'clickhouse', 'connection.json'), JSON.stringify({ ...r.engine.reader, password: 'old' }));
  expect((await tally(['--data', idle, 'SELECT 1 AS n'])).out).toBe('n\n1\n');
});

test('wrong SQL is one clear line, exit 2', async () => {
  const said = await Promise.all([
    ask('SELEC 1'),
    ask('SELECT * FROM nowhere'),
    ask('DROP TABLE t'),
    ask("INSERT INTO t VALUES (1, '1')"),
    ask('SELECT 1; SELECT 2'),
    ask('--format', 'Nope', 'SELECT 1'),
    ask(' '),
  ]);
  for (const { exit, out, err } of said) {
    expect([exit, out]).toEqual([2, '']);
    expect(err).toMatch(/^tally: E_QUERY: [^\n]+\.\nhint: [^\n]+\n$/);
    expect(err).not.toMatch(/DB::|version|Code:|\bat .*:\d+/);
  }
  expect(said[1]!.err).toContain('nowhere');
  expect(said[2]!.err).toContain('only reads');
  expect((await ask('SELECT a FROM t')).out).toBe('a\n9007199254740993\n');
});

test('wrong use and missing data say so', async () => {
  const [neither, both, missing, nothing, down, scheme] = await Promise.all([
    tally(['SELECT 1']),
    tally(['--data', 'x', '--clickhouse', 'http://h', 'SELECT 1']),
    tally(['--data', path.join(r.data, 'nope'), 'SELECT 1']),
    tally(['--data', import.meta.dirname, 'SELECT 1']),
    tally(['--clickhouse', 'http://127.0.0.1:1', 'SELECT 1']),
    tally(['--clickhouse', 'kafka://h', 'SELECT 1']),
  ]);
  expect([neither.exit, both.exit, missing.exit, nothing.exit, down.exit, scheme.exit]).toEqual([2, 2, 2, 2, 3, 2]);
  expect([neither, both, missing, nothing, down, scheme].map((s) => /E_[A-Z_]+/.exec(s.err)![0])).toEqual([
    'E_USAGE',
    'E_USAGE',
    'E_DATA_MISSING',
    'E_DATA_MISSING',
    'E_CLICKHOUSE_DOWN',
    'E_CLICKHOUSE_URL',
  ]);
  expect(fs.existsSync(path.join(r.data, 'nope'))).toBe(false);
});

test('an answer that breaks off in the middle is no answer: exit 3', async () => {
  const said = await ask("SELECT throwIf(number = 3000000, 'enough') FROM numbers(5000000)");
  expect(said.exit).toBe(3);
  expect(said.err).toMatch(/^tally: E_QUERY: The answer broke off: [^\n]+\n/);
  expect(said.out).not.toContain('exception');
  const much = await ask('SELECT groupArray(number) FROM numbers(1000000000)');
  expect([much.exit, much.err.includes('memory limit')]).toEqual([3, true]);
});

test('the error at the end of an answer is cut off it, wherever the bytes are split', async () => {
  const tag = 'abcdefghijklmnop',
    body = Buffer.from(
      `1\n2\n\r\n__exception__\r\n${tag}\r\nCode: 395. DB::Exception: boom. (THROWN) (version 1.2)\n52 ${tag}\r\n__exception__\r\n`,
    );
  for (let cut = 0; cut <= body.length; cut++) {
    const got: Uint8Array[] = [],
      chunks = (async function* () {
        yield body.subarray(0, cut);
        yield body.subarray(cut);
      })();
    await expect(
      (async () => {
        for await (const bytes of untilException(chunks, tag)) got.push(bytes);
      })(),
    ).rejects.toThrow(BrokenAnswer);
    expect(Buffer.concat(got).toString()).toBe('1\n2\n');
  }
});

test('a reader that stops reading ends it quietly', async () => {
  const child = spawn(process.execPath, [MAIN, 'query', '--data', r.data, 'SELECT * FROM numbers(100000000)'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let err = '';
  child.stderr.on('data', (d: Buffer) => (err += d.toString()));
  await once(child.stdout, 'data');
  child.stdout.destroy();
  const [exit] = (await once(child, 'exit')) as [number];
  expect([exit, err]).toEqual([0, '']);
});

test('a server elsewhere is asked read only; its password may come by the environment', async () => {
  const admin = `http://${r.engine.admin.username}@127.0.0.1:${r.engine.port}/tally`,
    env = { TALLY_CLICKHOUSE_PASSWORD: r.engine.admin.password };
  expect((await tally(['--clickhouse', admin, 'SELECT a FROM t'], env)).out).toBe('a\n9007199254740993\n');
  const write = await tally(['--clickhouse', admin, "INSERT INTO t VALUES (1, '1')"], env);
  expect([write.exit, write.err.includes('only reads')]).toEqual([2, true]);
  const refused = await tally(['--clickhouse', admin, 'SELECT 1'], { TALLY_CLICKHOUSE_PASSWORD: 'wrong' });
  expect([refused.exit, /E_CLICKHOUSE_AUTH/.test(refused.err), refused.err.includes('wrong')]).toEqual([3, true, false]);
});

test('a user that may choose no settings is asked without them', async () => {
  const server = http
    .createServer((request, response) => {
      request.resume();
      if (/readonly=2/.test(request.url!))
        response
          .writeHead(500, { 'x-clickhouse-exception-code': '164' })
          .end("Code: 164. DB::Exception: Cannot modify 'readonly' setting in readonly mode. (READONLY) (version 1)");
      else response.end(`${new URL(request.url!, 'http://h').searchParams.get('default_format')}\n`);
    })
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const said = await tally(['--clickhouse', `http://127.0.0.1:${(server.address() as AddressInfo).port}`, '--format', 'CSV', 'SELECT 1']);
  expect(said).toEqual({ exit: 0, out: 'CSV\n', err: '' });
  server.close();
});

test('a URL for people becomes an endpoint', () => {
  expect(parseEndpoint('http://ana%40x:p%2Fw@h:8123/db', {})).toEqual({
    url: 'http://h:8123',
    username: 'ana@x',
    password: 'p/w',
    database: 'db',
  });
  expect(parseEndpoint('https://h', { TALLY_CLICKHOUSE_PASSWORD: 'e' })).toEqual({
    url: 'https://h',
    username: 'default',
    password: 'e',
    database: 'tally',
  });
  for (const text of ['h:8123', 'ftp://h', 'http://h/a;b', '']) expect(() => parseEndpoint(text, {})).toThrow(/--clickhouse/);
});
