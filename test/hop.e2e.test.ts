/**
 * A repartitioned job on a real broker: its producers send each record to any partition, so that a resend or a conflict reaches the shard of
 * its original over the hop alone. What is counted is held against the oracle, and against the plain sums of the distinct events.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigResourceTypes } from 'kafkajs';
import { startEngine } from '../src/clickhouse/engine.ts';
import { openProducer } from '../src/kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../src/kafka/produce/topic-writer.ts';
import { Place, sales, statusOf, told, until, urlOf } from './end-to-end-fixture.ts';
import type { Line, Summary } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';

const PARTITIONS = 4,
  SILENT = 3,
  HOP = 'tally-sales-sales-by-id';

describe.skipIf(kafkaMissing !== undefined)('a job that is repartitioned', { timeout: 240_000 }, () => {
  let kafka: KafkaCluster;
  const places: Place[] = [];
  beforeAll(async () => {
    kafka = await startKafka();
  }, 120_000);
  afterAll(async () => {
    for (const place of places) await place.remove();
    await kafka?.stop();
  });

  /** Topics that are new, and a job that says how it is repartitioned. */
  async function begin(): Promise<Place> {
    const place = new Place();
    places.push(place);
    place.repartition();
    await kafka.admin(async (admin) => {
      const there = (await admin.listTopics()).filter((topic) => topic === 'sales' || topic === HOP);
      if (there.length > 0) await admin.deleteTopics({ topics: there });
    });
    await until(
      async () => !(await kafka.admin((admin) => admin.listTopics())).some((topic) => topic === 'sales' || topic === HOP),
      () => 'the topics are still there',
    );
    await kafka.createTopic('sales', PARTITIONS);
    return place;
  }

  let turn = 0;
  /** Each line to another partition than the one before; its key is its id, which no partition rests on. One partition soon falls silent. */
  async function send(lines: readonly Line[]): Promise<void> {
    const producer = await openProducer(kafka.url(), ['sales']),
      writer = new KafkaTopicWriter(producer, 'sales');
    for (const [i, { text, arrival }] of lines.entries()) {
      turn++;
      const value = Buffer.from(text),
        key = /"id":"([^"]+)"/.exec(text)?.[1] ?? 'none';
      writer.append(turn < 100 ? turn % PARTITIONS : turn % SILENT, Buffer.from(key), value, arrival);
      if (i % 50 === 0) writer.send();
    }
    writer.send();
    await producer.flush();
    await producer.close();
  }
  const words = (place: Place, data: string, ...more: string[]): string[] => [
    'run',
    place.job,
    '--contracts',
    place.contracts,
    '--log',
    kafka.url(),
    '--data',
    data,
    ...more,
  ];
  async function count(place: Place, data: string, ...more: string[]): Promise<Summary> {
    const done = await place.tally(...words(place, data, '--until-end', '--json', ...more));
    expect(done.status, done.stderr).toBe(0);
    return JSON.parse(done.stdout) as Summary;
  }
  async function verified(place: Place, data: string): Promise<Record<string, number>> {
    const done = await place.tally('verify', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--data', data, '--json');
    expect(done.status, done.stdout + done.stderr).toBe(0);
    return JSON.parse(done.stdout) as Record<string, number>;
  }
  const read = (data: string): number =>
    (statusOf(data)?.shards ?? []).flatMap((s) => s.partitions as unknown as { page: number[] }[]).reduce((sum, p) => sum + p.page[0]!, 0);

  it('counts each event once over all shards, whatever partition it came on, as one shard would', async () => {
    const place = await begin();
    // Of two contents the one read first counts, and that is not the same over partitions that are read in another order.
    const lines = sales(0, 2000).filter(({ text }) => !text.includes('"total":1000000'));
    await send(lines);
    const four = await count(place, 'four', '--shards', '4'),
      one = await count(place, 'one');
    expect(four.records).toBe(lines.length);
    expect(four.classes).toEqual(one.classes);
    expect(await place.rows('four')).toBe(await place.rows('one'));
    await verified(place, 'four');
    // The watermark is that of the whole source in every shard, though each saw a part of it, and one partition is silent.
    const finalTo = 'SELECT DISTINCT final_to FROM tally_progress FINAL';
    expect(await place.query('four', finalTo)).toBe(await place.query('one', finalTo));
    const busy = await place.query('four', "SELECT uniqExact(shard) FROM tally_books WHERE class = 'duplicate' AND records > 0");
    expect(busy).toBe('4');

    // Without the hop the same records, keyed well but on any partition, are counted once a shard that they reached.
    const plain = new Place();
    places.push(plain);
    const wrong = await count(plain, 'plain', '--shards', '4');
    expect(wrong.classes.counted).toBeGreaterThan(four.classes.counted);
  });

  it('loses and repeats nothing when it is killed again and again, and goes on where it was', async () => {
    const place = await begin();
    await send(sales(0, 500));
    let sent = sales(0, 500).length;
    for (let round = 1; round <= 4; round++) {
      const run = place.start(words(place, 'k', '--shards', '4', '--commit-events', '100'));
      await send(sales(round * 500, round * 500 + 500));
      const before = sent;
      sent += sales(round * 500, round * 500 + 500).length;
      await until(
        () => read(place.path('k')) >= before + 50,
        () => `the run stands still: ${run.stderr()}`,
      );
      run.child.kill(round === 4 ? 'SIGTERM' : 'SIGKILL');
      const done = await run.done;
      if (round === 4) expect(done.status, done.stderr).toBe(0);
    }
    await count(place, 'k', '--finish');
    const { records } = await verified(place, 'k');
    expect(records).toBe(sent);
    expect(await place.query('k', 'SELECT sum(sales) FROM sales_daily')).toBe('2500');
    expect(await place.query('k', "SELECT sumIf(records, class = 'read') FROM tally_books WHERE topic = 'sales'")).toBe(String(sent));
  });

  it('is read by several processes, each of which sends its part of the source to all of them', async () => {
    const place = await begin(),
      engine = await startEngine({ dir: place.path('engine') }),
      url = urlOf(engine);
    try {
      await send(sales(0, 1000));
      const [a, b] = await Promise.all([
        count(place, 'a', '--shards', '0-1/4', '--clickhouse', url),
        count(place, 'b', '--shards', '2-3/4', '--clickhouse', url),
      ]);
      expect(a.records).toBeGreaterThan(0);
      expect(b.records).toBeGreaterThan(0);
      expect(a.records + b.records).toBe(sales(0, 1000).length);
      const words = ['verify', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--clickhouse', url, '--json'],
        done = await place.tally(...words);
      expect(done.status, done.stdout + done.stderr).toBe(0);
      expect(JSON.parse(done.stdout)).toMatchObject({ records: sales(0, 1000).length, counted: 1000 });
    } finally {
      await engine.stop();
    }
  });

  it('comes to its end behind the marker of a transaction, and sends nothing of one that was aborted', async () => {
    const place = await begin();
    await send(sales(0, 50));
    const producer = kafka.client.producer({ transactionalId: 'sales', idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    for (const [from, ends] of [
      [50, 'commit'],
      [60, 'abort'],
    ] as const) {
      const transaction = await producer.transaction();
      const messages = sales(from, from + 10).map(({ text, arrival }) => ({
        key: 'any',
        value: text,
        partition: 2,
        timestamp: String(arrival),
      }));
      await transaction.send({ topic: 'sales', messages });
      await transaction[ends]();
    }
    await producer.disconnect();
    expect((await count(place, 'k', '--shards', '2', '--finish')).classes.counted).toBe(60);
    await verified(place, 'k');
  });

  it('refuses an internal topic that does not fit, or that was removed', async () => {
    const place = await begin();
    await send(sales(0, 300));
    await count(place, 'k', '--shards', '2');
    const settings = await kafka.admin((admin) =>
      admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: HOP }] }),
    );
    const setting = (name: string): string | undefined =>
      settings.resources[0]!.configEntries.find((e) => e.configName === name)?.configValue;
    expect(['cleanup.policy', 'message.timestamp.type', 'retention.ms'].map(setting)).toEqual(['delete', 'LogAppendTime', '604800000']);
    const refused = async (data: string, ...more: string[]): Promise<string> => {
      const done = await place.tally(...words(place, data, '--until-end', ...more));
      expect(done.status).not.toBe(0);
      return done.stderr;
    };
    // A state that is new finds in the hop what was sent before, if it was sent for the same job, shards and beginning.
    expect((await count(place, 'new', '--shards', '2')).records).toBe(sales(0, 300).length);
    await verified(place, 'new');
    expect(await refused('late', '--shards', '2', '--from', 'latest')).toMatch(told('E_HOP_OTHER'));
    expect(await refused('four', '--shards', '4')).toMatch(told('E_HOP_TOPIC'));
    writeFileSync(place.job, readFileSync(place.job, 'utf8').replace('minutes(5)', 'minutes(6)'));
    expect(await refused('plan', '--shards', '2')).toMatch(told('E_HOP_OTHER'));
    writeFileSync(place.job, readFileSync(place.job, 'utf8').replace('minutes(6)', 'minutes(5)'));
    await kafka.admin((admin) => admin.deleteTopics({ topics: [HOP] }));
    await until(
      async () => !(await kafka.admin((admin) => admin.listTopics())).includes(HOP),
      () => 'the topic is still there',
    );
    await send(sales(300, 320));
    expect(await refused('k')).toMatch(told('E_HOP_GAP'));
  });

  it('warns of a snapshot that is older than half of what the internal topic keeps', async () => {
    const place = await begin(),
      engine = await startEngine({ dir: place.path('engine') }),
      url = urlOf(engine);
    try {
      await send(sales(0, 50));
      await count(place, 'w', '--shards', '2', '--clickhouse', url);
      // All of its settings are said again: those that are not go back to the broker's.
      const said = { 'retention.ms': '4000', 'cleanup.policy': 'delete', 'message.timestamp.type': 'LogAppendTime' },
        configEntries = Object.entries(said).map(([name, value]) => ({ name, value }));
      await kafka.admin((admin) =>
        admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: HOP, configEntries }] }),
      );
      const run = place.start(words(place, 'w', '--shards', '2', '--clickhouse', url, '--snapshots', place.path('copies')));
      await until(
        () => run.stderr().includes('more than half of the 4 s that the log keeps'),
        () => `nothing is said: ${run.stderr()}`,
        30_000,
      );
      run.child.kill('SIGTERM');
      expect((await run.done).status, run.stderr()).toBe(0);
    } finally {
      await engine.stop();
    }
  });

  it('refuses a log on disk, unless there is one shard and nothing to send', async () => {
    const place = await begin();
    place.append(sales(0, 100), PARTITIONS);
    const refused = await place.refused('d', '--shards', '2');
    expect(refused.stderr).toMatch(told('E_HOP_LOG'));
    await place.count('d');
    await place.verified('d');
  });
});
