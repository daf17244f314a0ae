/** The oracle's way into a secured Kafka: each login and TLS, after a broker's restart too; a wrong one is one sentence without a secret. */
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TallyError } from '../src/errors.ts';
import { libraryAccess } from '../src/kafka/library-access.ts';
import type { Security } from '../src/kafka/security.ts';
import { openKafkaLogged } from '../src/verify/read-kafka.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { batchOf, RawProducer } from './kafka-produce.ts';

const PASSWORD = 'correct horse battery staple',
  COUNT = 500;
const [LOGIN, MUTUAL, LOGIN_TLS] = [0, 1, 2];

function token(): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url'),
    now = Math.floor(Date.now() / 1000);
  return `${part({ alg: 'none' })}.${part({ sub: 'reader', iat: now, exp: now + 600 })}.`;
}

describe.skipIf(kafkaMissing !== undefined)("the oracle's reader of a secured Kafka", () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({
      protocols: ['SASL_PLAINTEXT', 'SSL', 'SASL_SSL'],
      users: { reader: PASSWORD, limited: PASSWORD },
      config: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS;User:reader;User:CN=client',
      },
    });
    fs.writeFileSync(path.join(kafka.dir, 'password'), `${PASSWORD}\n`);
    await kafka.createTopic('secured');
    const producer = await RawProducer.open(kafka.brokers[0]!.plainPort);
    for (let i = 0; i < COUNT; i++) await producer.send('secured', 0, batchOf([`v${i}${' '.repeat(20_000)}`]));
    producer.close();
  });
  afterAll(() => kafka.stop());

  const password = (): { file: string } => ({ file: path.join(kafka.dir, 'password') }),
    tls = (): NonNullable<Security['tls']> => ({ caFile: path.join(kafka.dir, 'ca.crt') });

  test('every login reads all there is, also when the broker dies meanwhile', { timeout: 60_000 }, async () => {
    const ways: [number, Security][] = [
      [LOGIN, { sasl: { mechanism: 'PLAIN', user: 'reader', password: password() } }],
      [LOGIN, { sasl: { mechanism: 'SCRAM-SHA-256', user: 'reader', password: password() } }],
      [LOGIN, { sasl: { mechanism: 'OAUTHBEARER', token: () => token() } }],
      [MUTUAL, { tls: { ...tls(), certFile: path.join(kafka.dir, 'client.crt'), keyFile: path.join(kafka.dir, 'client.key') } }],
      [LOGIN_TLS, { tls: tls(), sasl: { mechanism: 'SCRAM-SHA-512', user: 'reader', password: password() } }],
    ];
    for (const [listener, security] of ways) {
      const log = await openKafkaLogged(await libraryAccess(kafka.url(listener), security)),
        offsets: number[] = [];
      for await (const { records } of log.read('secured', 0, [], COUNT)) {
        offsets.push(...records.map((r) => r.offset));
        if (listener !== LOGIN_TLS || offsets.length !== COUNT / 5) continue;
        await kafka.brokers[0]!.kill();
        kafka.brokers[0]!.start();
      }
      expect(offsets).toEqual(Array.from({ length: COUNT }, (_, i) => i));
      await log.close();
    }
  });

  test('a wrong password, plain words to TLS, a user without rights: one sentence', { timeout: 60_000 }, async () => {
    const failed = async (listener: number, security: Security): Promise<TallyError> => {
      const error: unknown = await (async () => {
        const log = await openKafkaLogged(await libraryAccess(kafka.url(listener), security));
        try {
          for await (const _ of log.read('secured', 0, [], COUNT));
        } finally {
          await log.close();
        }
      })().then(
        () => undefined,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(TallyError);
      const { message, hint, stack } = error as TallyError;
      expect(`${message}${hint}${stack}`).not.toContain('battery');
      return error as TallyError;
    };
    expect(await failed(LOGIN, { sasl: { mechanism: 'PLAIN', user: 'reader', password: () => 'a guess' } })).toMatchObject({
      code: 'E_KAFKA_AUTH',
    });
    expect(await failed(LOGIN, { sasl: { mechanism: 'SCRAM-SHA-512', user: 'nobody', password: password() } })).toMatchObject({
      code: 'E_KAFKA_AUTH',
    });
    expect(await failed(LOGIN_TLS, {})).toMatchObject({ code: 'E_KAFKA_UNREACHABLE' });
    expect(await failed(LOGIN, { sasl: { mechanism: 'PLAIN', user: 'limited', password: password() } })).toMatchObject({
      code: expect.stringMatching(/^E_(KAFKA_DENIED|TOPIC_MISSING)$/),
    });
  });
});
