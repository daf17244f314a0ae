/** Three real brokers: leaders that die, hang or change, and an election that loses records, which must never go unseen. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Connection } from '../src/kafka/connection.ts';
import { GapError } from '../src/kafka/faults.ts';
import { METADATA } from '../src/kafka/protocol/metadata.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { Broker, KafkaCluster } from './kafka-fixture.ts';
import { batchOf, RawProducer } from './kafka-produce.ts';
import { Watched } from './kafka-watched.ts';

const numbered = (count: number, from: number): string[] => Array.from({ length: count }, (_, i) => `v${from + i}${' '.repeat(500)}`);

describe.skipIf(kafkaMissing !== undefined)('a cluster of three brokers', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({
      brokers: 3,
      heapMiB: 224,
      config: { 'replica.lag.time.max.ms': '1500', 'unclean.leader.election.interval.ms': '500' },
    });
  }, 120_000);
  afterAll(() => kafka.stop());

  const brokerOf = (node: number): Broker => kafka.brokers.find((b) => b.node === node)!;

  async function produce(leader: number, topic: string, values: readonly string[], partition: number = 0): Promise<void> {
    const producer = await RawProducer.open(brokerOf(leader).plainPort);
    for (let i = 0; i < values.length; i += 100) await producer.send(topic, partition, batchOf(values.slice(i, i + 100)));
    producer.close();
  }
  /** As one broker sees it, who must be alive. */
  async function leader(topic: string, asked: number, isSo: (node: number) => boolean): Promise<number> {
    for (;;) {
      const connection = await Connection.open({
        host: '127.0.0.1',
        port: brokerOf(asked).plainPort,
        clientId: 'test',
        tls: undefined,
        connectTimeoutMs: 1000,
        requestTimeoutMs: 1000,
        answerBytesMax: 1 << 20,
      }).catch(() => undefined);
      const answer = await connection?.send(METADATA, { topics: [topic] }).catch(() => undefined);
      connection?.close();
      const node = answer?.topics[0]?.partitions[0]?.leader ?? -1;
      if (node > 0 && isSo(node)) return node;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  async function inSync(topic: string, count: number): Promise<void> {
    for (let now = -1; now !== count; await new Promise((resolve) => setTimeout(resolve, 100))) {
      const { topics } = await kafka.admin((admin) => admin.fetchTopicMetadata({ topics: [topic] }));
      now = topics[0]!.partitions[0]!.isr.length;
    }
  }

  test('a leader that is killed, and one that hangs, are read on from their successors', async () => {
    await kafka.createTopic('led');
    await produce(await leader('led', 1, () => true), 'led', numbered(500, 0));
    const w = await Watched.open(kafka.plainUrl, ['led'], {
      bufferBytes: 128 * 1024,
      requestTimeoutMs: 1000,
      connectTimeoutMs: 1000,
      maxWaitMs: 200,
    });
    const reader = w.log.reader({ topic: 'led', partition: 0, offset: 0 });
    const got = await w.read(reader, (g) => g.length >= 100);
    for (const [signal, from] of [
      ['SIGKILL', 500],
      ['SIGSTOP', 1000],
    ] as const) {
      await inSync('led', 3);
      const old = await leader('led', 1, () => true),
        broker = brokerOf(old);
      if (signal === 'SIGKILL') await broker.kill();
      else broker.signal('SIGSTOP');
      const more = w.read(reader, (g) => got.length + g.length >= from + 500);
      const next = await leader('led', old === 1 ? 2 : 1, (node) => node !== old);
      await produce(next, 'led', numbered(500, from));
      got.push(...(await more));
      if (signal === 'SIGKILL') broker.start();
      else broker.signal('SIGCONT');
      await kafka.ready();
    }
    expect(got.map(({ value }) => value)).toEqual(numbered(1500, 0));
    expect(reader.leaderEpoch).toBeGreaterThanOrEqual(2);
    await w.log.close();
  }, 60_000);

  test('a partition that nobody leads is read on when somebody does, and the others meanwhile', async () => {
    await kafka.admin((admin) =>
      admin.createTopics({
        waitForLeaders: true,
        topics: [
          {
            topic: 'alone',
            replicaAssignment: [
              { partition: 0, replicas: [3] },
              { partition: 1, replicas: [1] },
            ],
          },
        ],
      }),
    );
    await produce(3, 'alone', numbered(100, 0));
    const w = await Watched.open(kafka.plainUrl, ['alone']);
    const [reader, other] = [0, 1].map((partition) => w.log.reader({ topic: 'alone', partition, offset: 0 }));
    expect(await w.read(reader!)).toHaveLength(100);
    await brokerOf(3).kill();
    const more = w.read(reader!, (got) => got.length === 50);
    while (!w.troubles.includes('alone, partition 0 has no leader at the moment')) await new Promise((resolve) => setTimeout(resolve, 100));
    await produce(1, 'alone', numbered(70, 0), 1);
    expect(await w.read(other!, (got) => got.length === 70)).toHaveLength(70);
    brokerOf(3).start();
    await kafka.ready();
    await leader('alone', 3, (node) => node === 3);
    await produce(3, 'alone', numbered(50, 100));
    expect((await more).map(({ value }) => value)).toEqual(numbered(50, 100));
    await w.log.close();
  }, 60_000);

  test('an election that lost records is a gap, for who reads on and for who comes back after the log grew again', async () => {
    await kafka.admin((admin) =>
      admin.createTopics({
        waitForLeaders: true,
        topics: [
          {
            topic: 'unclean',
            replicaAssignment: [{ partition: 0, replicas: [1, 2] }],
            configEntries: [{ name: 'unclean.leader.election.enable', value: 'true' }],
          },
        ],
      }),
    );
    await produce(1, 'unclean', numbered(100, 0));
    const w = await Watched.open(kafka.plainUrl, ['unclean']),
      reader = w.log.reader({ topic: 'unclean', partition: 0, offset: 0 });
    // What can be read is on both.
    expect(await w.read(reader, (got) => got.length === 100)).toHaveLength(100);
    await brokerOf(2).kill();
    await inSync('unclean', 1);
    await produce(1, 'unclean', numbered(100, 100));
    expect(await w.read(reader, (got) => got.length === 100)).toHaveLength(100);
    const place = { topic: 'unclean', partition: 0, offset: reader.position, leaderEpoch: reader.leaderEpoch, topicId: reader.topicId };
    await brokerOf(1).kill();
    brokerOf(2).start();
    await leader('unclean', 2, (node) => node === 2);
    await produce(2, 'unclean', numbered(300, 9000));
    const live = (await w.fault(reader)) as GapError;
    expect(live).toBeInstanceOf(GapError);
    expect(live.gap).toMatchObject({ wanted: 200, from: 100, to: 200 });
    await w.log.close();
    const later = await Watched.open(kafka.plainUrl, ['unclean']);
    const back = (await later.fault(later.log.reader(place))) as GapError;
    expect(back).toBeInstanceOf(GapError);
    expect(back.gap).toEqual({
      kind: 'diverged',
      topic: 'unclean',
      partition: 0,
      wanted: 200,
      start: 0,
      end: 400,
      from: 100,
      to: 200,
      resumeAt: 100,
    });
    await later.log.close();
    brokerOf(1).start();
    await kafka.ready();
  }, 60_000);
});
