/**
 * A job between a real broker and a ClickHouse that has a bad day: it refuses, takes rows and loses the answer, has too many parts. The run
 * waits within its bounds, stays alive and ready meanwhile, loses nothing and counts nothing twice.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MoodyProxy } from './clickhouse-proxy.ts';
import { freePort, startServer } from './clickhouse-server-fixture.ts';
import type { Server } from './clickhouse-server-fixture.ts';
import { until } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { LiveJob } from './live-job.ts';

const MIB = 1 << 20;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a run says of itself over HTTP, asked again and again. */
class Watch {
  /** Answers that were not 200. */
  readonly refusals: string[] = [];
  outboxBytesMost = 0;
  wasPaused = false;
  saidDown = false;
  private isOn = true;
  private readonly done: Promise<void>;
  constructor(address: string) {
    this.done = this.look(address);
  }
  async stop(): Promise<void> {
    this.isOn = false;
    await this.done;
  }
  private async look(address: string): Promise<void> {
    for (; this.isOn; await sleep(100)) {
      for (const page of ['healthz', 'readyz']) {
        const answer = await fetch(`http://${address}/${page}`),
          text = await answer.text();
        if (answer.status !== 200) this.refusals.push(`${page}: ${text}`);
        if (page === 'healthz' && text.includes('"clickhouse_down_for_shards":[0]')) this.saidDown = true;
      }
      const metrics = await (await fetch(`http://${address}/metrics`)).text(),
        value = (name: string): number => Number(new RegExp(`^${name}\\{[^}]*\\} (.*)$`, 'm').exec(metrics)?.[1] ?? 0);
      this.outboxBytesMost = Math.max(this.outboxBytesMost, value('tally_outbox_bytes'));
      if (value('tally_paused') === 1) this.wasPaused = true;
    }
  }
}

describe.skipIf(kafkaMissing !== undefined)('a job on Kafka whose ClickHouse has a bad day', { timeout: 300_000 }, () => {
  let kafka: KafkaCluster, server: Server;
  const opened: LiveJob[] = [];
  beforeAll(async () => {
    process.env['TALLY_CLICKHOUSE_PASSWORD'] = 'w';
    [kafka, server] = await Promise.all([startKafka(), startServer()]);
  }, 120_000);
  afterAll(async () => {
    delete process.env['TALLY_CLICKHOUSE_PASSWORD'];
    for (const live of opened) await live.place.remove();
    await kafka?.stop();
    await server?.close();
  });
  const open = async (topic: string): Promise<LiveJob> => {
    const live = await LiveJob.open(kafka, topic, 3);
    opened.push(live);
    return live;
  };
  const at = (host: string, database: string): string => `http://writer@${host}/${database}`;

  it('refused for a minute in every way, and then robbed of answers, a run is bounded, alive and ready, and exact in the end', async () => {
    const live = await open('refused'),
      proxy = await MoodyProxy.open(server.url),
      http = `127.0.0.1:${await freePort()}`;
    const words = live.words('--data', 'd', '--clickhouse', at(proxy.host, 'refused'), '--commit-events', '2000');
    // Broken records make rows that cannot be summed up: an outbox of them is soon full.
    const load = live.load(2000, 80, 0.3);
    const run = live.run([...words, '--http', http], { TALLY_MEMORY_OUTBOX: '1MiB' });
    await live.hasRead('d', 4000, run);
    const watch = new Watch(http);
    for (const mood of ['fails', 'too many parts', 'hangs up'] as const) {
      proxy.mood = mood;
      await sleep(20_000);
      expect(proxy.met[mood], `nothing met a proxy that ${mood}`).toBeGreaterThan(0);
    }
    const whenDown = live.read('d');
    expect(whenDown).toBeLessThan(100_000);
    proxy.mood = 'loses answers';
    const sent = await load;
    await live.hasRead('d', sent, run);
    expect(proxy.met['loses answers']).toBeGreaterThan(10);
    proxy.mood = 'passes';
    await watch.stop();
    expect(watch).toMatchObject({ refusals: [], wasPaused: true, saidDown: true });
    // The bound, and the commit that went over it.
    expect(watch.outboxBytesMost).toBeGreaterThan(MIB);
    expect(watch.outboxBytesMost).toBeLessThan(2 * MIB);
    run.child.kill('SIGTERM');
    const stopped = await run.done;
    expect([stopped.status, stopped.stderr]).toEqual([0, expect.stringContaining('ClickHouse does not take rows')]);
    expect(await live.place.tally(...words, '--until-end', '--finish')).toMatchObject({ status: 0 });
    await live.exact(sent, '--clickhouse', at(new URL(server.url).host, 'refused'));
    await proxy.close();
  });

  it('a table with too many parts is waited for, again and again, and ends exact', async () => {
    const live = await open('parts'),
      url = at(new URL(server.url).host, 'parts'),
      words = live.words('--data', 'd', '--clickhouse', url);
    const load = live.load(1500, 40);
    const run = live.run(words);
    await live.hasRead('d', 3000, run);
    const tables = (await server.ask("SELECT name FROM system.tables WHERE database = 'parts' AND engine = 'ReplacingMergeTree'")).map(
      (r) => String(r['name']),
    );
    expect(tables.length).toBeGreaterThan(5);
    const taken = async (): Promise<number> =>
      Number((await server.ask('SELECT max(version) AS v FROM parts.tally_progress_rows'))[0]!['v']);
    for (let round = 1; round <= 3; round++) {
      const troubles = run.stderr().split('Too many parts').length;
      for (const table of tables)
        await server.do(
          `ALTER TABLE parts.${table} MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1, max_delay_to_insert = 1`,
        );
      await until(
        () => run.stderr().split('Too many parts').length > troubles,
        () => `no trouble in round ${round}: ${run.stderr()}`,
      );
      await sleep(2000);
      const before = await taken();
      for (const table of tables)
        await server.do(`ALTER TABLE parts.${table} RESET SETTING parts_to_delay_insert, parts_to_throw_insert, max_delay_to_insert`);
      await until(
        async () => (await taken()) > before,
        () => `nothing comes after round ${round}: ${run.stderr()}`,
      );
    }
    const sent = await load;
    await live.hasRead('d', sent, run);
    run.child.kill('SIGTERM');
    expect(await run.done).toMatchObject({ status: 0 });
    expect(await live.place.tally(...words, '--until-end', '--finish')).toMatchObject({ status: 0 });
    await live.exact(sent, '--clickhouse', url);
  });
});
