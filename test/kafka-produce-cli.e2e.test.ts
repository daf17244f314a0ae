/** `tally produce` to a real Kafka, read back by the oracle's reader: every line once, under Kafka's own choice of partition, whatever happens. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { outcomeOf } from '../src/kafka/produce/faults.ts';
import { openProducer } from '../src/kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../src/kafka/produce/topic-writer.ts';
import { libraryAccess } from '../src/kafka/library-access.ts';
import { partitionOf } from '../topology/murmur2.ts';
import type { LoggedRecord } from '../src/verify/record-batch.ts';
import { openKafkaLogged } from '../src/verify/read-kafka.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { CuttingProxy } from './kafka-proxy.ts';

interface Ended {
  readonly exit: number | null;
  readonly stderr: string;
}

const PASSWORD = 'correct horse battery staple';
const [PROXIED, LOGIN] = [0, 1];

describe('what a broker answers to a batch', () => {
  const batch = { topic: 't', partition: 3, count: 2, bytes: 900, place: 'line 7' };
  test.each([
    [0, 'done'],
    [46, 'done'],
    [19, 'again'],
    [20, 'again'],
    [6, 'again'],
    [7, 'again'],
    [-1, 'again'],
  ] as const)('%i: %s', (code, outcome) => expect(outcomeOf(code, batch)).toBe(outcome));
  test.each([
    [10, 'E_RECORD_TOO_LARGE', 'Line 7, for t, partition 3: a batch of 2 records'],
    [29, 'E_KAFKA_DENIED', "Writing to topic 't' was refused"],
    [32, 'E_KAFKA_REFUSED', 'INVALID_TIMESTAMP'],
    [45, 'E_KAFKA_PRODUCER_LOST', 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
    [59, 'E_KAFKA_PRODUCER_LOST', 'UNKNOWN_PRODUCER_ID'],
    [87, 'E_KAFKA_REFUSED', 'INVALID_RECORD'],
  ] as const)('%i: %s', (code, name, words) =>
    expect(outcomeOf(code, batch)).toMatchObject({ code: name, message: expect.stringContaining(words) }),
  );
});

describe.skipIf(kafkaMissing !== undefined)('tally produce to Kafka', () => {
  let kafka: KafkaCluster, proxy: CuttingProxy, dir: string;

  beforeAll(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-produce-'));
    proxy = await CuttingProxy.open();
    kafka = await startKafka({
      advertised: [proxy.port],
      protocols: ['PLAINTEXT', 'SASL_PLAINTEXT'],
      users: { writer: PASSWORD },
      config: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS',
      },
    });
    proxy.target = kafka.brokers[0]!.ports[PROXIED]!;
  });
  afterAll(async () => {
    await proxy.close();
    await kafka.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });

  function produce(
    log: string,
    topic: string,
    input: Buffer | string,
    words: string[] = [],
    env: Record<string, string> = {},
  ): Promise<Ended> {
    const child = spawn(process.execPath, ['src/cli/main.ts', 'produce', '--log', log, '--topic', topic, ...words], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    return new Promise((resolve) => {
      child.on('close', (exit) => resolve({ exit, stderr }));
    });
  }

  async function recordsOf(topic: string): Promise<LoggedRecord[][]> {
    const log = await openKafkaLogged(await libraryAccess(kafka.plainUrl)),
      ends = await kafka.admin((admin) => admin.fetchTopicOffsets(topic)),
      got: LoggedRecord[][] = [];
    for (const { partition, high } of ends) {
      const records = (got[partition] = [] as LoggedRecord[]);
      // What is read is used after its batch.
      for await (const batch of log.read(topic, partition, [], Number(high)))
        for (const r of batch.records) records.push({ ...r, key: r.key && Buffer.from(r.key), value: r.value && Buffer.from(r.value) });
    }
    await log.close();
    return got;
  }
  const textsOf = (records: readonly LoggedRecord[]): string[] => records.map((r) => r.value!.toString('latin1'));

  test.each(['none', 'lz4', 'zstd'])('lines of text, bytes and a MB arrive as they were (%s)', async (compression) => {
    const topic = `lines-${compression}`;
    await kafka.createTopic(topic);
    const lines = [
      Buffer.from('plain'),
      Buffer.from('grüße'),
      Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1).filter((b) => b !== 10)),
      Buffer.alloc(1_000_000, 'x'),
      ...Array.from({ length: 3000 }, (_, i) => Buffer.from(`{"event_id":"${i}"}`)),
    ];
    const input = Buffer.concat(lines.flatMap((line, i) => [line, Buffer.from(i % 2 === 0 ? '\n\n' : '\r\n')]));
    const began = Date.now(),
      { exit, stderr } = await produce(kafka.plainUrl, topic, input, ['--compression', compression]);
    expect(stderr).toBe(`3004 records appended to ${topic} (1 partition), 1502 empty lines skipped\n`);
    expect(exit).toBe(0);
    const [records] = (await recordsOf(topic)) as [LoggedRecord[]];
    expect(textsOf(records)).toEqual(lines.map((line) => line.toString('latin1')));
    expect(records.every((r) => r.key === null && r.timestamp >= began && r.timestamp <= Date.now())).toBe(true);
  });

  test('a key chooses the partition as Kafka does; without one, lines are spread', async () => {
    await kafka.createTopic('keyed', 4);
    const lines = Array.from({ length: 2000 }, (_, i) => JSON.stringify({ event_id: `e${i}`, n: i }));
    expect((await produce(kafka.plainUrl, 'keyed', lines.join('\n'), ['--key', 'event_id'])).exit).toBe(0);
    const keyed = await recordsOf('keyed');
    expect(keyed.flatMap(textsOf).sort()).toEqual([...lines].sort());
    for (const [partition, records] of keyed.entries()) {
      expect(records.length).toBeGreaterThan(0);
      for (const { key, value } of records) {
        expect(partitionOf(key!, 4)).toBe(partition);
        expect(key!.toString()).toBe((JSON.parse(value!.toString()) as { event_id: string }).event_id);
      }
    }
    // Kafka's own client puts these keys into the same partitions.
    await kafka.createTopic('keyed-by-library', 4);
    const library = kafka.client.producer();
    await library.connect();
    await library.send({ topic: 'keyed-by-library', messages: lines.slice(0, 200).map((value, i) => ({ key: `e${i}`, value })) });
    await library.disconnect();
    for (const [partition, records] of (await recordsOf('keyed-by-library')).entries())
      for (const { key } of records) expect(partitionOf(key!, 4)).toBe(partition);

    await kafka.createTopic('spread', 3);
    const long = Array.from({ length: 40 }, (_, i) => `${i} ${'y'.repeat(100_000)}`);
    expect((await produce(kafka.plainUrl, 'spread', long.join('\n'))).exit).toBe(0);
    const spread = await recordsOf('spread');
    expect(spread.flatMap(textsOf).sort()).toEqual([...long].sort());
    for (const records of spread) expect(records.length).toBeGreaterThan(5);
  });

  test('a line that the broker does not take is named; those before it are there', async () => {
    await kafka.createTopic('small', 1, { 'max.message.bytes': '20000' });
    const input = ['a', 'b', 'x'.repeat(30_000), 'c'].join('\n'),
      { exit, stderr } = await produce(kafka.plainUrl, 'small', input, ['--compression', 'none']);
    expect(stderr).toMatch(
      /^tally: E_RECORD_TOO_LARGE: Line 3, for small, partition 0: its record has 300\d\d bytes, more than the 20000 that the broker takes\.\nhint: .*max\.message\.bytes/,
    );
    expect(exit).toBe(3);
    expect(textsOf((await recordsOf('small'))[0]!)).toEqual(['a', 'b']);
    const many = Array.from({ length: 5000 }, (_, i) => `${i} ${'z'.repeat(50)}`);
    expect((await produce(kafka.plainUrl, 'small', many.join('\n'), ['--compression', 'none'])).exit).toBe(0);
    expect(textsOf((await recordsOf('small'))[0]!).slice(2)).toEqual(many);
  });

  test('a wrong host, a missing topic, another number of partitions: one sentence each', { timeout: 15_000 }, async () => {
    await kafka.createTopic('two', 2);
    const told = await Promise.all([
      produce('kafka://127.0.0.1:1', 'two', 'x\n'),
      produce('kafka://no-such-host.invalid:9092', 'two', 'x\n'),
      produce(kafka.plainUrl, 'nowhere', 'x\n'),
      produce(kafka.plainUrl, 'two', 'x\n', ['--partitions', '3']),
    ]);
    expect(told.map((t) => t.exit)).toEqual([3, 3, 3, 2]);
    expect(told[0]!.stderr).toMatch(/^tally: E_KAFKA_UNREACHABLE: .*127\.0\.0\.1:1: nothing listens there.*\nhint: .+\n$/);
    expect(told[1]!.stderr).toMatch(/^tally: E_KAFKA_UNREACHABLE: .*no-such-host\.invalid:9092/);
    expect(told[2]!.stderr).toMatch(
      /^tally: E_TOPIC_MISSING: there is no topic 'nowhere' at .*\nhint: .*kafka-topics\.sh .*--create --topic nowhere/,
    );
    expect(told[3]!.stderr).toMatch(/^tally: E_PARTITIONS: Topic "two" has 2 partitions, not 3/);
  });

  test('a login writes what its rights allow, and is told what they lack', async () => {
    await kafka.createTopic('guarded');
    const env = {
      TALLY_KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
      TALLY_KAFKA_SASL_USER: 'writer',
      TALLY_KAFKA_SASL_PASSWORD: PASSWORD,
    };
    const allow = (operation: AclOperationTypes): Promise<unknown> =>
      kafka.admin((admin) =>
        admin.createAcls({
          acl: [
            {
              resourceType: AclResourceTypes.TOPIC,
              resourceName: 'guarded',
              resourcePatternType: ResourcePatternTypes.LITERAL,
              principal: 'User:writer',
              host: '*',
              operation,
              permissionType: AclPermissionTypes.ALLOW,
            },
          ],
        }),
      );
    const denied = await produce(kafka.url(LOGIN), 'guarded', 'x\n', [], env);
    expect(denied).toMatchObject({
      exit: 3,
      stderr: expect.stringMatching(/^tally: E_(KAFKA_DENIED|TOPIC_MISSING): .*'guarded'[^\n]*\nhint: .*'Describe'/),
    });
    await allow(AclOperationTypes.DESCRIBE);
    const seen = await produce(kafka.url(LOGIN), 'guarded', 'x\n', [], env);
    expect(seen).toMatchObject({
      exit: 3,
      stderr: expect.stringMatching(/^tally: E_KAFKA_DENIED: Writing to topic 'guarded' was refused: .*\nhint: .*'Write'/),
    });
    await allow(AclOperationTypes.WRITE);
    const done = await produce(kafka.url(LOGIN), 'guarded', 'x\n', [], env);
    expect(done).toMatchObject({ exit: 0, stderr: '1 records appended to guarded (1 partition)\n' });
    const wrong = await produce(kafka.url(LOGIN), 'guarded', 'x\n', [], { ...env, TALLY_KAFKA_SASL_PASSWORD: 'guess' });
    expect(wrong).toMatchObject({ exit: 3, stderr: expect.stringContaining("refused user 'writer'") });
    for (const { stderr } of [denied, seen, wrong]) expect(stderr).not.toContain('battery');
  });

  test('a stop waits for what was sent, and gives up soon on a broker that is gone', { timeout: 60_000 }, async () => {
    await kafka.createTopic('stopped');
    const end = async (arrived: number, dies: boolean): Promise<Ended> => {
      const child = spawn(process.execPath, ['src/cli/main.ts', 'produce', '--log', kafka.plainUrl, '--topic', 'stopped'], {
        stdio: ['pipe', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      child.stdin.write('a\nb\nbroken off');
      for (let tries = 0; (await recordsOf('stopped')).flat().length < arrived; tries++) if (tries > 100) expect.fail('nothing arrives');
      if (dies) {
        await kafka.brokers[0]!.kill();
        child.stdin.write('\nc\n');
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      child.kill('SIGINT');
      return new Promise((resolve) => {
        child.on('close', (exit) => resolve({ exit, stderr }));
      });
    };
    expect(await end(2, false)).toEqual({ exit: 0, stderr: '2 records appended to stopped (1 partition), then stopped\n' });
    expect(textsOf((await recordsOf('stopped'))[0]!)).toEqual(['a', 'b']);
    const gone = await end(4, true);
    expect(gone).toMatchObject({ exit: 3, stderr: expect.stringMatching(/^tally: E_KAFKA_UNREACHABLE: /) });
    kafka.brokers[0]!.start();
    await kafka.ready();
  });

  test('answers that are lost and a broker that dies: every record once and in order', { timeout: 60_000 }, async () => {
    await kafka.createTopic('shaken', 3);
    const url = `kafka://127.0.0.1:${proxy.port}`,
      producer = await openProducer(url, ['shaken'], { queueBytes: 64 * 1024 }),
      writer = new KafkaTopicWriter(producer, 'shaken');
    const COUNT = 6000;
    // Connections are cut in the middle of an answer: what the broker has of such a request, nobody here knows.
    proxy.cutAfter = () => 2000 + ((proxy.cuts * 37) % 100);
    proxy.cutAll();
    for (let n = 0; n < COUNT; n++) {
      const value = Buffer.from(`${n} ${'w'.repeat(500)}`);
      writer.append(n % 3, null, value, Date.now());
      if (n % 50 === 49) {
        writer.send();
        await producer.room();
      }
      if (n === COUNT / 2) {
        // A producer that nobody has ever answered gives up soon: that is another test.
        for (let tries = 0; producer.acknowledged === 0 && tries < 100; tries++) await new Promise((resolve) => setTimeout(resolve, 50));
        await kafka.brokers[0]!.kill();
        kafka.brokers[0]!.start();
      }
    }
    writer.send();
    await producer.flush();
    expect(producer.acknowledged).toBe(COUNT);
    await producer.close();
    expect(proxy.cuts).toBeGreaterThan(3);
    for (const [partition, records] of (await recordsOf('shaken')).entries())
      expect(records.map((r) => parseInt(r.value!.toString(), 10))).toEqual(Array.from({ length: COUNT / 3 }, (_, i) => 3 * i + partition));
  });

  const DAY_MS = 86_400_000;
  test.each([
    ['of now: once', 0, ['a', 'b', 'c']],
    // Not ours to mend: the broker takes a producer for gone by the time of its records (producer.id.expiration.ms, a day).
    ['of two days ago: Kafka has forgotten the producer', 2 * DAY_MS, ['a', 'b', 'b', 'c']],
  ] as const)('a broker that dies with an answer under way, records %s', { timeout: 60_000 }, async (_, age, expected) => {
    const topic = `unheard-${age}`;
    await kafka.createTopic(topic);
    proxy.cutAfter = (): number => Number.POSITIVE_INFINITY;
    const producer = await openProducer(proxy.url, [topic]),
      writer = new KafkaTopicWriter(producer, topic);
    const send = (text: string): void => {
      writer.append(0, null, Buffer.from(text), Date.now() - age);
      writer.send();
    };
    send('a');
    await producer.flush();
    proxy.isMute = true;
    send('b');
    for (let tries = 0; (await recordsOf(topic)).flat().length < 2; tries++) if (tries > 100) expect.fail('nothing arrives');
    await kafka.brokers[0]!.kill();
    proxy.isMute = false;
    kafka.brokers[0]!.start();
    await kafka.ready();
    send('c');
    await producer.flush();
    await producer.close();
    expect(textsOf((await recordsOf(topic))[0]!)).toEqual(expected);
  });
});
