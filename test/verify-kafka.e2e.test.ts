/** The oracle's own reader of Kafka against a real broker: what it must count, what it must pass over, and what it must not keep silent about. */
import path from 'node:path';
import type { Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { libraryAccess } from '../src/kafka/library-access.ts';
import type { LoggedLog, Range } from '../src/verify/logged-log.ts';
import { openKafkaLogged } from '../src/verify/read-kafka.ts';
import { verifyJob } from '../src/verify/verify-job.ts';
import { kafkaMissing, runJava, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { batchOf, RawProducer } from './kafka-produce.ts';
import { askOf, batch, GIVEN, PLAN, rightTables, SALES, T0, VIEWS } from './verify-fixture.ts';
import type { Logged, Tables } from './verify-fixture.ts';

interface Got {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
}
const valuesOf = (got: readonly Got[]): (string | null)[] => got.map((r) => r.value);

describe.skipIf(kafkaMissing !== undefined)("the oracle's reader of Kafka", () => {
  let kafka: KafkaCluster, log: LoggedLog;
  let topics = 0;

  beforeAll(async () => {
    kafka = await startKafka();
    log = await openKafkaLogged(await libraryAccess(kafka.plainUrl));
  });
  afterAll(async () => {
    await log.close();
    await kafka.stop();
  });

  async function newTopic(config: Record<string, string> = {}): Promise<string> {
    const topic = `oracle-${++topics}`;
    await kafka.createTopic(topic, 1, config);
    return topic;
  }
  async function read(topic: string, before: number, skipped: readonly Range[] = []): Promise<Got[]> {
    const got: Got[] = [];
    for await (const batch of log.read(topic, 0, skipped, before))
      for (const { offset, timestamp, key, value } of batch.records)
        got.push({ offset, timestamp, key: key?.toString() ?? null, value: value?.toString() ?? null });
    return got;
  }
  async function transactional(id: string): Promise<Producer> {
    const producer = kafka.client.producer({ transactionalId: id, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    return producer;
  }
  const send = (to: Pick<Producer, 'send'>, topic: string, ...values: string[]): Promise<unknown> =>
    to.send({ topic, messages: values.map((value) => ({ value })) });
  const ends = async (topic: string): Promise<number> => Number((await kafka.admin((admin) => admin.fetchTopicOffsets(topic)))[0]!.high);

  test("the Java client's batches of every codec hold the same records", { timeout: 60_000 }, async () => {
    const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
    for (const codec of codecs) await kafka.createTopic(`java-${codec}`);
    runJava(path.join(import.meta.dirname, 'kafka-producer.java'), kafka.plainUrl.slice('kafka://'.length), '2000', ...codecs);
    const want = Array.from({ length: 2000 }, (_, i) => ({
      offset: i,
      timestamp: 1_700_000_000_000 + i,
      key: i % 7 === 0 ? null : `k${i}`,
      value: i % 11 === 0 ? null : `value ${i} `.repeat(1 + (i % 40)),
    }));
    for (const codec of codecs) expect(await read(`java-${codec}`, 2000), codec).toEqual(want);
  });

  test('aborted transactions are passed over: several at once, a key of four zeros, an end beyond what is read', async () => {
    const topic = await newTopic(),
      [a, b] = [await transactional('a'), await transactional('b')];
    const first = await a.transaction(),
      second = await b.transaction();
    await send(first, topic, 'a aborted 1');
    await send(second, topic, 'b aborted 1');
    // The library's own filter takes this key for the end of the transaction.
    await first.send({ topic, messages: [{ key: Buffer.alloc(4), value: 'a aborted 2' }] });
    await send(first, topic, 'a aborted 3');
    await send(second, topic, 'b aborted 2');
    await first.abort();
    const third = await a.transaction();
    await send(third, topic, 'a committed');
    await second.abort();
    await third.commit();
    const plain = kafka.client.producer();
    await plain.connect();
    await send(plain, topic, 'plain');
    const end = await ends(topic);
    expect(end).toBe(10);
    expect(valuesOf(await read(topic, end))).toEqual(['a committed', 'plain']);
    // The markers of both stand behind what is read.
    expect(valuesOf(await read(topic, 5))).toEqual([]);
    expect(valuesOf(await read(topic, 7))).toEqual(['a committed']);
    await Promise.all([a, b, plain].map((p) => p.disconnect()));
  });

  test('a log that ends in a marker is read to its end; a transaction that is open below the end is no log that was read', async () => {
    const topic = await newTopic(),
      producer = await transactional('open'),
      done = await producer.transaction();
    await send(done, topic, 'x', 'y');
    await done.commit();
    expect(await ends(topic)).toBe(3);
    const lastOffsets: number[] = [];
    for await (const batch of log.read(topic, 0, [], 3)) lastOffsets.push(batch.lastOffset);
    expect(lastOffsets).toEqual([1, 2]);
    const open = await producer.transaction();
    await send(open, topic, 'z');
    expect(valuesOf(await read(topic, 3))).toEqual(['x', 'y']);
    await expect(read(topic, 4)).rejects.toMatchObject({ code: 'E_LOG_TRUNCATED', message: expect.stringContaining('began at 3') });
    await open.abort();
    expect(valuesOf(await read(topic, 4))).toEqual(['x', 'y']);
    await producer.disconnect();
  });

  test('a topic of append times gives the time of the batch, one of create times that of the record', async () => {
    const since = Date.now(),
      appended = await newTopic({ 'message.timestamp.type': 'LogAppendTime' }),
      created = await newTopic();
    const producer = await RawProducer.open(kafka.brokers[0]!.plainPort);
    for (const topic of [appended, created]) await producer.send(topic, 0, batchOf(['a', 'b', 'c']));
    producer.close();
    const times = (await read(appended, 3)).map((r) => r.timestamp);
    expect(new Set(times).size).toBe(1);
    expect(times[0]).toBeGreaterThanOrEqual(since);
    expect((await read(created, 3)).map((r) => r.timestamp)).toEqual([1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002]);
  });

  test('records that were removed are named, unless the run never read them', async () => {
    const topic = await newTopic(),
      producer = await RawProducer.open(kafka.brokers[0]!.plainPort);
    for (let i = 0; i < 4; i++) await producer.send(topic, 0, batchOf([`v${2 * i}`, `v${2 * i + 1}`]));
    producer.close();
    await kafka.admin(async (admin) => {
      // Loads the layout, which deleting doesn't.
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    });
    await expect(read(topic, 8)).rejects.toMatchObject({
      code: 'E_LOG_GAP',
      message: `${topic}/0: the tables stand at offset 8, but the log begins at 5: offsets 0 to 4 were removed.`,
    });
    await expect(read(topic, 3)).rejects.toMatchObject({ code: 'E_LOG_GAP', message: expect.stringContaining('offsets 0 to 2 were') });
    await expect(read(topic, 8, [[0, 4]])).rejects.toMatchObject({
      code: 'E_LOG_GAP',
      message: expect.stringContaining('offsets 4 to 4 were'),
    });
    expect((await read(topic, 8, [[0, 5]])).map((r) => r.offset).filter((o) => o >= 5)).toEqual([5, 6, 7]);
    expect(await read(topic, 3, [[0, 3]])).toEqual([]);
  });

  test(
    'a recount from Kafka finds right tables right and a wrong row wrong, and says nothing when records are missing',
    { timeout: 30_000 },
    async () => {
      const producer = await RawProducer.open(kafka.brokers[0]!.plainPort),
        access = await libraryAccess(kafka.plainUrl),
        places = Map.groupBy(GIVEN, (g) => g.at);
      for (const topic of ['views', 'sales']) await kafka.createTopic(topic, 2);
      for (const [place, given] of places) {
        const records = given.map((g, offset): Logged => {
          const value = g.raw === null ? null : Buffer.from(g.raw);
          return { offset, timestamp: T0 + g.time * 3_600_000, key: g.key ?? null, value };
        });
        await producer.send(place.slice(0, -2), Number(place.slice(-1)), batch(records));
      }
      producer.close();
      const verify = (spoil: (t: Tables) => void): ReturnType<typeof verifyJob> => {
        const tables = rightTables();
        spoil(tables);
        return verifyJob({ plan: PLAN, contracts: [VIEWS, SALES], logDir: '', kafka: access, ask: askOf(tables), generation: 1 });
      };
      expect(await verify(() => {})).toMatchObject({ ok: true, records: GIVEN.length });
      expect(await verify((t) => t['shop_hourly_live']!.pop())).toMatchObject({ ok: false, total: 1 });
      const offsets = (t: Tables): [string, number, number, Range[]?][] => JSON.parse(String(t['tally_progress']![0]!['offsets'])) as never;
      const committed = (t: Tables, change: (place: [string, number, number, Range[]?]) => void): void => {
        const all = offsets(t);
        change(all[0]!);
        t['tally_progress']![0]!['offsets'] = JSON.stringify(all);
      };
      await expect(verify((t) => committed(t, (p) => p[2]++))).rejects.toMatchObject({ code: 'E_LOG_TRUNCATED' });
      // Records that the run never read are not asked for: here one fewer is in the books than the tables say.
      expect((await verify((t) => committed(t, (p) => (p[3] = [[0, 1]])))).records).toBe(GIVEN.length - 1);
      await kafka.admin(async (admin) => {
        await admin.fetchTopicOffsets('views');
        await admin.deleteTopicRecords({ topic: 'views', partitions: [{ partition: 0, offset: '1' }] });
      });
      await expect(verify(() => {})).rejects.toMatchObject({
        code: 'E_LOG_GAP',
        message: expect.stringMatching(/^views\/0: .*offsets 0 to 0 were/),
      });
    },
  );

  test('what it cannot reach or see is one sentence', { timeout: 30_000 }, async () => {
    const began = performance.now();
    await expect(openKafkaLogged({ brokers: ['127.0.0.1:1'] })).rejects.toMatchObject({
      code: 'E_KAFKA_UNREACHABLE',
      message: expect.stringContaining('127.0.0.1:1'),
    });
    expect(performance.now() - began).toBeLessThan(10_000);
    await expect(log.has('nowhere', 0)).rejects.toMatchObject({ code: 'E_TOPIC_MISSING', message: expect.stringContaining("'nowhere'") });
    expect(await log.has(await newTopic(), 1)).toBe(false);
  });
});
