/** Shards over processes by Kafka's group protocol, against a real broker: who is assigned what, who owns it, and that no two own the same epoch. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ControlTopic } from '../src/kafka/shards/control-topic.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Owner } from './kafka-shard-owner.ts';
import type { OwnerOptions } from './kafka-shard-owner.ts';

const SHARDS = 4,
  SESSION_MS = 3000,
  DELAY_MS = 2000;

async function until(isSo: () => boolean, told: () => unknown = () => ''): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 800) throw new Error(`it did not come so: ${JSON.stringify(told())}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
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
    kafka = await startKafka({ config: { 'group.min.session.timeout.ms': '1000' } });
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

  test('who is killed and comes back within the delay goes on with its own shards', async () => {
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
    first.child.kill('SIGKILL');
    await until(
      () => [...its.keys()].every((shard) => other.steps.includes(`assigned ${shard}`)),
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
      () => [...its.keys()].every((shard) => other.steps.includes(`gave up ${shard}`)),
      () => other.steps,
    );
    expect(other.owned.size).toBe(2);
  });

  test('those who claim at once never get the same epoch', async () => {
    groups++;
    const open = (): Promise<ControlTopic> =>
      ControlTopic.open({ log: kafka.plainUrl, security: {}, group: `tally-g${groups}`, shards: 1, onTrouble() {} });
    const topics = await Promise.all([open(), open(), open()]);
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
});
