/** The embedded engine as a process: who may do what in it, that it ends when it must, and that nothing acknowledged is lost by that. */
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { command, makeClient, rows } from '../src/clickhouse/client.ts';
import { isAlive, readConnection } from '../src/clickhouse/connection.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { superviseEngine } from '../src/clickhouse/supervise.ts';
import { unwrittenFiles } from '../src/clickhouse/unwritten.ts';
import { isRunning, rig, sleep } from './clickhouse-fixture.ts';
import type { Rig } from './clickhouse-fixture.ts';

let r: Rig;
const secret = path.join(os.tmpdir(), `tally-secret-${process.pid}`);
beforeAll(async () => {
  fs.writeFileSync(secret, 'secret');
  r = await rig();
  await command(r.writer, 'CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a');
  await command(r.writer, 'INSERT INTO t VALUES (1)');
});
afterAll(async () => {
  await r.close();
  fs.rmSync(secret, { force: true });
});

test('connection.json is for its owner alone and lets any client in', async () => {
  const file = path.join(r.dir, 'connection.json'),
    c = readConnection(r.dir)!;
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  expect(fs.statSync(r.dir).mode & 0o777).toBe(0o700);
  for (const name of ['access.json', 'conf/config.xml']) expect(fs.statSync(path.join(r.dir, name)).mode & 0o777).toBe(0o600);
  expect(Object.keys(c).sort()).toEqual(['database', 'password', 'pid', 'url', 'user']);
  expect(c.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(await isAlive(c)).toBe(true);
  expect(await isAlive({ ...c, password: 'wrong' })).toBe(false);
  expect(await r.ask('SELECT a FROM t')).toEqual([{ a: '1' }]);
});

test.each([
  'INSERT INTO t VALUES (2)',
  'DROP TABLE t',
  'TRUNCATE TABLE t',
  'ALTER TABLE t DELETE WHERE 1',
  'OPTIMIZE TABLE t',
  'RENAME TABLE t TO u',
  'CREATE TABLE u (a Int8) ENGINE = Memory',
  'CREATE VIEW u AS SELECT 1',
  'CREATE DATABASE u',
  'SET readonly = 0',
  'SELECT 1 SETTINGS readonly = 0',
  'SYSTEM SHUTDOWN',
  'SYSTEM STOP MERGES t',
  'SYSTEM DROP MARK CACHE',
  `SELECT * FROM file('${secret}', 'LineAsString')`,
  `SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')`,
  `SELECT * FROM remote('127.0.0.1:1', system.one)`,
  `INSERT INTO FUNCTION file('${secret}', 'TSV', 'a Int8') VALUES (1)`,
  `SELECT 1 INTO OUTFILE '${secret}.out'`,
  'SELECT * FROM system.users',
  'SELECT * FROM system.processes',
  `BACKUP TABLE t TO File('${secret}.bak')`,
])('the reader may not: %s', async (sql) => {
  await expect(r.reader.command({ query: sql })).rejects.toMatchObject({ code: expect.stringMatching(/^(497|164|358|62)$/) });
  expect(await r.ask('SELECT a FROM t')).toEqual([{ a: '1' }]);
  expect(fs.readFileSync(secret, 'utf8')).toBe('secret');
});

test.runIf(process.platform === 'linux')('no user of the engine reads files beyond its directory', async () => {
  for (const file of [secret, '/etc/passwd', `/proc/${process.pid}/environ`, path.join(import.meta.dirname, '..', 'package.json')]) {
    await expect(r.ask(`SELECT file('${file}') AS text`)).rejects.toThrow(/Permission denied/);
  }
});

test('a second start waits for the first, then says that it is busy', async () => {
  await expect(startEngine({ dir: r.dir, lockWaitMs: 100 })).rejects.toMatchObject({ code: 'E_ENGINE_BUSY' });
  const waiting = startEngine({ dir: path.join(r.data, 'second'), lockWaitMs: 10_000 }),
    next = startEngine({ dir: path.join(r.data, 'second'), lockWaitMs: 10_000 });
  const first = await Promise.race([waiting, next]);
  await first.stop();
  const both = await Promise.all([waiting, next]);
  expect(both.map((e) => isRunning(e.pid)).sort()).toEqual([false, true]);
  await Promise.all(both.map((e) => e.stop()));
});

test('a directory that cannot be written is told as one', async () => {
  const file = path.join(r.data, 'file');
  fs.writeFileSync(file, '');
  await expect(startEngine({ dir: path.join(file, 'clickhouse') })).rejects.toMatchObject({ code: 'E_NOT_WRITABLE' });
});

test('stopped, it is gone with its connection.json, and comes back on the same port with the same password, unless that is taken', async () => {
  const dir = path.join(r.data, 'again');
  const one = await startEngine({ dir, publish: true });
  await one.stop();
  expect([isRunning(one.pid), readConnection(dir)]).toEqual([false, undefined]);
  const two = await startEngine({ dir, publish: true });
  expect([two.port, two.reader.password]).toEqual([one.port, one.reader.password]);
  await two.stop();
  const other = createServer((socket) => socket.destroy()).listen(one.port, '127.0.0.1');
  await once(other, 'listening');
  const three = await startEngine({ dir, publish: true });
  expect(three.port).not.toBe(one.port);
  expect(await isAlive(three.reader)).toBe(true);
  await three.stop();
  other.close();
});

test('killed with -9, its starter takes the engine along within a second', async () => {
  const dir = path.join(r.data, 'orphan'),
    script = path.join(r.data, 'starter.ts');
  fs.writeFileSync(
    script,
    `import { startEngine } from ${JSON.stringify(new URL('../src/clickhouse/engine.ts', import.meta.url).href)};
    const e = await startEngine({ dir: ${JSON.stringify(dir)}, publish: true });
    await fetch(e.url, { method: 'POST', body: 'CREATE TABLE IF NOT EXISTS tally.t (a Int64) ENGINE = MergeTree ORDER BY a', headers: { 'x-clickhouse-user': e.admin.username, 'x-clickhouse-key': e.admin.password } });
    void fetch(e.url, { method: 'POST', body: 'SELECT sleepEachRow(1) FROM numbers(3)', headers: { 'x-clickhouse-user': e.admin.username, 'x-clickhouse-key': e.admin.password } });
    console.log(e.pid); setInterval(() => {}, 1000);`,
  );
  const starter = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = (await once(starter.stdout, 'data')) as [Buffer];
  const pid = Number(text.toString());
  expect(isRunning(pid)).toBe(true);
  starter.kill('SIGKILL');
  await once(starter, 'exit');
  await sleep(900);
  expect(isRunning(pid)).toBe(false);
  expect(await isAlive(readConnection(dir)!)).toBe(false);
  const next = await startEngine({ dir, publish: true });
  await next.stop();
});

test('killed or told to end while rows come in, it is started again, and nothing acknowledged is lost', async () => {
  const dir = path.join(r.data, 'restarted'),
    troubles: string[] = [];
  const engine = await superviseEngine({ dir, publish: true, onTrouble: (s) => troubles.push(s) });
  const client = makeClient(engine.admin);
  await command(client, 'CREATE TABLE t (a Int64) ENGINE = ReplacingMergeTree ORDER BY a');
  const sink = new Sink(engine.admin);
  engine.onRestart((admin) => sink.reconnect(admin));
  const body = Buffer.alloc(8 * 100);
  let sent = 0,
    isOver = false;
  const inserting = (async () => {
    for (; !isOver; sent += 100) {
      for (let i = 0; i < 100; i++) body.writeUInt32LE(sent + i, i * 8);
      expect(await sink.insert('t', body, 100)).toBe(true);
    }
  })();
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    await sleep(150);
    const { pid } = engine.reader,
      before = sent;
    process.kill(pid, signal);
    while (isRunning(pid) || engine.reader.pid === pid || sent <= before + 200) await sleep(10);
  }
  isOver = true;
  await inserting;
  expect(await rows(client, 'SELECT count() AS n, uniqExact(a) AS u, max(a) AS m FROM t FINAL')).toEqual([
    { n: String(sent), u: String(sent), m: String(sent - 1) },
  ]);
  expect(troubles.length).toBe(4);
  expect(readConnection(dir)).toEqual(engine.reader);
  await Promise.all([sink.close(), client.close()]);
  await engine.stop();
  expect(isRunning(engine.reader.pid)).toBe(false);
});

test('bytes that are no HTTP, and a query beyond the memory that it may use, do not end it', async () => {
  const engine: Engine = r.engine,
    socket = (await import('node:net')).connect(engine.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
  await expect(r.ask('SELECT groupArray(number) FROM numbers(300000000)')).rejects.toThrow(/memory limit/i);
  socket.destroy();
  expect(await r.ask('SELECT a FROM t')).toEqual([{ a: '1' }]);
});

test('a first start that a full disk has cut short leaves nothing behind that keeps the next one from starting', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-cut-')),
    database = path.join(dir, 'metadata', 'tally.sql'),
    blocked = path.join(dir, 'access.json.tmp');
  fs.mkdirSync(blocked);
  await expect(startEngine({ dir })).rejects.toMatchObject({ code: 'E_NOT_WRITABLE' });
  fs.rmdirSync(blocked);
  // What ClickHouse leaves of the database when the disk is full, after it has said that it is made.
  expect(fs.statSync(database).size).toBeGreaterThan(0);
  fs.writeFileSync(database, '');
  let engine = await startEngine({ dir });
  const client = makeClient(engine.admin);
  for (const view of ['whole', 'cut', 'empty']) await command(client, `CREATE VIEW ${view} AS SELECT 1 AS one`);
  await client.close();
  await engine.stop();
  expect(unwrittenFiles(dir)).toEqual([]);
  const [folder] = fs.globSync(path.join(dir, 'store', '*', '*'));
  fs.writeFileSync(path.join(folder!, 'empty.sql'), '');
  fs.truncateSync(path.join(folder!, 'cut.sql'), 40);
  expect(unwrittenFiles(dir).map((file) => path.basename(file))).toEqual(['cut.sql', 'empty.sql']);
  engine = await startEngine({ dir });
  const again = makeClient(engine.admin);
  expect(await rows(again, 'SHOW TABLES')).toEqual([{ name: 'whole' }]);
  await again.close();
  await engine.stop();
  fs.rmSync(dir, { recursive: true });
});
