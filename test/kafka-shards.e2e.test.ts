/** Shards over processes by Kafka's group protocol, against a real broker: who is assigned what, who owns it, and that no two own the same epoch. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ControlTopic } from '../src/kafka/shards/control-topic.ts';
import { joinGroup } from '../src/kafka/shards/shard-group.ts';
import type { ShardGroup } from '../src/kafka/shards/shard-group.ts';
import type { TallyError } from '../src/errors.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Owner } from './kafka-shard-owner.ts';
import type { OwnerOptions } from './kafka-shard-owner.ts';
import { Watched } from './kafka-watched.ts';

const SHARDS = 4,
  SESSION_MS = 3000,
  DELAY_MS = 2000;

async function until(isSo: () => boolean, told: () => unknown = () => ''): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 800) throw new Error(`it did not come so: ${JSON.stringify(told())}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
async function untilAsync(isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isSo()); tries++) {
    if (tries > 200) throw new Error('it did not come so');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
/** Shard -> epoch, out of what a process told. */
function ownedOf(steps: readonly string[]): Map<number, number> {
  const owned = new Map<number, number>();
  for (const step of steps) {
    const [what, shard, , epoch] = step.split(' ');
    if (what === 'owned') owned.set(Number(shard), Number(epoch));
    if (what === 'revoked') owned.delete(Number(shard));
  }
  return owned;
}

describe.skipIf(kafkaMissing !== undefined)('shards over processes', () => {
  let kafka: KafkaCluster,
    groups = 0;
  const owners: Owner[] = [],
    children: ChildProcess[] = [];

  beforeAll(async () => {
    kafka = await startKafka({
      protocols: ['SASL_PLAINTEXT'],
      users: { limited: 'secret' },
      config: {
        'group.min.session.timeout.ms': '1000',
        'log.cleaner.backoff.ms': '100',
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS',
      },
    });
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await Promise.all(owners.splice(0).map((owner) => owner.stop()));
  });
  afterAll(() => kafka.stop());

  const optionsOf = (instance: string, more: Partial<OwnerOptions> = {}): OwnerOptions => ({
    log: kafka.plainUrl,
    group: `tally-g${groups}`,
    shards: SHARDS,
    instance,
    sessionMs: SESSION_MS,
    takeoverDelayMs: DELAY_MS,
    ...more,
  });
  async function owner(instance: string, more: Partial<OwnerOptions> = {}): Promise<Owner> {
    const started = await Owner.start(optionsOf(instance, more));
    owners.push(started);
    return started;
  }
  function process(instance: string, more: Partial<OwnerOptions> = {}): { child: ChildProcess; steps: string[] } {
    const file = path.join(import.meta.dirname, 'kafka-shard-owner.ts'),
      child = spawn(globalThis.process.execPath, [file, JSON.stringify(optionsOf(instance, more))], { stdio: ['pipe', 'pipe', 'inherit'] }),
      steps: string[] = [];
    readline.createInterface(child.stdout!).on('line', (line) => void steps.push(line));
    children.push(child);
    return { child, steps };
  }

  const control = (shards: number): Promise<ControlTopic> =>
    ControlTopic.open({ log: kafka.plainUrl, security: {}, group: `tally-g${groups}`, shards, onTrouble() {}, onClaim() {} });
  const allow = (kind: keyof typeof AclResourceTypes, resourceName: string, operation: keyof typeof AclOperationTypes): Promise<unknown> =>
    kafka.admin((admin) =>
      admin.createAcls({
        acl: [
          {
            resourceType: AclResourceTypes[kind],
            resourceName,
            resourcePatternType: kind === 'TRANSACTIONAL_ID' ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
            principal: 'User:limited',
            host: '*',
            operation: AclOperationTypes[operation],
            permissionType: AclPermissionTypes.ALLOW,
          },
        ],
      }),
    );

  test('two share them; a third that joins takes one away, and the shards that stay are not disturbed', async () => {
    groups++;
    const a = await owner('a'),
      b = await owner('b');
    await until(
      () => a.owned.size === 2 && b.owned.size === 2,
      () => [a.steps, b.steps],
    );
    expect([...a.owned.keys(), ...b.owned.keys()].sort()).toEqual([0, 1, 2, 3]);
    const before = new Map([...a.owned, ...b.owned]),
      [stepsOfA, stepsOfB] = [a.steps.length, b.steps.length];
    const c = await owner('c');
    await until(
      () => c.owned.size === 1 && a.owned.size + b.owned.size === 3,
      () => [a.steps, b.steps, c.steps],
    );
    const moved = [...c.owned.keys()][0]!,
      epoch = before.get(moved)!;
    expect(c.steps).toEqual([`assigned ${moved}`, `owned ${moved} released ${epoch + 1}`]);
    await until(() => a.steps.length + b.steps.length === stepsOfA + stepsOfB + 2);
    expect([...a.steps.slice(stepsOfA), ...b.steps.slice(stepsOfB)]).toEqual([`revoked ${moved}`, `released ${moved} ${epoch}`]);
    expect(await c.group.read(moved)).toEqual({
      epoch: epoch + 1,
      instance: 'c',
      released: { epoch, version: epoch * 2 ** 40 + 7 },
    });
    await c.stop();
    owners.splice(owners.indexOf(c), 1);
    await until(
      () => a.owned.size + b.owned.size === 4,
      () => [a.steps, b.steps],
    );
    expect([...a.owned, ...b.owned].find(([shard]) => shard === moved)![1]).toBe(epoch + 2);
    expect([...a.steps, ...b.steps].filter((step) => step.startsWith('revoked')).length).toBeLessThanOrEqual(
      // The second may have found all four with the first.
      1 + 2,
    );
    expect([a, b, c].flatMap(({ troubles }) => troubles)).toEqual([]);
  });

  test('who hangs loses its shards after the delay; when it goes on it is told so, and takes nothing back that it was not given', async () => {
    groups++;
    const hung = process('hung');
    await until(
      () => ownedOf(hung.steps).size === 4,
      () => hung.steps,
    );
    const other = await owner('other');
    await until(
      () => ownedOf(hung.steps).size === 2 && other.owned.size === 2,
      () => [hung.steps, other.steps],
    );
    const its = ownedOf(hung.steps),
      stepsBefore = hung.steps.length;
    hung.child.kill('SIGSTOP');
    await until(
      () => other.owned.size === 4,
      () => other.steps,
    );
    for (const [shard, epoch] of its) expect(other.steps).toContain(`owned ${shard} silent ${epoch + 1}`);
    hung.child.kill('SIGCONT');
    await until(
      () => ownedOf(hung.steps).size === 2 && other.owned.size === 2,
      () => [hung.steps, other.steps],
    );
    const after = hung.steps.slice(stepsBefore);
    // Whatever it is given now, it lost what it had, and takes over what the other has released.
    for (const [shard, epoch] of its) {
      expect(after).toContain(`revoked ${shard}`);
      expect(after).toContain(`lost ${shard} ${epoch}`);
    }
    expect(after.filter((step) => step.startsWith('owned')).every((step) => step.includes('released'))).toBe(true);
    const owned = [...ownedOf(hung.steps), ...other.owned];
    expect(owned.map(([shard]) => shard).sort()).toEqual([0, 1, 2, 3]);
    for (const [shard, epoch] of owned) expect((await other.group.read(shard)).epoch).toBe(epoch);
  });

  test('who hangs, or is killed and comes back, within the delay goes on with its own shards', async () => {
    groups++;
    const patient = { takeoverDelayMs: 600_000 },
      first = process('a', patient);
    await until(
      () => ownedOf(first.steps).size === 4,
      () => first.steps,
    );
    const other = await owner('b', patient);
    await until(
      () => ownedOf(first.steps).size === 2 && other.owned.size === 2,
      () => [first.steps, other.steps],
    );
    const its = ownedOf(first.steps);
    const told = (word: string, from: number): boolean =>
        [...its.keys()].every((shard) => other.steps.slice(from).includes(`${word} ${shard}`)),
      stepsBefore = [...first.steps];
    first.child.kill('SIGSTOP');
    await until(
      () => told('assigned', 0),
      () => other.steps,
    );
    first.child.kill('SIGCONT');
    await until(
      () => told('gave up', 0),
      () => other.steps,
    );
    const from = other.steps.length;
    expect(first.steps).toEqual(stepsBefore);
    first.child.kill('SIGKILL');
    await until(
      () => told('assigned', from),
      () => other.steps,
    );
    const again = process('a', { ...patient, states: [...its].map(([shard, epoch]) => [shard, epoch * 2 ** 40 + 9] as const) });
    await until(
      () => ownedOf(again.steps).size === 2,
      () => [again.steps, other.steps],
    );
    expect(again.steps.filter((step) => step.startsWith('owned')).sort()).toEqual(
      [...its].map(([shard, epoch]) => `owned ${shard} ours ${epoch + 1}`).sort(),
    );
    await until(
      () => told('gave up', from),
      () => other.steps,
    );
    expect(other.owned.size).toBe(2);
    // In order it lets go of them, and is at its end when it has left the group.
    again.child.stdin!.end();
    await new Promise((resolve) => again.child.once('close', resolve));
    expect(again.steps.filter((step) => step.startsWith('released')).sort()).toEqual(
      [...its].map(([shard, epoch]) => `released ${shard} ${epoch + 1}`).sort(),
    );
    await until(
      () => other.owned.size === 4,
      () => other.steps,
    );
  });

  test('those who claim at once never get the same epoch', async () => {
    groups++;
    const topics = await Promise.all([control(1), control(1), control(1)]);
    const got: number[] = [];
    await Promise.all(
      topics.map(async (topic, i) => {
        for (let n = 0; n < 4; n++) got.push((await topic.claim(0, `i${i}`, n === 0 ? 100 * i : 0, () => true))!);
      }),
    );
    expect(new Set(got).size).toBe(12);
    expect(Math.min(...got)).toBeGreaterThan(0);
    const last = await topics[0]!.read(0);
    expect(last.epoch).toBe(Math.max(...got));
    expect(await topics[1]!.release(0, last.instance!, last.epoch - 1, 1)).toBe(false);
    expect(await topics[1]!.release(0, last.instance!, last.epoch, 5)).toBe(true);
    for (const topic of topics) expect(await topic.read(0)).toEqual({ ...last, released: { epoch: last.epoch, version: 5 } });
    await Promise.all(topics.map((topic) => topic.close()));
  });

  test('a claim that was committed while another began is seen by that one', async () => {
    groups++;
    const topic = await control(1);
    let last = (await topic.claim(0, 'a', 0, () => true))!;
    for (let round = 0; round < 24; round++) {
      const other = kafka.client.producer({ transactionalId: `tally-g${groups}-shard-0`, maxInFlightRequests: 1 });
      await other.connect();
      const transaction = await other.transaction(),
        value = JSON.stringify({ v: 1, epoch: last + 1, instance: 'other' });
      await transaction.send({ topic: `tally-g${groups}-control`, messages: [{ key: 'claim', value, partition: 0 }] });
      // Earlier or later against the other's beginning: it comes first, or is fenced.
      const committing = new Promise((resolve) => setTimeout(resolve, round)).then(() => transaction.commit());
      const [commit, claim] = await Promise.allSettled([committing, topic.claim(0, 'a', 0, () => true)]);
      const epoch = claim.status === 'fulfilled' ? claim.value! : 0;
      expect([round, epoch]).toEqual([round, last + (commit.status === 'fulfilled' ? 2 : 1)]);
      last = epoch;
      await other.disconnect();
    }
    await topic.close();
  });

  test('a claimer that died before it committed holds nobody up, and its claim does not count', async () => {
    groups++;
    const topic = await control(1);
    expect(await topic.claim(0, 'a', 0, () => true)).toBe(1);
    const dead = kafka.client.producer({ transactionalId: `tally-g${groups}-shard-0`, maxInFlightRequests: 1 });
    await dead.connect();
    const transaction = await dead.transaction();
    await transaction.send({
      topic: `tally-g${groups}-control`,
      messages: [{ key: 'claim', value: '{"v":1,"epoch":77,"instance":"dead"}', partition: 0 }],
    });
    expect(await topic.read(0)).toMatchObject({ epoch: 1, instance: 'a' });
    expect(await topic.claim(0, 'b', 0, () => true)).toBe(2);
    await expect(transaction.commit()).rejects.toThrow(/producer|epoch/i);
    expect(await topic.read(0)).toMatchObject({ epoch: 2, instance: 'b' });
    await dead.disconnect();
    await topic.close();
  });

  test('what the topic says stays so when it is compacted', async () => {
    groups++;
    const name = `tally-g${groups}-control`;
    await kafka.createTopic(name, 1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
      'delete.retention.ms': '0',
    });
    const topic = await control(1);
    for (let n = 0; n < 6; n++) {
      const epoch = (await topic.claim(0, 'a', 0, () => true))!;
      if (n === 2) await topic.release(0, 'a', epoch, 9);
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
    await untilAsync(async () => {
      const log = await Watched.open(kafka.plainUrl, [name]),
        got = await log.read(log.log.reader({ topic: name, partition: 0, offset: 0 }));
      await log.log.close();
      // What the last segment holds is not compacted.
      return got.filter(({ key }) => key === 'claim').length < 6;
    });
    const again = await control(1),
      said = { epoch: 6, instance: 'a', released: { epoch: 3, version: 9 } };
    expect(await again.read(0)).toEqual(said);
    expect(await topic.read(0)).toEqual(said);
    expect(await again.claim(0, 'b', 0, () => true)).toBe(7);
    await Promise.all([topic.close(), again.close()]);
  });

  test('an owner whose shard somebody else claimed is told at once, and waits for its turn', async () => {
    groups++;
    const a = await owner('a', { takeoverDelayMs: 600_000 });
    await until(
      () => a.owned.size === 4,
      () => a.steps,
    );
    const topic = await control(SHARDS),
      before = a.steps.length;
    expect(await topic.claim(0, 'stranger', 0, () => true)).toBe(2);
    await until(
      () => a.steps.length === before + 3,
      () => a.steps,
    );
    expect(await topic.release(0, 'stranger', 2, 5)).toBe(true);
    await until(
      () => a.owned.size === 4,
      () => a.steps,
    );
    expect(a.steps.slice(before)).toEqual(['revoked 0', 'assigned 0', 'lost 0 1', 'owned 0 released 3']);
    await topic.close();
  });

  test('more processes than shards: those without one wait for theirs', async () => {
    groups++;
    const all = await Promise.all(['a', 'b', 'c'].map((instance) => owner(instance, { shards: 2 })));
    const owned = (): number => all.reduce((sum, o) => sum + o.owned.size, 0),
      idle = (): Owner[] => all.filter((o) => o.owned.size === 0);
    await until(
      () => owned() === 2 && idle().length === 1,
      () => all.map((o) => o.steps),
    );
    const spare = idle()[0]!,
      busy = all.find((o) => o !== spare)!;
    await busy.stop();
    owners.splice(owners.indexOf(busy), 1);
    await until(
      () => spare.owned.size === 1,
      () => spare.steps,
    );
    expect([...spare.owned.keys()]).toHaveLength(1);
  });

  test('a broker that dies and comes back disturbs nobody', async () => {
    groups++;
    const patient = { takeoverDelayMs: 600_000 },
      both = [await owner('a', patient), await owner('b', patient)];
    await until(
      () => both.every((o) => o.owned.size === 2),
      () => both.map((o) => o.steps),
    );
    const before = both.map((o) => [...o.owned]),
      revoked = both.map((o) => o.steps.filter((step) => step.startsWith('revoked')).length);
    await kafka.brokers[0]!.kill();
    await until(() => both.every((o) => o.troubles.some((t) => t.includes('Joining group'))));
    kafka.brokers[0]!.start();
    await kafka.ready();
    const third = await owner('c', patient);
    await until(
      () => third.owned.size === 1,
      () => [...both.map((o) => [...o.steps, ...o.troubles]), third.steps],
    );
    const moved = [...third.owned.keys()][0]!;
    for (const [i, o] of both.entries()) {
      expect([...o.owned]).toEqual(before[i]!.filter(([shard]) => shard !== moved));
      const mine = before[i]!.some(([shard]) => shard === moved) ? 1 : 0,
        others = o.steps.filter((step) => step.startsWith('gave up')).length;
      expect(o.steps.filter((step) => step.startsWith('revoked')).length - revoked[i]! - others).toBe(mine);
    }
  });

  test('another number of shards, and a topic that forgets, are refused', async () => {
    groups++;
    await (await control(4)).close();
    const other = (await control(3).catch((e: unknown) => e)) as TallyError;
    expect(other).toMatchObject({ code: 'E_SHARDS', message: expect.stringContaining('has 4 partition(s)') });
    expect(other.hint).toContain('group/4');
    groups++;
    await kafka.createTopic(`tally-g${groups}-control`, 1, { 'cleanup.policy': 'delete' });
    await expect(control(1)).rejects.toMatchObject({ code: 'E_SHARDS', message: expect.stringContaining('cleanup.policy=delete') });
    await expect(
      ControlTopic.open({ onClaim() {}, log: 'kafka://127.0.0.1:1', security: {}, group: 'tally-x', shards: 1, onTrouble() {} }),
    ).rejects.toMatchObject({ code: 'E_KAFKA_UNREACHABLE' });
  });

  test('a session that the broker does not allow, and a group with other consumers in it, are refused', async () => {
    groups++;
    const refusal = async (more: Partial<OwnerOptions>): Promise<TallyError> =>
      (await Owner.start(optionsOf('a', more)).catch((e: unknown) => e)) as TallyError;
    const short = await refusal({ sessionMs: 900 });
    expect(short).toMatchObject({ code: 'E_KAFKA_REFUSED', hint: expect.stringContaining('group.min.session.timeout.ms') });
    await kafka.createTopic(`other-${groups}`);
    const other = kafka.client.consumer({ groupId: `tally-g${groups}` });
    await other.subscribe({ topics: [`other-${groups}`] });
    await other.run({ eachMessage: async () => {} });
    expect(await refusal({})).toMatchObject({ code: 'E_KAFKA_REFUSED', hint: expect.stringContaining('another group') });
    await other.disconnect();
  });

  test('a user needs what the documentation says, and is told what is missing', async () => {
    groups++;
    const group = `tally-g${groups}`,
      told: string[] = [],
      assigned = new Set<number>();
    const join = (): Promise<ShardGroup> =>
      joinGroup({
        ...optionsOf('a', { shards: 1 }),
        log: kafka.url(),
        security: { sasl: { mechanism: 'PLAIN', user: 'limited', password: () => 'secret' } },
        states: () => new Map(),
        onAssigned: (shard) => void assigned.add(shard),
        onRevoked() {},
        onTrouble: (sentence) => void told.push(sentence),
      });
    const denied = async (work: () => Promise<unknown>, what: string): Promise<void> => {
      const error = (await work().catch((e: unknown) => e)) as TallyError;
      expect(error).toMatchObject({ code: 'E_KAFKA_DENIED', message: expect.stringContaining(what) });
      expect(error.hint).toContain("Give the user '");
    };
    await denied(join, `Reading topic '${group}-control'`);
    await allow('TOPIC', `${group}-control`, 'DESCRIBE');
    await denied(join, `Creating topic '${group}-control'`);
    await allow('TOPIC', `${group}-control`, 'CREATE');
    await denied(join, `settings of topic '${group}-control'`);
    await allow('TOPIC', `${group}-control`, 'DESCRIBE_CONFIGS');
    await denied(join, `Using group '${group}'`);
    await allow('GROUP', group, 'READ');
    const joined = await join(),
      claim = (): Promise<number | undefined> => joined.claim(0, 0);
    await until(() => assigned.has(0));
    await denied(claim, `Using transactional id '${group}-shard-0'`);
    await allow('TRANSACTIONAL_ID', `${group}-shard-`, 'DESCRIBE');
    await denied(claim, `Claiming shard 0 of group '${group}'`);
    await allow('TRANSACTIONAL_ID', `${group}-shard-`, 'WRITE');
    await denied(claim, `Claiming shard 0 of group '${group}'`);
    await allow('TOPIC', `${group}-control`, 'WRITE');
    // What it cannot read back may have been taken down all the same.
    await denied(claim, `Reading ${group}-control, partition 0`);
    await allow('TOPIC', `${group}-control`, 'READ');
    const epoch = (await claim())!;
    expect(await joined.read(0)).toEqual({ epoch, instance: 'a', released: null });
    expect(await joined.release(0, epoch, 3)).toBe(true);
    await joined.leave();
    expect(told).toEqual([]);
  });
});
