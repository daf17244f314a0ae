/** The outbox on its way: order, acknowledgement, and a way to ClickHouse that loses answers, refuses and lies. */
import http from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { command, rows } from '../src/clickhouse/client.ts';
import { OutboxDrain } from '../src/clickhouse/drain.ts';
import { fence } from '../src/clickhouse/epochs.ts';
import { TIMEOUT } from '../src/clickhouse/error-codes.ts';
import { migrate } from '../src/clickhouse/schema.ts';
import { INSERT_SETTINGS } from '../src/clickhouse/server.ts';
import { Sink } from '../src/clickhouse/sink.ts';
import { encodeOutbox, outboxKey } from '../state/outbox.ts';
import { ROWS_TARGET, START, cell, plan, progressBytes, rig, rowBytes } from './clickhouse-fixture.ts';
import type { Rig } from './clickhouse-fixture.ts';

let r: Rig;
beforeAll(async () => {
  r = await rig();
  await migrate(r.writer, { plan, generation: 1, shards: 1, instance: 'i1' });
});
afterAll(() => r.close());

type Written = { key: Uint8Array; value: Uint8Array };
const commit = (version: number, ...entries: [target: string, rows: number, body: Uint8Array][]): Written[] =>
  entries.map(([target, n, body], i) => ({ key: outboxKey(version, i), value: encodeOutbox(target, n, body) }));
const byte = (n: number): Uint8Array => Uint8Array.of(n);

/** A sink whose inserts the test answers. */
class Held {
  readonly sent: { target: string; bytes: number[]; rows: number; answer: (is: boolean) => void; fail: (error: unknown) => void }[] = [];
  insert(target: string, body: Uint8Array | readonly Uint8Array[], n: number): Promise<boolean> {
    return new Promise((answer, fail) =>
      this.sent.push({ target, bytes: [...Buffer.concat([body].flat() as Uint8Array[])], rows: n, answer, fail }),
    );
  }
  reconnect(): void {}
  close(): Promise<void> {
    for (const s of this.sent) s.answer(false);
    return Promise.resolve();
  }
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The targets of live rows in these tests; all else is an account, and the last entry the progress row. */
const LIVE = new Set(['a', 'b', ROWS_TARGET]);

test('live rows go at once, then changes and books, the progress row only after all of them, and keys come out only after that', async () => {
  const sink = new Held(),
    drain = new OutboxDrain({ live: LIVE, sink });
  drain.push(commit(5, ['a', 1, byte(1)], ['changes', 1, byte(9)], ['b', 2, byte(2)], ['p', 1, byte(3)]));
  drain.push(commit(6, ['a', 1, byte(4)], ['books', 3, byte(5)], ['p', 1, byte(6)]));
  await turn();
  expect(sink.sent.map((s) => [s.target, s.bytes, s.rows])).toEqual([
    ['a', [1, 4], 2],
    ['b', [2], 2],
  ]);
  expect([drain.pendingBytes, drain.pendingRows, drain.shown, drain.isFree]).toEqual([7, 10, 0, false]);
  sink.sent[0]!.answer(true);
  await turn();
  expect([sink.sent.length, drain.shown]).toEqual([2, 0]);
  sink.sent[1]!.answer(true);
  await turn();
  expect(sink.sent.slice(2).map((s) => [s.target, s.bytes])).toEqual([
    ['changes', [9]],
    ['books', [5]],
  ]);
  expect([drain.shown, drain.isFree]).toEqual([6, true]);
  sink.sent[2]!.answer(true);
  await turn();
  expect(sink.sent.length).toBe(4);
  sink.sent[3]!.answer(true);
  await turn();
  expect(sink.sent.slice(4).map((s) => [s.target, s.bytes])).toEqual([['p', [3, 6]]]);
  expect(drain.takeAcknowledged()).toEqual({ keys: [], version: 0 });
  sink.sent[4]!.answer(true);
  await turn();
  const { version, keys } = drain.takeAcknowledged();
  expect([version, keys.length, drain.pendingBytes, drain.pendingRows]).toEqual([6, 7, 0, 0]);
  await drain.stop();
});

test('live rows never wait for accounts, which go together and at once when somebody waits for them', async () => {
  const sink = new Held(),
    drain = new OutboxDrain({ live: LIVE, sink });
  const sent = async (): Promise<string[]> => {
    await turn();
    return sink.sent.map((s) => `${s.target}${s.bytes.join('+')}`);
  };
  drain.push(commit(1, ['a', 1, byte(1)], ['p', 1, byte(1)]));
  await turn();
  sink.sent[0]!.answer(true);
  expect(await sent()).toEqual(['a1', 'p1']);
  drain.push(commit(2, ['a', 1, byte(2)], ['c', 1, byte(2)], ['p', 1, byte(2)]));
  expect(await sent()).toEqual(['a1', 'p1', 'a2']);
  sink.sent[2]!.answer(true);
  await turn();
  drain.push(commit(3, ['a', 1, byte(3)], ['c', 1, byte(3)], ['p', 1, byte(3)]));
  expect(await sent()).toEqual(['a1', 'p1', 'a2', 'a3']);
  // Neither the answer to the first account nor that to the rows sends the next one before its time.
  sink.sent[1]!.answer(true);
  sink.sent[3]!.answer(true);
  expect(await sent()).toEqual(['a1', 'p1', 'a2', 'a3']);
  expect([drain.shown, drain.takeAcknowledged().version]).toEqual([3, 1]);
  let isDrained = false;
  const drained = drain.drained().then(() => (isDrained = true));
  expect(await sent()).toEqual(['a1', 'p1', 'a2', 'a3', 'c2+3']);
  sink.sent[4]!.answer(true);
  expect(await sent()).toEqual(['a1', 'p1', 'a2', 'a3', 'c2+3', 'p2+3']);
  expect([drain.takeAcknowledged().version, isDrained]).toEqual([0, false]);
  sink.sent[5]!.answer(true);
  await drained;
  expect(drain.takeAcknowledged().version).toBe(3);
});

test('the account goes by itself when its time has come', async () => {
  const sink = new Held(),
    drain = new OutboxDrain({ live: LIVE, sink });
  for (const version of [1, 2]) {
    drain.push(commit(version, ['p', 1, byte(version)]));
    await turn();
  }
  expect(sink.sent.map((s) => s.bytes)).toEqual([[1]]);
  sink.sent[0]!.answer(true);
  await expect.poll(() => sink.sent.map((s) => s.bytes), { timeout: 5000 }).toEqual([[1], [2]]);
  await drain.stop();
  expect([drain.takeAcknowledged().version, drain.pendingRows]).toEqual([1, 1]);
});

test('a progress row that is refused for good stops everything', async () => {
  const sink = new Held(),
    failures: unknown[] = [],
    drain = new OutboxDrain({ live: LIVE, sink, onFailed: (e) => failures.push(e) });
  drain.push(commit(1, ['a', 1, byte(1)], ['p', 1, byte(1)]));
  await turn();
  sink.sent[0]!.answer(true);
  await turn();
  drain.push(commit(2, ['a', 1, byte(2)], ['p', 1, byte(2)]));
  await turn();
  sink.sent[1]!.fail(new Error('gone'));
  sink.sent[2]!.answer(true);
  await expect(drain.drained()).rejects.toThrow('gone');
  expect([sink.sent.length, failures.length]).toEqual([3, 1]);
  await drain.stop();
});

test('an entry is never split, and inserts stay bounded', async () => {
  const sink = new Held(),
    drain = new OutboxDrain({ live: LIVE, sink }),
    big = new Uint8Array(7 << 20);
  drain.push([
    ...commit(1, ['a', 1, big], ['p', 1, byte(1)]),
    ...commit(2, ['a', 1, big], ['p', 1, byte(2)]),
    ...commit(3, ['a', 1, big], ['p', 1, byte(3)]),
  ]);
  await turn();
  expect(sink.sent.map((s) => s.bytes.length)).toEqual([7 << 20, 7 << 20]);
  await drain.stop();
  expect(drain.takeAcknowledged()).toEqual({ keys: [], version: 0 });
});

test('what the state still holds is sent first', async () => {
  const sink = new Held(),
    held = commit(1, ['a', 1, byte(1)], ['p', 1, byte(2)]).map((w): [Uint8Array, Uint8Array] => [w.key, w.value]);
  const drain = new OutboxDrain({ live: LIVE, sink, store: { range: () => held } });
  expect(drain.pendingRows).toBe(2);
  await turn();
  expect(sink.sent.map((s) => s.target)).toEqual(['a']);
  await drain.stop();
});

test('a fault that cannot heal is thrown at whoever asks next', async () => {
  const sink = new Held(),
    failures: unknown[] = [],
    drain = new OutboxDrain({ live: LIVE, sink, onFailed: (e) => failures.push(e) });
  drain.push(commit(1, ['a', 1, byte(1)], ['p', 1, byte(2)]));
  await turn();
  sink.sent[0]!.fail(new Error('gone'));
  await expect(drain.drained()).rejects.toThrow('gone');
  expect(() => drain.takeAcknowledged()).toThrow('gone');
  expect(() => drain.push(commit(2, ['p', 1, byte(1)]))).toThrow('gone');
  expect(failures.length).toBe(1);
  await drain.stop();
});

/** Between client and ClickHouse: applies and answers nothing, answers 500 before or after it has applied, or breaks off the request. */
async function liar(target: string): Promise<{ url: string; lies: number; close(): Promise<void> }> {
  const { port } = new URL(target);
  let n = 0;
  const server = http
    .createServer((request, response) => {
      const how = ['lost', 'before', 'after', 'cut', 'fine'][n++ % 5]!;
      if (how !== 'fine') state.lies++;
      if (how === 'before') {
        request.resume();
        response.writeHead(500).end('down for a moment');
        return;
      }
      const { connection: _, ...headers } = request.headers;
      const on = http.request({ host: '127.0.0.1', port, path: request.url, method: request.method, headers }, (answer) => {
        answer.resume();
        answer.on('end', () => {
          if (how === 'lost') request.socket.destroy();
          else if (how === 'after') response.writeHead(503).end('nobody knows');
          else response.writeHead(answer.statusCode!, answer.headers).end();
        });
      });
      on.on('error', () => request.socket.destroy());
      if (how === 'cut') {
        request.once('data', (data: Buffer) => {
          on.write(data.subarray(0, data.length >> 1));
          on.destroy();
        });
        return;
      }
      request.pipe(on);
    })
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const state = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lies: 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return state;
}

test('lost answers, refusals before and after the insert, and broken requests change no number', async () => {
  const proxy = await liar(r.engine.url),
    troubles: string[] = [];
  const sink = new Sink({ ...r.engine.admin, url: proxy.url }, { retryMsMax: 20 });
  const drain = new OutboxDrain({ live: LIVE, sink, onTrouble: (s) => troubles.push(s) });
  let acknowledged = 0,
    keys = 0;
  const books = 'tally_books_rows (job, generation, shard, topic, partition, class, code, records, version)';
  for (let version = 1; version <= 30; version++) {
    const cells = Array.from({ length: 50 }, (_, i) => cell({ country: `c${i}`, clicks: version * 100 + i, version }));
    const book = Buffer.concat([
      Buffer.from('\x03ads'),
      Buffer.from([1, 0, 0, 0, 0, 0]),
      Buffer.from('\x01t'),
      Buffer.from([0, 0, 0, 0]),
      Buffer.from('\x04read\x00'),
      u64(version * 50),
      u64(version),
    ]);
    drain.push(
      commit(
        version,
        [ROWS_TARGET, 50, rowBytes(cells)],
        [books, 1, book],
        ['tally_progress_rows', 1, progressBytes(1, [[0, START + 3600, version]])],
      ),
    );
    if (version % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const taken = drain.takeAcknowledged();
    acknowledged = Math.max(acknowledged, taken.version);
    keys += taken.keys.length;
  }
  await drain.drained();
  expect(drain.takeAcknowledged().version).toBe(30);
  expect([drain.pendingBytes, drain.pendingRows]).toEqual([0, 0]);
  expect(keys).toBeLessThanOrEqual(90);
  expect(proxy.lies).toBeGreaterThan(8);
  expect(troubles.length).toBeGreaterThan(0);
  expect(await r.ask('SELECT count() AS n, sum(clicks) AS s, uniqExact(country) AS c FROM hourly')).toEqual([
    { n: '50', s: String(3000 * 50 + 49 * 25), c: '50' },
  ]);
  expect(await r.ask('SELECT records FROM tally_books')).toEqual([{ records: '1500' }]);
  await drain.stop();
  await proxy.close();
});

const u64 = (n: number): Buffer => {
  const b = Buffer.alloc(8);
  b.writeUInt32LE(n);
  return b;
};

test('unknown tables, other types and wrong passwords stop at once, each with its reason', async () => {
  const sink = new Sink(r.engine.admin),
    wrong = new Sink({ ...r.engine.admin, password: 'no' }),
    reads = new Sink({ ...r.engine.admin, username: r.engine.reader.user, password: r.engine.reader.password });
  await expect(sink.insert('nowhere', byte(1), 1)).rejects.toMatchObject({
    code: 'E_CLICKHOUSE',
    message: expect.stringMatching(/nowhere/),
  });
  await expect(sink.insert('hourly_g1_rows (nocolumn)', byte(1), 1)).rejects.toMatchObject({
    code: 'E_CLICKHOUSE',
    message: expect.stringMatching(/nocolumn/),
  });
  await expect(wrong.insert('hourly_g1_rows', byte(1), 1)).rejects.toMatchObject({ code: 'E_CLICKHOUSE_AUTH' });
  await expect(reads.insert(ROWS_TARGET, rowBytes([cell({})]), 1)).rejects.toMatchObject({ code: 'E_CLICKHOUSE' });
  await Promise.all([sink.close(), wrong.close(), reads.close()]);
});

test('closed while nobody listens, an insert gives up without a fault', async () => {
  const sink = new Sink({ ...r.engine.admin, url: 'http://127.0.0.1:1' });
  const given = sink.insert('hourly_g1_rows', byte(1), 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await sink.close();
  expect(await given).toBe(false);
  expect(await sink.insert('hourly_g1_rows', byte(1), 1)).toBe(false);
});

test('a body of a hundred thousand rows is one part', async () => {
  await command(r.writer, 'CREATE TABLE one_part (a Int64) ENGINE = MergeTree ORDER BY a');
  await command(r.writer, 'SYSTEM STOP MERGES one_part');
  const sink = new Sink(r.engine.admin);
  await sink.insert('one_part', [new Uint8Array(8 * 60_000), new Uint8Array(8 * 40_000)], 100_000);
  expect(await rows(r.writer, "SELECT rows FROM system.parts WHERE table = 'one_part' AND active")).toEqual([{ rows: '100000' }]);
  await sink.close();
});

test('an insert whose sender hangs in the middle does not come in when it goes on too late', async () => {
  await command(r.writer, 'CREATE TABLE hung (x UInt64) ENGINE = MergeTree ORDER BY x');
  const { url, username, password, database } = r.engine.admin,
    half = Buffer.alloc(2_000_000);
  const insert = async (pauseMs: number): Promise<[number | undefined, string | string[] | undefined]> => {
    const condition = fence({ job: 'ads', generation: 1, shard: 0 }, 1, 3),
      query = new URLSearchParams({ database, query: `INSERT INTO hung SELECT * FROM input() WHERE ${condition} FORMAT RowBinary` });
    for (const [name, value] of Object.entries(INSERT_SETTINGS)) query.set(name, String(value));
    const headers = { 'x-clickhouse-user': username, 'x-clickhouse-key': String(password), 'content-length': 2 * half.length },
      request = http.request(`${url}/?${query.toString()}`, { method: 'POST', headers });
    request.write(half);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    request.end(half);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.resume();
    return [response.statusCode, response.headers['x-clickhouse-exception-code']];
  };
  const there = async (): Promise<number> => Number((await rows<{ n: string }>(r.writer, 'SELECT count() AS n FROM hung'))[0]!.n);
  expect(await insert(0)).toEqual([200, undefined]);
  expect(await there()).toBe(500_000);
  // A timeout, which is tried again: not the code of a shard that was taken over.
  expect(await insert(5_000)).toEqual([408, TIMEOUT]);
  expect(await there()).toBe(500_000);
});
