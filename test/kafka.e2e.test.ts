/** The Kafka source against a real broker: every record once and in order, whatever happens between; and no gap in silence. */
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TallyError } from '../src/errors.ts';
import { Connection } from '../src/kafka/connection.ts';
import { GapError } from '../src/kafka/faults.ts';
import { openKafkaLog } from '../src/kafka/log.ts';
import type { KafkaLog, KafkaLogOptions } from '../src/kafka/log.ts';
import type { Api } from '../src/kafka/protocol/api.ts';
import { FETCH } from '../src/kafka/protocol/fetch.ts';
import type { FetchedPartition } from '../src/kafka/protocol/fetch.ts';
import { OFFSET_COMMIT } from '../src/kafka/protocol/group.ts';
import { METADATA } from '../src/kafka/protocol/metadata.ts';
import type { TopicMetadata } from '../src/kafka/protocol/metadata.ts';
import { LIST_OFFSETS } from '../src/kafka/protocol/offsets.ts';
import type { PartitionStart } from '../src/kafka/partition-queue.ts';
import { kafkaMissing, runJava, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { batchOf, RawProducer } from './kafka-produce.ts';
import { CuttingProxy } from './kafka-proxy.ts';
import { Watched } from './kafka-watched.ts';
import { decoded } from './log-fixture.ts';
import type { Got } from './log-fixture.ts';

const numbered = (count: number, from: number = 0, pad: number = 0): string[] =>
  Array.from({ length: count }, (_, i) => `v${from + i}${' '.repeat(pad)}`);
const valuesOf = (got: readonly Got[]): (string | null)[] => got.map(({ value }) => value);

describe.skipIf(kafkaMissing !== undefined)('a log on a real Kafka', () => {
  let kafka: KafkaCluster, proxy: CuttingProxy;
  const open: KafkaLog[] = [];
  let topics = 0;

  beforeAll(async () => {
    proxy = await CuttingProxy.open();
    kafka = await startKafka({ advertised: [proxy.port], config: { 'message.max.bytes': '20000000' } });
    proxy.target = kafka.brokers[0]!.ports[0]!;
  });
  afterAll(async () => {
    for (const log of open) await log.close();
    await proxy.close();
    await kafka.stop();
  });

  async function watched(topic: string | readonly string[], options: KafkaLogOptions = {}, url: string = kafka.plainUrl): Promise<Watched> {
    const opened = await Watched.open(url, [topic].flat(), options);
    open.push(opened.log);
    return opened;
  }
  async function newTopic(partitions: number = 1, config: Record<string, string> = {}): Promise<string> {
    const topic = `topic-${++topics}`;
    await kafka.createTopic(topic, partitions, config);
    return topic;
  }
  async function produce(topic: string, values: readonly string[], partition: number = 0): Promise<void> {
    const producer = await RawProducer.open(kafka.brokers[0]!.plainPort);
    for (let i = 0; i < values.length; i += 100) await producer.send(topic, partition, batchOf(values.slice(i, i + 100)));
    producer.close();
  }

  test('batches of the Java client are read in every codec, as they were sent', async () => {
    const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
      count = 3000;
    for (const codec of codecs) await kafka.createTopic(`java-${codec}`);
    const source = path.join(import.meta.dirname, 'kafka-producer.java');
    runJava(source, `127.0.0.1:${kafka.brokers[0]!.plainPort}`, String(count), ...codecs);
    const sent = Array.from({ length: count }, (_, i) => ({
      offset: i,
      timestamp: 1_700_000_000_000 + i,
      key: i % 7 === 0 ? null : `k${i}`,
      value: i % 11 === 0 ? null : `value ${i} `.repeat(1 + (i % 40)),
    }));
    const w = await watched(codecs.map((codec) => `java-${codec}`));
    for (const codec of codecs) {
      const reader = w.log.reader({ topic: `java-${codec}`, partition: 0, offset: 0 });
      expect(await w.read(reader), codec).toEqual(sent);
    }
  });

  test('a start inside a batch is given that batch whole, and the place after each batch can be kept', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(250));
    const first = await watched(topic),
      reader = first.log.reader({ topic, partition: 0, offset: 130 });
    await first.until(() => reader.peek() !== undefined);
    expect(reader.peek()).toMatchObject({ baseOffset: 100, lastOffset: 199 });
    reader.advance();
    const kept: PartitionStart = {
      topic,
      partition: 0,
      offset: reader.position,
      leaderEpoch: reader.leaderEpoch,
      topicId: reader.topicId,
    };
    expect(kept).toMatchObject({ offset: 200, leaderEpoch: 0 });
    const again = await watched(topic);
    expect(valuesOf(await again.read(again.log.reader(kept)))).toEqual(numbered(50, 200));
  });

  test('a record of 10 MB is read, between small ones, though it is larger than a partition may have in memory', async () => {
    const topic = await newTopic(2, { 'max.message.bytes': '20000000' });
    const large = 'x'.repeat(10_000_000);
    await produce(topic, ['before']);
    await produce(topic, [large]);
    await produce(topic, ['after']);
    await produce(topic, numbered(300, 0, 1000), 1);
    const w = await watched(topic, { bufferBytes: 256 * 1024 });
    const other = w.log.reader({ topic, partition: 1, offset: 0 });
    const reader = w.log.reader({ topic, partition: 0, offset: 0 });
    const got = await w.read(reader);
    expect(got.map(({ value }) => value!.length)).toEqual([6, 10_000_000, 5]);
    expect(valuesOf(await w.read(other))).toEqual(numbered(300, 0, 1000));
  });

  test('partitions whose batches are all larger than their share take turns', async () => {
    const topic = await newTopic(2);
    for (const partition of [0, 1]) await produce(topic, numbered(2000, 0, 1000), partition);
    const w = await watched(topic, { bufferBytes: 256 * 1024 });
    const readers = [0, 1].map((partition) => w.log.reader({ topic, partition, offset: 0 }));
    const shown: number[] = [];
    await w.until(() => {
      for (const [i, reader] of readers.entries()) for (; reader.peek() !== undefined; reader.advance()) shown.push(i);
      return readers.every((r) => r.atEnd);
    });
    expect(shown).toHaveLength(40);
    expect(shown.slice(0, 10).filter((i) => i === 0).length).toBeGreaterThan(2);
    expect(shown.slice(0, 10).filter((i) => i === 1).length).toBeGreaterThan(2);
  });

  test('what aborted transactions wrote is never shown, what others wrote all is, and an undecided one is no end', async () => {
    const topic = await newTopic();
    const [one, two] = ['one', 'two'].map((transactionalId) =>
      kafka.client.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 }),
    ) as [ReturnType<typeof kafka.client.producer>, ReturnType<typeof kafka.client.producer>];
    await Promise.all([one.connect(), two.connect()]);
    const expected: string[] = [];
    let n = 0;
    const values = (count: number): string[] => numbered(count, (n += count) - count, 900);
    const messages = (v: string[]): { topic: string; messages: { value: string }[] } => ({
      topic,
      messages: v.map((value) => ({ value })),
    });
    // Each transaction is larger than one fetch: markers come in later answers than what they decide, and several fit in one.
    for (const [round, isKept] of [false, false, true, false, true, true, false].entries()) {
      const [a, b] = [await one.transaction(), await two.transaction()];
      for (let i = 0; i < 3; i++) {
        const [ofA, ofB] = [values(round % 2 === 0 ? 2 : 12), values(3)];
        await a.send(messages(ofA));
        await b.send(messages(ofB));
        if (isKept) expected.push(...ofA);
        if (!isKept) expected.push(...ofB);
      }
      // One ends while the other is open, in turn.
      const ends = [() => (isKept ? a.commit() : a.abort()), () => (isKept ? b.abort() : b.commit())];
      for (const end of round % 3 === 0 ? ends : ends.reverse()) await end();
    }
    const plain = numbered(5, 9000);
    await produce(topic, plain);
    expected.push(...plain);
    const hanging = await one.transaction();
    await hanging.send(messages(['undecided']));
    await produce(topic, ['behind it']);

    for (const bufferBytes of [64 * 1024, 64 * 1024 * 1024]) {
      const w = await watched(topic, { bufferBytes });
      const [stable] = await w.log.endOffsets(topic),
        [high] = await w.log.highWatermarks(topic);
      expect(high).toBeGreaterThan(stable!);
      const reader = w.log.reader({ topic, partition: 0, offset: 0 });
      const got = await w.read(reader, () => reader.position === stable);
      expect(valuesOf(got)).toEqual(expected);
      expect(reader.peek()).toBeUndefined();
      expect(reader).toMatchObject({ atEnd: false, highWatermark: high, lastStableOffset: stable });
      if (bufferBytes > 64 * 1024) {
        await hanging.commit();
        expect(valuesOf(await w.read(reader))).toEqual(['undecided', 'behind it']);
        expect(reader.atEnd).toBe(true);
      }
    }
    // Begins in the midst of transactions whose beginnings it never sees.
    const later = await watched(topic),
      half = Math.floor((await later.log.endOffsets(topic))[0]! / 2);
    const got = await later.read(later.log.reader({ topic, partition: 0, offset: half }), undefined, half);
    const all = [...expected, 'undecided', 'behind it'];
    expect(valuesOf(got)).toEqual(all.slice(all.length - got.length));
    expect(got.length).toBeGreaterThan(10);
    await Promise.all([one.disconnect(), two.disconnect()]);
  });

  test('connections that are cut in the middle of an answer cost time, but no record and none twice', async () => {
    const topic = await newTopic(3);
    for (const partition of [0, 1, 2]) await produce(topic, numbered(2000, 0, 100), partition);
    let allowed = 2000;
    proxy.cutAfter = () => (allowed += 7919);
    const before = proxy.cuts;
    // Answers of 32 KiB: the first connections are too short for one, the later ones end within some later one.
    const w = await watched(topic, { bufferBytes: 256 * 1024 }, proxy.url);
    const readers = [0, 1, 2].map((partition) => w.log.reader({ topic, partition, offset: 0 }));
    const got = readers.map((): Got[] => []);
    await w.until(() => {
      for (const [i, reader] of readers.entries())
        for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
          got[i]!.push(...decoded(batch.bytes));
          reader.advance();
        }
      return readers.every((r) => r.atEnd);
    });
    proxy.cutAfter = () => Number.POSITIVE_INFINITY;
    for (const each of got) expect(valuesOf(each)).toEqual(numbered(2000, 0, 100));
    expect(proxy.cuts - before).toBeGreaterThan(5);
    expect(w.troubles.length).toBeGreaterThan(5);
  });

  test('memory is bounded by bytes, and a partition that is due is fetched though the others fill it', async () => {
    const topic = await newTopic(8);
    for (let p = 0; p < 8; p++) await produce(topic, numbered(1000, 0, 1000), p);
    const bufferBytes = 1024 * 1024;
    const w = await watched(topic, { bufferBytes });
    const readers = Array.from({ length: 8 }, (_, partition) => w.log.reader({ topic, partition, offset: 0 }));
    await w.until(() => readers.every((r) => r.bufferedBytes > 0));
    let most = 0;
    const got: Got[] = [];
    await w.until(() => {
      for (let batch = readers[7]!.peek(); batch !== undefined; batch = readers[7]!.peek()) {
        got.push(...decoded(batch.bytes));
        readers[7]!.advance();
        most = Math.max(most, w.log.heldBytes);
      }
      return readers[7]!.atEnd;
    });
    expect(valuesOf(got)).toEqual(numbered(1000, 0, 1000));
    // A batch of 100 KB may come on top, which is more than a partition's share here.
    expect(most).toBeLessThan(bufferBytes + 8 * 110_000);
    for (const reader of readers.slice(0, 7)) expect(valuesOf(await w.read(reader))).toEqual(numbered(1000, 0, 1000));
    for (const reader of readers) reader.close();
    // What was on the way is given back when it arrives.
    while (w.log.heldBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  test('a gap that deletion left is named, not skipped; what was fetched before is still read', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(300));
    await kafka.admin(async (admin) => {
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '250' }] });
    });
    const w = await watched(topic);
    expect(await w.log.startOffsets(topic)).toEqual([250]);
    const reader = w.log.reader({ topic, partition: 0, offset: 10, leaderEpoch: 0, topicId: w.log.topicId(topic) });
    const fault = await w.fault(reader);
    expect(fault).toBeInstanceOf(GapError);
    expect((fault as GapError).gap).toEqual({
      kind: 'removed',
      topic,
      partition: 0,
      wanted: 10,
      start: 250,
      end: 300,
      from: 10,
      to: 250,
      resumeAt: 250,
    });
    reader.close();
    expect((fault as GapError).message).toContain('offsets 10 to 249 were removed before they were read');
    expect(valuesOf(await w.read(w.log.reader({ topic, partition: 0, offset: 250, leaderEpoch: 0 }), undefined, 250))).toEqual(
      numbered(50, 250),
    );
  });

  test('a topic that was made again is not read on, whether it happens during a run or between two', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(20));
    const w = await watched(topic, { graceMs: 60_000 }),
      reader = w.log.reader({ topic, partition: 0, offset: 0 });
    await w.read(reader);
    const before = w.log.topicId(topic);
    await kafka.admin((admin) => admin.deleteTopics({ topics: [topic] }));
    await kafka.createTopic(topic);
    await produce(topic, numbered(40, 100));
    const live = (await w.fault(reader)) as GapError;
    expect(live).toBeInstanceOf(GapError);
    expect(live.gap).toMatchObject({ kind: 'recreated', wanted: 20 });
    const next = await watched(topic);
    expect(next.log.topicId(topic)).not.toBe(before);
    const later = (await next.fault(next.log.reader({ topic, partition: 0, offset: 20, leaderEpoch: 0, topicId: before }))) as GapError;
    expect(later.gap).toEqual({ kind: 'recreated', topic, partition: 0, wanted: 20, start: 0, end: 40, from: 0, to: 20, resumeAt: 0 });
  });

  test('a broker that is killed and comes back is read on from where it was', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(1000, 0, 1000));
    const w = await watched(topic, { bufferBytes: 128 * 1024 });
    const reader = w.log.reader({ topic, partition: 0, offset: 0 });
    const first = await w.read(reader, (got) => got.length >= 200);
    expect(first.length).toBeLessThan(1000);
    await kafka.brokers[0]!.kill('SIGKILL');
    const between = w.read(reader, (got) => first.length + got.length >= 1500);
    kafka.brokers[0]!.start();
    await kafka.ready();
    await produce(topic, numbered(500, 1000, 1000));
    expect(valuesOf([...first, ...(await between)])).toEqual(numbered(1500, 0, 1000));
    expect(w.troubles.length).toBeGreaterThan(0);
  });

  test('a log that was cut is a gap, and so is one that grew again with other records', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(100));
    const dir = path.join(kafka.brokers[0]!.dir, 'data', `${topic}-0`),
      copy = path.join(kafka.dir, `${topic}.old`);
    const restart = async (meanwhile: () => void): Promise<void> => {
      await kafka.brokers[0]!.kill('SIGKILL');
      meanwhile();
      kafka.brokers[0]!.start();
      await kafka.ready();
    };
    await restart(() => fs.cpSync(dir, copy, { recursive: true }));
    await produce(topic, numbered(100, 100));
    const before = await watched(topic),
      reader = before.log.reader({ topic, partition: 0, offset: 0 });
    expect(await before.read(reader)).toHaveLength(200);
    const place = { topic, partition: 0, offset: reader.position, leaderEpoch: reader.leaderEpoch, topicId: reader.topicId };
    await restart(() => {
      fs.rmSync(dir, { recursive: true });
      fs.cpSync(copy, dir, { recursive: true });
    });
    const cut = (await before.fault(reader)) as GapError;
    expect(cut).toBeInstanceOf(GapError);
    expect(cut.gap).toEqual({ kind: 'truncated', topic, partition: 0, wanted: 200, start: 0, end: 100, from: 100, to: 200, resumeAt: 100 });
    await produce(topic, numbered(300, 5000));
    const after = await watched(topic),
      behind = after.log.reader(place),
      grown = (await after.fault(behind)) as GapError;
    behind.close();
    expect(grown).toBeInstanceOf(GapError);
    expect(grown.gap).toEqual({
      kind: 'diverged',
      topic,
      partition: 0,
      wanted: 200,
      start: 0,
      end: 400,
      from: 100,
      to: 200,
      resumeAt: 100,
    });
    // Who read no further than what both histories share goes on.
    const shared = after.log.reader({ topic, partition: 0, offset: 100, leaderEpoch: 0, topicId: place.topicId });
    expect(valuesOf(await after.read(shared))).toEqual(numbered(300, 5000));
  });

  test('every version of every request that is spoken gets the same answer', async () => {
    const topic = await newTopic();
    await produce(topic, numbered(300));
    const connection = await Connection.open({
      host: '127.0.0.1',
      port: kafka.brokers[0]!.plainPort,
      clientId: 'test',
      tls: undefined,
      connectTimeoutMs: 1000,
      requestTimeoutMs: 5000,
      answerBytesMax: 1 << 20,
    });
    async function inEveryVersion<Q, A>(api: Api<Q, A>, request: Q, plain: (answer: A) => unknown): Promise<unknown> {
      const answers: unknown[] = [];
      for (let version = api.versions[0]; version <= api.versions[1]; version++)
        answers.push(plain(await connection.send({ ...api, versions: [version, version] }, request)));
      for (const answer of answers) expect(answer, api.name).toEqual(answers[0]);
      return answers[0];
    }
    const layout = (await inEveryVersion(METADATA, { topics: [topic] }, (a) => a.topics)) as TopicMetadata[];
    expect(layout).toMatchObject([{ topic, error: 0, partitions: [{ partition: 0, leader: 1, leaderEpoch: 0 }] }]);
    const topicId = layout[0]!.topicId;
    const question = { isolation: 1, topics: [{ topic, partitions: [{ partition: 0, leaderEpoch: 0, timestamp: -1 }] }] };
    expect(await inEveryVersion(LIST_OFFSETS, question, (a) => a)).toMatchObject([{ topic, partition: 0, error: 0, offset: 300 }]);
    const partition = { partition: 0, currentLeaderEpoch: 0, offset: 150, lastFetchedEpoch: 0, maxBytes: 100_000 };
    const fetch = { maxWaitMs: 100, minBytes: 1, maxBytes: 100_000, topics: [{ topic, topicId, partitions: [partition] }] };
    const records = await inEveryVersion(FETCH, fetch, (a) => {
      const [{ topic: name, topicId: id, from, to, ...rest }] = a.partitions as [FetchedPartition];
      expect([topic, topicId]).toContain(name === '' ? id : name);
      return { ...rest, bytes: a.bytes.subarray(from, to) };
    });
    expect(records).toMatchObject({ error: 0, highWatermark: 300, lastStableOffset: 300, aborted: [] });
    const offsets = [{ topic, partition: 0, offset: 7, leaderEpoch: 0 }];
    // The first commit of a cluster waits for the topic that keeps them.
    await (await watched(topic)).log.commit('versions', offsets);
    expect(await inEveryVersion(OFFSET_COMMIT, { group: 'versions', offsets }, (a) => a)).toEqual([{ topic, partition: 0, error: 0 }]);
    connection.close();
  });

  test('offsets by time, settings of a topic, and offsets committed for lag tools', async () => {
    const topic = await newTopic(2, { 'message.timestamp.type': 'LogAppendTime' });
    const plain = await newTopic();
    await produce(plain, numbered(250));
    const w = await watched([topic, plain]);
    expect(await w.log.offsetsForTime(plain, 1_700_000_000_050)).toEqual([50]);
    expect(await w.log.offsetsForTime(plain, 1_800_000_000_000)).toEqual([250]);
    expect(await w.log.endOffsets(topic)).toEqual([0, 0]);
    expect((await w.log.topicConfig(topic, ['message.timestamp.type'])).get('message.timestamp.type')).toBe('LogAppendTime');
    await w.log.commit('lag', [{ topic: plain, partition: 0, offset: 120, leaderEpoch: 0 }]);
    const [seen] = await kafka.admin((admin) => admin.fetchOffsets({ groupId: 'lag', topics: [plain] }));
    expect(seen!.partitions).toMatchObject([{ partition: 0, offset: '120' }]);
  });

  test('a topic that is missing, and an address where nothing or something else answers, get one sentence each', async () => {
    const failed = async (url: string, topic: string): Promise<TallyError> => {
      const error: unknown = await openKafkaLog(url, [topic], { patienceMs: 1000 }).then(
        (log) => log.close(),
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(TallyError);
      return error as TallyError;
    };
    expect(await failed(kafka.plainUrl, 'no-such-topic')).toMatchObject({ code: 'E_TOPIC_MISSING' });
    expect((await failed(kafka.plainUrl, 'not a name')).message).toContain('INVALID_TOPIC');
    const nowhere = await failed('kafka://127.0.0.1:1', 'any');
    expect(nowhere).toMatchObject({ code: 'E_KAFKA_UNREACHABLE' });
    expect(nowhere.message).toContain('127.0.0.1:1: nothing listens there');
    expect((await failed('kafka://no-such-host.invalid', 'any')).message).toContain('no-such-host.invalid');
    const http = net.createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', () => resolve()));
    const { port } = http.address() as net.AddressInfo;
    expect((await failed(`kafka://127.0.0.1:${port}`, 'any')).message).toContain('is no Kafka broker');
    http.close();
  });

  test('brokers that tell their clients to connect where nothing listens are named, with what to look at', async () => {
    const topic = await newTopic(),
      through = proxy.target;
    const w = await watched(topic, { patienceMs: 500 }, kafka.url());
    await proxy.close();
    const error: unknown = await w.log.endOffsets(topic).catch((e: unknown) => e);
    proxy = await CuttingProxy.open(proxy.port);
    proxy.target = through;
    expect(error).toBeInstanceOf(TallyError);
    expect((error as TallyError).message).toContain('nothing listens there');
    expect((error as TallyError).hint).toContain('advertised.listeners');
    expect(await w.log.endOffsets(topic)).toEqual([0]);
  });

  test('a host that takes connections and says nothing is given up in bounded time', async () => {
    const topic = await newTopic();
    proxy.isDeaf = true;
    const error: unknown = await openKafkaLog(proxy.url, [topic], { connectTimeoutMs: 200, patienceMs: 500 }).catch((e: unknown) => e);
    proxy.isDeaf = false;
    expect(error).toMatchObject({ code: 'E_KAFKA_UNREACHABLE' });
    expect((error as Error).message).toContain('did not answer ApiVersions within 0.2 s');
  });
});
