/**
 * A job that runs live on a topic of a real broker, under load by schedule, while a test does harm to whatever is around it. In the end every
 * record that was sent is recounted from the broker: `exact` holds when tables, changes and books are those of the recount.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { Place, ROOT, statusOf, until } from './end-to-end-fixture.ts';
import type { Done, Running } from './end-to-end-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';

export const MAIN = path.join(ROOT, 'src', 'cli', 'main.ts');

export class LiveJob {
  readonly place = new Place();
  /** Where the runs read: the broker, or a proxy before it. */
  log: string;
  readonly partitions: number;
  private readonly kafka: KafkaCluster;
  private loadFault: unknown;

  private constructor(kafka: KafkaCluster, partitions: number) {
    this.kafka = kafka;
    this.log = kafka.url();
    this.partitions = partitions;
  }

  /** A topic of its own, so that no test waits until another's is deleted. */
  static async open(kafka: KafkaCluster, topic: string, partitions: number): Promise<LiveJob> {
    const live = new LiveJob(kafka, partitions),
      contract = live.place.path('contracts', 'sale.yaml');
    writeFileSync(contract, readFileSync(contract, 'utf8').replace('physicalName: sales', `physicalName: ${topic}`));
    await kafka.createTopic(topic, partitions);
    return live;
  }

  /** `tally generate --rate`; gives how many records the broker has taken. */
  load(rate: number, seconds: number, malformed = 0.02, ...more: string[]): Promise<number> {
    const sent = this.send(rate, seconds, ['--malformed', String(malformed), ...more]);
    sent.catch((error: unknown) => (this.loadFault = error));
    return sent;
  }

  private async send(rate: number, seconds: number, more: readonly string[]): Promise<number> {
    const words = ['generate', '--job', this.place.job, '--contracts', this.place.contracts, '--log', this.kafka.plainUrl];
    const shares = ['--keys', '300', '--conflicts', '0.01', '--late', '0.02'];
    const done = await this.place.start([...words, '--rate', String(rate), '--for', `${seconds}s`, ...shares, ...more, '--json']).done;
    expect(done.status, done.stderr).toBe(0);
    const { sent } = JSON.parse(done.stdout) as { sent: number };
    expect(sent).toBe(rate * seconds);
    return sent;
  }

  words(...more: string[]): string[] {
    return ['run', this.place.job, '--contracts', this.place.contracts, '--log', this.log, ...more];
  }

  run(words: readonly string[], env: Readonly<Record<string, string>> = {}, node: readonly string[] = []): Running {
    const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return this.place.start(words, ['env', ...settings, process.execPath, ...node, MAIN]);
  }

  /** Records that the state in this data directory has read, as far as it has told. */
  read(data: string): number {
    return (statusOf(this.place.path(data))?.shards ?? []).flatMap((s) => s.partitions).reduce((sum, p) => sum + p.offset, 0);
  }

  async hasRead(data: string, records: number, run: Running): Promise<void> {
    await until(
      () => this.read(data) >= records || run.child.exitCode !== null || this.loadFault !== undefined,
      () => `the run stands still at ${this.read(data)} of ${records}: ${run.stderr()}`,
    );
    expect([run.child.exitCode, this.loadFault], run.stderr()).toEqual([null, undefined]);
  }

  /** Every record sent is recounted from the broker, and `where` (--data DIR or --clickhouse URL) shows just that. */
  async exact(sent: number, ...where: string[]): Promise<void> {
    expectExact(await this.place.tally(...this.verifyWords(...where)), sent);
  }

  verifyWords(...where: string[]): string[] {
    return ['verify', this.place.job, '--contracts', this.place.contracts, '--log', this.kafka.plainUrl, ...where, '--json'];
  }
}

/** `verify --json` has found the tables, changes and books of so many records to be those of the recount. */
export function expectExact({ status, stdout, stderr }: Done, sent: number): void {
  expect(status, stdout + stderr).toBe(0);
  const { ok, records, counted, duplicate, conflict, quarantined } = JSON.parse(stdout) as Record<string, number | boolean>;
  expect({ ok, records }).toEqual({ ok: true, records: sent });
  // A load without resends, conflicts and broken records would prove little.
  for (const n of [counted, duplicate, conflict, quarantined]) expect(n).toBeGreaterThan(0);
}
