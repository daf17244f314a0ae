/**
 * A run with no more rights than the README's table gives it, on a broker that asks for each: a repartitioned job in a group, under a login, with
 * offsets told to a group for lag tools. The table is read out of the README, so that a right which is missing there is missing here.
 */
import { readFileSync } from 'node:fs';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import type { AclEntry } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { Place, sales, told, until, urlOf } from './end-to-end-fixture.ts';
import type { Running } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Copy } from './kafka-produce.ts';

const SHARDS = 2,
  README = new URL('../README.md', import.meta.url);
const RESOURCES = { topics: 'TOPIC', topic: 'TOPIC', group: 'GROUP', 'transactional ids': 'TRANSACTIONAL_ID' } as const;

interface Right {
  readonly kind: keyof typeof AclResourceTypes;
  readonly name: string;
  readonly isPrefix: boolean;
  readonly operation: keyof typeof AclOperationTypes;
}

/** `| of Kafka, it needs | on | rights |`: on is a kind and a name, `NAME*` for all that begin so; the job here is called sales. */
function documented(): Right[] {
  const text = readFileSync(README, 'utf8'),
    table = /\| of Kafka, it needs \|[^\n]*\n\|[-| ]+\n((?:\|[^\n]*\n)+)/.exec(text);
  expect(table, 'the README has the table of rights').not.toBeNull();
  return table![1]!
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [, , on, rights] = line.split('|').map((cell) => cell.trim()),
        found = /^(\S.*?) `([^`]+)`$/.exec(on!)!,
        name = found[2]!.replace('TOPIC', 'sales').replace('JOB', 'sales').replace('NAME', 'lag');
      return rights!.split(', ').map((right): Right => ({
        kind: RESOURCES[found[1] as keyof typeof RESOURCES],
        name: name.replace('*', ''),
        isPrefix: name.endsWith('*'),
        operation: right.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase() as keyof typeof AclOperationTypes,
      }));
    });
}

const aclOf = (right: Right): AclEntry => ({
  resourceType: AclResourceTypes[right.kind],
  resourceName: right.name,
  resourcePatternType: right.isPrefix ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
  principal: 'User:tally',
  host: '*',
  operation: AclOperationTypes[right.operation],
  permissionType: AclPermissionTypes.ALLOW,
});

describe.skipIf(kafkaMissing !== undefined)('a user with the least rights', { timeout: 240_000 }, () => {
  let kafka: KafkaCluster, engine: Engine, client: Client, place: Place, url: string;
  const rights = documented();
  beforeAll(async () => {
    place = new Place();
    place.repartition();
    [kafka, engine] = await Promise.all([
      startKafka({
        protocols: ['SASL_PLAINTEXT'],
        users: { tally: 'secret' },
        config: {
          'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'super.users': 'User:ANONYMOUS',
        },
      }),
      startEngine({ dir: place.path('engine') }),
    ]);
    url = urlOf(engine);
    client = makeClient(engine.admin);
    await kafka.createTopic('sales', SHARDS);
    place.append(sales(0, 1000), SHARDS);
    await new Copy(place.log, kafka.brokers[0]!.plainPort, SHARDS).go();
    place.write('secret', 'secret\n');
    place.write(
      'tally.json',
      JSON.stringify({
        log: kafka.url(),
        kafka: { sasl: { mechanism: 'SCRAM-SHA-512', user: 'tally', passwordFile: place.path('secret') }, group: 'lag' },
        clickhouse: { url },
        takeover: { session: '6s', delay: '1s', settle: '1s' },
        snapshots: { dir: place.path('snapshots') },
        shards: `group/${SHARDS}`,
      }),
    );
    await kafka.admin((admin) => admin.createAcls({ acl: rights.map(aclOf) }));
  }, 120_000);
  afterAll(async () => {
    await client?.close();
    await engine?.stop();
    await kafka?.stop();
    await place?.remove();
  });

  const start = (): Running =>
    place.start(['run', place.job, '--contracts', place.contracts, '--data', 'data', '--config', place.path('tally.json')]);

  it('counts with what the table gives, and is refused by name with one right less', async () => {
    const run = start();
    await until(
      async () => {
        const read = await rows<{ n: string }>(client, "SELECT sum(records) AS n FROM tally_books WHERE class = 'read'").catch(() => []);
        return read[0]?.n === String(sales(0, 1000).length);
      },
      () => `it does not count all: ${run.stderr()}`,
      90_000,
    );
    await until(
      async () => {
        const [{ partitions } = { partitions: [] }] = await kafka.admin((admin) =>
          admin.fetchOffsets({ groupId: 'lag', topics: ['sales'] }),
        );
        return partitions.length === SHARDS && partitions.every(({ offset }) => Number(offset) > 0);
      },
      () => `no offset is told to the group: ${run.stderr()}`,
    );
    run.child.kill('SIGTERM');
    expect((await run.done).status, run.stderr()).toBe(0);

    const verified = await place.tally(
      ...['verify', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--config', place.path('tally.json')],
      ...['--clickhouse', url, '--json'],
    );
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);

    for (const taken of rights.filter(({ operation }) => operation === 'READ' || operation === 'WRITE')) {
      await kafka.admin((admin) => admin.deleteAcls({ filters: [aclOf(taken)] }));
      const without = start(),
        what = `${taken.operation} on ${taken.kind} ${taken.name}`;
      // The group for lag tools is nobody's need: a trouble is told, and counting goes on.
      if (taken.name === 'lag') {
        await until(
          () => without.stderr().includes("group 'lag'"),
          () => `${what}: ${without.stderr()}`,
          30_000,
        );
        without.child.kill('SIGTERM');
      } else {
        const { status, stderr } = await without.done;
        expect(status, what).not.toBe(0);
        expect(stderr, what).toMatch(told('E_KAFKA_DENIED'));
      }
      await without.done;
      await kafka.admin((admin) => admin.createAcls({ acl: [aclOf(taken)] }));
    }
  });
});
