/** What a run shows of itself: lines, metrics, health and the HTTP port, each by itself and without a run. */
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { LINES } from '../topology/books.ts';
import { OpenParcel } from '../topology/parcel.ts';
import { TallyError } from '../src/errors.ts';
import { Freshness } from '../src/run/freshness.ts';
import type { PartitionStatus, ShardStatus } from '../src/run/messages.ts';
import { BUCKETS_S, Durations } from '../src/telemetry/durations.ts';
import { Health } from '../src/telemetry/health.ts';
import { serveHttp } from '../src/telemetry/http-server.ts';
import type { HttpServer, Pages } from '../src/telemetry/http-server.ts';
import { LogLines } from '../src/telemetry/log-lines.ts';
import type { LogLinesOptions } from '../src/telemetry/log-lines.ts';
import { Metrics } from '../src/telemetry/metrics.ts';

const NOW = Date.UTC(2026, 2, 27, 22);

function partition(more: Partial<PartitionStatus> = {}): PartitionStatus {
  const page = LINES.map((line) =>
    line.class === 'read' ? 12 : line.class === 'counted' && line.code === '' ? 10 : line.code === 'LATE' ? 2 : 0,
  );
  return {
    topic: 'sales',
    partition: 3,
    offset: 100,
    end: 150,
    high: NOW - 9000,
    recordTime: NOW - 4000,
    page,
    ...more,
  } as PartitionStatus;
}

function shard(more: Partial<ShardStatus> = {}): ShardStatus {
  const none = new Durations().soFar();
  return {
    shard: 0,
    fresh: false,
    version: 7,
    acknowledged: 6,
    watermark: NOW - 300_000,
    maxTime: NOW - 1000,
    committedAt: NOW - 500,
    outboxRows: 5,
    outboxBytes: 600,
    identities: 42,
    identityBytes: 4096,
    openWindows: 3,
    windowRows: 30,
    paused: false,
    sinkTrouble: false,
    commits: none,
    visible: none,
    partitions: [partition()],
    ...more,
  } as ShardStatus;
}

function lines(o: Partial<LogLinesOptions>): { log: LogLines; out: string[] } {
  const out: string[] = [];
  return { log: new LogLines({ format: 'json', level: undefined, write: (line) => out.push(line), nowMs: () => NOW, ...o }), out };
}

function sayAll(log: LogLines): void {
  log.error('e');
  log.warn('w');
  log.info('i');
  log.debug('d');
}

test('machines get an object a line, whatever is in it, and no field takes the place of time, level or message', () => {
  const { log, out } = lines({});
  log.warn('two\nlines "quoted"', { job: 'a\u0000b\n', shard: 3, none: null, message: 'other', level: 'none', time: 'never' });
  expect(out).toHaveLength(1);
  expect(out[0]!.indexOf('\n')).toBe(out[0]!.length - 1);
  expect(JSON.parse(out[0]!)).toEqual({
    time: '2026-03-27T22:00:00.000Z',
    level: 'warn',
    message: 'two\nlines "quoted"',
    job: 'a\u0000b\n',
    shard: 3,
    none: null,
  });
});

test.each([
  ['json', undefined, 'ewi'],
  ['text', undefined, 'ew'],
  ['text', 'debug', 'ewid'],
  ['json', 'error', 'e'],
  ['text', 'info', 'ewi'],
] as const)('of four levels, %s at %s tells %s', (format, level, told) => {
  const { log, out } = lines({ format, level });
  sayAll(log);
  expect(out.map((line) => (format === 'json' ? (JSON.parse(line) as { message: string }).message : line))).toEqual(
    [...told].map((message) => (format === 'json' ? message : `tally: ${message}\n`)),
  );
});

function metricsOf(shards: readonly ShardStatus[], o: { nowMs?: () => number; stateBytes?: () => number } = {}): Metrics {
  const metrics = new Metrics({ version: '1.2.3', nowMs: () => NOW, stateBytes: () => 777, ...o });
  metrics.begin('ads');
  metrics.set(shards);
  return metrics;
}
const valueOf = (page: string, series: string): number | undefined => {
  const line = page.split('\n').find((l) => l.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
};
const S = 'job="ads",shard="0"',
  P = `${S},topic="sales",partition="3"`;

test('a scrape shows what the shards last said, in the base units of Prometheus', async () => {
  const page = await metricsOf([shard({ paused: true, sinkTrouble: true })]).page();
  for (const [series, value] of [
    [`tally_records_total{${P},class="counted",code=""}`, 10],
    [`tally_records_total{${P},class="counted",code="LATE"}`, 2],
    [`tally_offset{${P}}`, 100],
    [`tally_lag_records{${P}}`, 50],
    [`tally_lag_seconds{${P}}`, 4],
    [`tally_watermark_timestamp_seconds{${S}}`, NOW / 1000 - 300],
    [`tally_event_time_max_timestamp_seconds{${S}}`, NOW / 1000 - 1],
    [`tally_checkpoint_timestamp_seconds{${S}}`, NOW / 1000 - 0.5],
    [`tally_outbox_rows{${S}}`, 5],
    [`tally_outbox_bytes{${S}}`, 600],
    [`tally_paused{${S}}`, 1],
    [`tally_sink_down{${S}}`, 1],
    [`tally_identities{${S}}`, 42],
    [`tally_identity_memory_bytes{${S}}`, 4096],
    [`tally_windows_open{${S}}`, 3],
    [`tally_window_rows{${S}}`, 30],
    ['tally_state_bytes{job="ads"}', 777],
  ] as const)
    expect(valueOf(page, series), series).toBe(value);
  expect(page).toContain(`tally_build_info{version="1.2.3",node="${process.version}"} 1`);
  expect(page).toMatch(/^process_resident_memory_bytes \d+$/m);
  expect(page).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
});

test('the classes of a page of metrics add up to what was read, at every scrape', async () => {
  const metrics = metricsOf([shard()]);
  for (let scrape = 0; scrape < 3; scrape++) {
    const page = await metrics.page();
    const counts = [...page.matchAll(/^tally_records_total\{.*\} (\d+)$/gm)].map(([, n]) => Number(n));
    expect(counts.reduce((a, b) => a + b, 0)).toBe(12);
  }
});

test('lag is zero at the end, the age of what was read last before it, and unknown before anything was read', async () => {
  const partitions = [
    partition({ partition: 0, offset: 150 }),
    partition({ partition: 1, recordTime: -1 }),
    partition({ partition: 2, recordTime: -1, high: -1 }),
    partition({ partition: 3, recordTime: NOW + 5000 }),
  ];
  const page = await metricsOf([shard({ partitions })]).page();
  const lag = (n: number): number | undefined => valueOf(page, `tally_lag_seconds{${S},topic="sales",partition="${n}"}`);
  expect([0, 1, 2, 3].map(lag)).toEqual([0, 9, undefined, 0]);
});

test('what is not known yet is left out, not shown as the year 1970', async () => {
  const page = await metricsOf([shard({ watermark: -1, maxTime: -1, committedAt: 0 })]).page();
  expect(page).not.toMatch(/^tally_(watermark|event_time_max|checkpoint)_timestamp_seconds\{/m);
});

test('the size of the state is looked up once for several scrapes, and again after a while or when the clock was set', async () => {
  let now = NOW,
    asked = 0;
  const metrics = metricsOf([shard()], { nowMs: () => now, stateBytes: () => ++asked });
  const sizes: (number | undefined)[] = [];
  for (const step of [0, 1000, 13_000, 2000, -3_600_000, 1000]) {
    now += step;
    sizes.push(valueOf(await metrics.page(), 'tally_state_bytes{job="ads"}'));
  }
  expect(sizes).toEqual([1, 1, 1, 2, 3, 3]);
});

test('times counted by another thread come out as a histogram of Prometheus', async () => {
  const commits = new Durations();
  for (const seconds of [0.0005, 0.001, 0.3, 4000]) commits.add(seconds);
  const page = await metricsOf([shard({ commits: commits.soFar() }), shard({ shard: 1 })]).page();
  expect(page).toContain('# TYPE tally_checkpoint_duration_seconds histogram');
  const below = [...page.matchAll(/^tally_checkpoint_duration_seconds_bucket\{job="ads",shard="0",le="([^"]+)"\} (\d+)$/gm)];
  expect(below.map(([, le]) => le)).toEqual([...BUCKETS_S.map(String), '+Inf']);
  const at = (le: string): number => Number(below.find((b) => b[1] === le)![2]);
  expect([at('0.001'), at('0.2'), at('0.3'), at('3600'), at('+Inf')]).toEqual([2, 2, 3, 3, 4]);
  expect(valueOf(page, `tally_checkpoint_duration_seconds_count{${S}}`)).toBe(4);
  expect(valueOf(page, `tally_checkpoint_duration_seconds_sum{${S}}`)).toBeCloseTo(4000.3015);
  expect(valueOf(page, 'tally_checkpoint_duration_seconds_count{job="ads",shard="1"}')).toBe(0);
  expect(page).toContain('# TYPE tally_visible_latency_seconds histogram');
});

test('every metric is named as Prometheus wants it, and says what it is', async () => {
  const page = await metricsOf([shard()]).page();
  const types = new Map([...page.matchAll(/^# TYPE (tally_\w+) (\w+)$/gm)].map(([, name, type]) => [name!, type!]));
  expect(types.size).toBeGreaterThan(15);
  for (const [name, type] of types) {
    expect(name.endsWith('_total'), name).toBe(type === 'counter');
    expect(page).toMatch(new RegExp(`^# HELP ${name} \\S`, 'm'));
  }
});

function parcel(...times: readonly (readonly [place: number, times: readonly number[]])[]): OpenParcel {
  const made = new OpenParcel(1);
  for (const [place, all] of times) {
    const from = made.records.count;
    for (const time of all) made.records.timestamp[made.records.count++] = time;
    made.pieces.push({ place, from, to: made.records.count, events: 0, nextOffset: 0 } as OpenParcel['pieces'][number]);
  }
  return made;
}

test("a commit's latency is that of its oldest record, and counted when ClickHouse has the commit", () => {
  const fresh = new Freshness(2);
  const seen = (): { n: number; sumS: number } => {
    const { counts, sumS } = fresh.visible.soFar();
    return { n: counts.reduce((a, b) => a + b, 0), sumS };
  };
  expect([...fresh.recordTimes]).toEqual([-1, -1]);
  fresh.took(parcel([1, [1000, 1500]], [0, []]));
  fresh.took(parcel([1, [2000]]));
  expect([...fresh.recordTimes]).toEqual([-1, 2000]);
  fresh.committed(5);
  fresh.committed(6);
  fresh.took(parcel([0, [3000]]));
  fresh.committed(7);
  fresh.acknowledged(4, 9000);
  expect(seen().n).toBe(0);
  fresh.acknowledged(6, 5000);
  expect(seen()).toEqual({ n: 1, sumS: 4 });
  fresh.acknowledged(7, 2000);
  expect(seen()).toEqual({ n: 2, sumS: 4 });
  fresh.acknowledged(9, 9999);
  expect(seen().n).toBe(2);
});

test('while ClickHouse is down what waits to be seen stays bounded, and keeps the oldest', () => {
  const fresh = new Freshness(1),
    one = parcel([0, [0]]);
  for (let version = 1; version <= 1000; version++) {
    one.records.timestamp[0] = version * 1000;
    fresh.took(one);
    fresh.committed(version);
  }
  fresh.acknowledged(999, 1_000_000);
  const before = fresh.visible.soFar().counts.reduce((a, b) => a + b, 0);
  expect(before).toBe(63);
  const { sumS } = fresh.visible.soFar();
  fresh.acknowledged(1000, 1_000_000);
  expect(fresh.visible.soFar().sumS - sumS).toBe(1000 - 64);
});

test('ready: state open, tables fit, a first status, no stop', () => {
  const health = new Health(60_000, () => 0);
  const said: boolean[] = [];
  for (const step of ['begins', 'opened', 'fits', 'status', 'stops', 'status'] as const) {
    health[step]([shard()]);
    said.push(health.ready().ok);
  }
  expect(said).toEqual([false, false, false, true, false, false]);
  const early = new Health(60_000, () => 0);
  for (const step of ['begins', 'stops', 'opened', 'fits', 'status'] as const) early[step]([shard()]);
  expect(early.ready()).toMatchObject({ ok: false, why: 'stopping' });
});

test('a shard whose state is lost: not ready, and a metric names it, until it is found', async () => {
  const health = new Health(60_000, () => 0),
    metrics = metricsOf([shard()]),
    isLost = async (): Promise<boolean> => (await metrics.page()).includes('tally_shard_lost{job="ads",shard="3"} 1');
  for (const step of ['begins', 'opened', 'fits', 'status'] as const) health[step]([shard()]);
  expect([health.ready().ok, await isLost()]).toEqual([true, false]);
  health.lost([3]);
  metrics.lose([3]);
  expect(health.ready()).toEqual({ ok: false, status: 'not ready', why: 'the state of shards is lost', lost_shards: [3] });
  expect([health.alive().ok, await isLost()]).toEqual([true, true]);
  health.lost([]);
  metrics.lose([]);
  expect([health.ready().ok, await isLost()]).toEqual([true, false]);
});

test('alive as long as every shard speaks; a sink that is down is no reason to be killed', () => {
  let now = 0;
  const health = new Health(60_000, () => now);
  const quiet = shard({ shard: 1 });
  expect(health.alive().ok).toBe(true);
  health.opened([shard(), quiet]);
  now = 1e9;
  expect(health.alive().ok, 'tables take as long as they take').toBe(true);
  health.fits();
  for (let i = 0; i < 59; i++) {
    now += 1000;
    health.status([shard({ sinkTrouble: true, paused: true }), quiet]);
  }
  expect(health.alive()).toMatchObject({ ok: true, clickhouse_down_for_shards: [0] });
  now += 2000;
  health.status([shard(), quiet]);
  expect(health.alive()).toMatchObject({ ok: false, status: 'stuck', silent_shards: [{ shard: 1, seconds: 61 }] });
  health.status([shard(), shard({ shard: 1 })]);
  expect(health.alive().ok).toBe(true);
});

test('a shard that has come to its end need not speak any more, one that should stop must', () => {
  let now = 0;
  const health = new Health(60_000, () => now);
  const [done, busy] = [shard(), shard({ shard: 1 })];
  health.opened([done, busy]);
  health.fits();
  health.ended([done]);
  health.stops();
  now = 61_000;
  expect(health.alive()).toMatchObject({ ok: false, silent_shards: [{ shard: 1 }] });
  health.ended([busy]);
  now = 1e9;
  expect(health.alive().ok).toBe(true);
});

let server: HttpServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});
const pages = (more: Partial<Pages> = {}): Pages => ({
  contentType: 'text/plain; version=0.0.4',
  metrics: async () => 'm 1\n',
  alive: () => ({ ok: true, status: 'alive' }),
  ready: () => ({ ok: false, status: 'not ready', why: 'because' }),
  ...more,
});
const LOCAL = { host: '127.0.0.1', port: 0 };

test('the HTTP port answers what it is for, and nothing else', async () => {
  server = await serveHttp(LOCAL, pages());
  const got = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const response = await fetch(server!.address + path, { method });
    return [response.status, await response.text()];
  };
  expect(await got('/metrics?x=1')).toEqual([200, 'm 1\n']);
  expect(await got('/metrics', 'HEAD')).toEqual([200, '']);
  expect(await got('/healthz')).toEqual([200, '{"ok":true,"status":"alive"}\n']);
  expect(await got('/readyz')).toEqual([503, '{"ok":false,"status":"not ready","why":"because"}\n']);
  expect((await got('/'))[0]).toBe(404);
  expect((await got('/metrics/..'))[0]).toBe(404);
  expect((await got('/metrics', 'POST'))[0]).toBe(405);
  expect((await fetch(`${server.address}/metrics`)).headers.get('content-type')).toBe('text/plain; version=0.0.4');
});

test('a page that fails is 500 and the port lives on', async () => {
  server = await serveHttp(LOCAL, pages({ metrics: () => Promise.reject(new Error('broken')) }));
  expect((await fetch(`${server.address}/metrics`)).status).toBe(500);
  expect((await fetch(`${server.address}/healthz`)).status).toBe(200);
});

test('foreign bytes are no request, and close no other connection', async () => {
  server = await serveHttp(LOCAL, pages());
  const socket = connect(Number(new URL(server.address).port), '127.0.0.1');
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  socket.resume();
  socket.write(Buffer.from([0x16, 3, 1, 0, 255, 10, 10]));
  await closed;
  expect((await fetch(`${server.address}/healthz`)).status).toBe(200);
});

test('the port closes though a client keeps its connection open', async () => {
  server = await serveHttp(LOCAL, pages());
  const socket = connect(Number(new URL(server.address).port), '127.0.0.1');
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.on('connect', () => resolve()));
  const closed = new Promise((resolve) => socket.on('close', resolve));
  await server.close();
  await closed;
  await expect(fetch(`${server.address}/healthz`)).rejects.toThrow('fetch failed');
  server = undefined;
});

test('a port that is taken is said so', async () => {
  server = await serveHttp(LOCAL, pages());
  const { port } = new URL(server.address);
  const error = await serveHttp({ host: '127.0.0.1', port: Number(port) }, pages()).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(TallyError);
  expect(error).toMatchObject({ code: 'E_HTTP', message: expect.stringContaining(`127.0.0.1:${port}: something else listens there`) });
});
