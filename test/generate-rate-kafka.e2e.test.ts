/** Generated loads on a real Kafka: the records of the seed, under their arrival times, at the rate that was asked for. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateToKafka } from '../src/generate/to-kafka.ts';
import { generateLog } from '../src/generate/to-log.ts';
import { libraryAccess } from '../src/kafka/library-access.ts';
import { loadJob } from '../src/run/load-job.ts';
import { openKafkaLogged } from '../src/verify/read-kafka.ts';
import { readPartition } from '../src/verify/read-log.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';

const TOPICS = ['ads.delivery', 'ads.click', 'ads.conversion'],
  PARTITIONS = 2;

describe.skipIf(kafkaMissing !== undefined)('tally generate into Kafka', () => {
  let kafka: KafkaCluster, dir: string;
  const texts = (records: readonly { timestamp: number; key: Buffer | null; value: Buffer | null }[]): string[] =>
    records.map((r) => `${r.timestamp} ${r.key?.toString() ?? ''} ${r.value?.toString('latin1')}`);

  beforeAll(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-generate-'));
    kafka = await startKafka();
    for (const topic of TOPICS) await kafka.createTopic(topic, PARTITIONS);
  });
  afterAll(async () => {
    await kafka.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });

  async function recordsOf(topic: string, partition: number, from: number = 0): Promise<{ texts: string[]; times: number[]; end: number }> {
    const offsets = await kafka.admin((admin) => admin.fetchTopicOffsets(topic)),
      end = Number(offsets.find((o) => o.partition === partition)!.high),
      log = await openKafkaLogged(await libraryAccess(kafka.plainUrl)),
      got = { texts: [] as string[], times: [] as number[], end };
    for await (const { records } of log.read(topic, partition, [[0, from]], end)) {
      const fresh = records.filter((r) => r.offset >= from);
      got.texts.push(...texts(fresh));
      got.times.push(...fresh.map((r) => r.timestamp));
    }
    await log.close();
    return got;
  }

  test(
    'the topics hold what a log of files holds, partition by partition; then a rate is kept behind it',
    { timeout: 90_000 },
    async () => {
      const { plan, contracts } = await loadJob('ads-insights', undefined),
        o = { events: 20_000, seed: 5, spanMs: 3_600_000 };
      const filed = generateLog(plan, contracts, dir, { ...o, partitions: PARTITIONS }),
        sent = await generateToKafka(plan, contracts, kafka.plainUrl, o);
      expect(sent).toEqual(filed);
      const ends = new Map<string, number>();
      for (const topic of TOPICS) {
        for (let p = 0; p < PARTITIONS; p++) {
          const got = await recordsOf(topic, p);
          expect(got.texts).toEqual([...readPartition(dir, topic, p, Infinity)].flatMap((b) => texts(b.records)));
          ends.set(`${topic}/${p}`, got.end);
        }
      }

      const began = Date.now(),
        words = ['--job', 'ads-insights', '--log', kafka.plainUrl, '--rate', '5000', '--for', '2s', '--json'];
      const child = spawn(process.execPath, ['src/cli/main.ts', 'generate', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
      expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
      const report = JSON.parse(out) as Record<string, number>;
      expect(report).toMatchObject({ rate: 5000, scheduled: 10_000, sent: 10_000 });
      expect(report['acknowledgedLagMaxMs']).toBeGreaterThan(0);
      const times: number[] = [];
      for (const [place, end] of ends) {
        const [topic, p] = place.split('/') as [string, string];
        times.push(...(await recordsOf(topic, Number(p), end)).times);
      }
      times.sort((a, b) => a - b);
      expect(times.length).toBe(10_000);
      expect(times[0]).toBeGreaterThanOrEqual(began);
      for (const [n, ms] of times.entries())
        if (ms - times[0]! !== Math.floor(n / 5)) expect.fail(`record ${n} is ${ms - times[0]!} ms after the first`);
    },
  );
});
