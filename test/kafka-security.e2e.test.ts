/** Logins and TLS against a real broker: each way in works, stays open past its session, and a wrong one is one sentence without a secret. */
import fs from 'node:fs';
import path from 'node:path';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TallyError } from '../src/errors.ts';
import type { KafkaLogOptions } from '../src/kafka/log.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Watched } from './kafka-watched.ts';

const PASSWORD = 'correct horse battery staple';
/** Brokers take no second login within a second. */
const SESSION_MS = 1500;
const [LOGIN, MUTUAL, LOGIN_TLS] = [0, 1, 2];

function token(lifetimeS: number): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url'),
    now = Math.floor(Date.now() / 1000);
  return `${part({ alg: 'none' })}.${part({ sub: 'reader', iat: now, exp: now + lifetimeS })}.`;
}

describe.skipIf(kafkaMissing !== undefined)('a secured Kafka', () => {
  let kafka: KafkaCluster, file: string;

  beforeAll(async () => {
    kafka = await startKafka({
      protocols: ['SASL_PLAINTEXT', 'SSL', 'SASL_SSL'],
      users: { reader: PASSWORD, limited: PASSWORD },
      config: {
        'connections.max.reauth.ms': String(SESSION_MS),
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS;User:reader;User:CN=client',
      },
    });
    file = path.join(kafka.dir, 'password');
    fs.writeFileSync(file, `${PASSWORD}\n`);
    await kafka.createTopic('secured');
  });
  afterAll(() => kafka.stop());

  async function produce(values: readonly string[]): Promise<void> {
    const producer = kafka.client.producer();
    await producer.connect();
    await producer.send({ topic: 'secured', messages: values.map((value) => ({ value })) });
    await producer.disconnect();
  }
  async function failed(listener: number, options: KafkaLogOptions): Promise<TallyError> {
    const error: unknown = await Watched.open(kafka.url(listener), ['secured'], { patienceMs: 1500, ...options }).then(
      ({ log }) => log.close(),
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(TallyError);
    const { message, hint, stack } = error as TallyError;
    expect(`${message}${hint}${stack}`).not.toContain('battery');
    return error as TallyError;
  }

  test('every login reads on past the end of its session, without a trouble', async () => {
    const logins: NonNullable<KafkaLogOptions['sasl']>[] = [
      { mechanism: 'PLAIN', user: 'reader', password: { file } },
      { mechanism: 'SCRAM-SHA-256', user: 'reader', password: { file } },
      { mechanism: 'SCRAM-SHA-512', user: 'reader', password: () => PASSWORD },
      { mechanism: 'OAUTHBEARER', token: () => token(60) },
    ];
    const opened = await Promise.all(logins.map((sasl) => Watched.open(kafka.url(LOGIN), ['secured'], { sasl, maxWaitMs: 100 })));
    const readers = opened.map(({ log }) => log.reader({ topic: 'secured', partition: 0, offset: 0 }));
    const reading = opened.map((w, i) => w.read(readers[i]!, (got) => got.at(-1)?.value === 'last'));
    // Sessions end several times meanwhile: a connection that did not log in again is cut by the broker.
    for (let i = 0; i < 6; i++) {
      await produce([`a${i}`, `b${i}`]);
      await new Promise((resolve) => setTimeout(resolve, SESSION_MS / 2));
    }
    for (const { log } of opened) expect(await log.endOffsets('secured')).toEqual([12]);
    await produce(['last']);
    for (const [i, w] of opened.entries()) {
      expect(await reading[i], logins[i]!.mechanism).toHaveLength(13);
      expect(w.troubles, logins[i]!.mechanism).toEqual([]);
      await w.log.close();
    }
  });

  test('TLS with a client certificate, and TLS with a login', async () => {
    const [caFile, certFile, keyFile] = ['ca.crt', 'client.crt', 'client.key'].map((name) => path.join(kafka.dir, name));
    const ways: [number, KafkaLogOptions][] = [
      [MUTUAL, { tls: { caFile, certFile, keyFile } }],
      [LOGIN_TLS, { tls: { caFile, serverName: 'localhost' }, sasl: { mechanism: 'SCRAM-SHA-512', user: 'reader', password: { file } } }],
    ];
    await produce(Array.from({ length: 300 }, (_, i) => `${i} ${'x'.repeat(1000)}`));
    for (const [listener, options] of ways) {
      const w = await Watched.open(kafka.url(listener), ['secured'], options),
        reader = w.log.reader({ topic: 'secured', partition: 0, offset: 0 });
      const got = await w.read(reader);
      expect(got.slice(-300).map(({ value }) => value!.split(' ')[0])).toEqual(Array.from({ length: 300 }, (_, i) => String(i)));
      await w.log.close();
    }
  });

  test('a wrong login is refused at once, by user and mechanism; what it should have been said with is not shown', async () => {
    const wrong = { file: path.join(kafka.dir, 'wrong') };
    fs.writeFileSync(wrong.file, 'wrong battery');
    for (const mechanism of ['PLAIN', 'SCRAM-SHA-256'] as const) {
      const error = await failed(LOGIN, { sasl: { mechanism, user: 'reader', password: wrong } });
      expect(error).toMatchObject({ code: 'E_KAFKA_AUTH' });
      expect(error.message).toContain(`refused user 'reader' (${mechanism})`);
    }
    expect((await failed(LOGIN, { sasl: { mechanism: 'OAUTHBEARER', token: () => 'no.battery.' } })).code).toBe('E_KAFKA_AUTH');
    expect((await failed(LOGIN, { sasl: { mechanism: 'OAUTHBEARER', token: () => token(-60) } })).code).toBe('E_KAFKA_AUTH');
    const missing = { file: path.join(kafka.dir, 'no-such-file') };
    expect((await failed(LOGIN, { sasl: { mechanism: 'PLAIN', user: 'reader', password: missing } })).code).toBe('E_SECRET_MISSING');
    expect((await failed(LOGIN, {})).hint).toContain('SASL');
  });

  test('a user needs what the documentation says, and is told what is missing', async () => {
    const limited: KafkaLogOptions = { sasl: { mechanism: 'PLAIN', user: 'limited', password: { file } } };
    const allow = (kind: 'TOPIC' | 'GROUP', resourceName: string, operation: keyof typeof AclOperationTypes): Promise<unknown> =>
      kafka.admin((admin) =>
        admin.createAcls({
          acl: [
            {
              resourceType: AclResourceTypes[kind],
              resourceName,
              resourcePatternType: ResourcePatternTypes.LITERAL,
              principal: 'User:limited',
              host: '*',
              operation: AclOperationTypes[operation],
              permissionType: AclPermissionTypes.ALLOW,
            },
          ],
        }),
      );
    await kafka.createTopic('guarded');
    const open = (): Promise<Watched> => Watched.open(kafka.url(LOGIN), ['guarded'], limited);
    const denied = (await open().catch((e: unknown) => e)) as TallyError;
    expect(denied).toMatchObject({ code: 'E_KAFKA_DENIED' });
    expect(denied.message).toContain("Reading topic 'guarded'");
    expect(denied.hint).toContain("'Read' and 'Describe'");

    await allow('TOPIC', 'guarded', 'DESCRIBE');
    const seeing = await open();
    expect(await seeing.fault(seeing.log.reader({ topic: 'guarded', partition: 0, offset: 0 }))).toMatchObject({ code: 'E_KAFKA_DENIED' });
    await expect(seeing.log.commit('lag', [{ topic: 'guarded', partition: 0, offset: 0, leaderEpoch: 0 }])).rejects.toThrow("group 'lag'");
    await expect(seeing.log.topicConfig('guarded', ['message.timestamp.type'])).rejects.toThrow("settings of topic 'guarded'");
    await seeing.log.close();

    await allow('TOPIC', 'guarded', 'READ');
    await allow('TOPIC', 'guarded', 'DESCRIBE_CONFIGS');
    await allow('GROUP', 'lag', 'READ');
    const w = await open(),
      reader = w.log.reader({ topic: 'guarded', partition: 0, offset: 0 });
    expect(await w.read(reader)).toEqual([]);
    await w.log.commit('lag', [{ topic: 'guarded', partition: 0, offset: 0, leaderEpoch: 0 }]);
    expect((await w.log.topicConfig('guarded', ['message.timestamp.type'])).size).toBe(1);
    await w.log.close();
  });

  test('wrong TLS says what is wrong with it', async () => {
    const caFile = path.join(kafka.dir, 'ca.crt'),
      sasl = { mechanism: 'PLAIN', user: 'reader', password: { file } } as const;
    expect((await failed(LOGIN_TLS, { tls: {}, sasl })).message).toContain('is not trusted');
    expect((await failed(LOGIN_TLS, { tls: { caFile, serverName: 'elsewhere' }, sasl })).message).toContain('is for another host');
    expect((await failed(LOGIN, { tls: { caFile }, sasl })).hint).toContain('may be a plain one');
    expect((await failed(LOGIN_TLS, { sasl })).code).toBe('E_KAFKA_UNREACHABLE');
    const unknown = await failed(MUTUAL, { tls: { caFile } });
    expect(`${unknown.message}${unknown.hint}`).toContain('client certificate');
    expect((await failed(MUTUAL, { tls: { caFile, certFile: path.join(kafka.dir, 'client.crt') } })).message).toContain('its key');
  });
});
