/**
 * From a real broker on the same cores, the engine's CPU apart: CPU of the run for a record, beside ours from segment files, and beside kafkajs
 * that only counts (`eachBatch`). All on the same record batches, in turns. Skipped where no broker can be had. `node bench/kafka.ts [--quick]`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { openLog } from '../src/log/segments.ts';
import { kafkaMissing, startKafka } from '../test/kafka-fixture.ts';
import type { KafkaCluster } from '../test/kafka-fixture.ts';
import { copyPartition, RawProducer } from '../test/kafka-produce.ts';
import { makeLog, TOPICS } from './data.ts';
import { runApart } from './end-to-end.ts';
import type { Ran } from './end-to-end.ts';
import { print, row } from './table.ts';
import type { Row } from './table.ts';

const MEBI = 1 << 20;

/** Batch for batch, so that both logs hold the same bytes. */
async function copy(dir: string, kafka: KafkaCluster): Promise<void> {
  const log = openLog(dir),
    producer = await RawProducer.open(kafka.brokers[0]!.plainPort);
  for (const topic of TOPICS) {
    await kafka.createTopic(topic, log.partitions(topic));
    await copyPartition(log, producer, topic, 0);
  }
  log.close();
  producer.close();
}

interface Counted {
  readonly records: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}
/** In a process of its own, up to the topics' ends. */
async function kafkajs(url: string, records: number): Promise<Counted> {
  const file = fileURLToPath(new URL('kafkajs-count.ts', import.meta.url)),
    child = spawn(process.execPath, [file, url, String(records), ...TOPICS], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  let out = '';
  child.stdout.on('data', (b: Buffer) => (out += b.toString()));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`kafkajs ended with ${code}`);
  return JSON.parse(out) as Counted;
}

const cpu = (ran: Ran): number => (ran.run.cpuSeconds / ran.records) * 1e9;

async function compare(keys: number, events: number, rounds: number): Promise<Row[]> {
  const log = await makeLog({ events, keys, hours: 24 }),
    kafka = await startKafka({ heapMiB: 512, config: { 'message.max.bytes': String(4 * MEBI) } });
  try {
    await copy(log.dir, kafka);
    let ours = Infinity,
      segments = Infinity,
      theirs = Infinity,
      peak = 0;
    for (let round = 0; round < rounds; round++) {
      const fromKafka = await runApart(kafka.url()),
        counted = await kafkajs(kafka.url(), events);
      ours = Math.min(ours, cpu(fromKafka));
      peak = Math.max(peak, fromKafka.run.peakBytes);
      theirs = Math.min(theirs, (counted.cpuSeconds / counted.records) * 1e9);
      segments = Math.min(segments, cpu(await runApart(log.dir)));
    }
    const stage = `Kafka, ${keys.toLocaleString('en')} keys`;
    return [
      row(stage, `CPU a record of ${events.toLocaleString('en')}, against kafkajs that only counts, best of ${rounds}`, ours, theirs, 'ns'),
      row(stage, 'CPU a record, against ours from segment files', ours, segments, 'ns'),
      row(stage, 'peak memory of the run', peak / MEBI, null, 'MiB'),
    ];
  } finally {
    await kafka.stop();
  }
}

export async function benchKafka(quick: boolean): Promise<Row[]> {
  if (kafkaMissing !== undefined) return [];
  const rows = await compare(10_000, quick ? 1_000_000 : 12_000_000, quick ? 1 : 2);
  if (!quick) rows.push(...(await compare(200_000, 4_000_000, 2)));
  return rows;
}

if (import.meta.main) print(await benchKafka(process.argv.includes('--quick')));
