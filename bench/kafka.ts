/**
 * From a real broker on the same cores, the engine's CPU apart: CPU of the run for a record, beside ours from segment files, and beside kafkajs
 * that only counts (`eachBatch`). All on the same record batches, in turns; with the start of the process, and without.
 * Skipped where no broker can be had. `node bench/kafka.ts [--quick]`.
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

/** CPU seconds of the run, of ours from segment files, and of kafkajs, the best of all rounds; and the most memory of the run. */
interface Measured {
  readonly events: number;
  readonly ours: number;
  readonly segments: number;
  readonly theirs: number;
  readonly peakBytes: number;
}

async function measure(keys: number, events: number, rounds: number): Promise<Measured> {
  const log = await makeLog({ events, keys, hours: 24 }),
    kafka = await startKafka({ heapMiB: 512, config: { 'message.max.bytes': String(4 * MEBI) } });
  try {
    await copy(log.dir, kafka);
    let ours = Infinity,
      segments = Infinity,
      theirs = Infinity,
      peakBytes = 0;
    for (let round = 0; round < rounds; round++) {
      const { run } = await runApart(kafka.url());
      ours = Math.min(ours, run.cpuSeconds);
      peakBytes = Math.max(peakBytes, run.peakBytes);
      theirs = Math.min(theirs, (await kafkajs(kafka.url(), events)).cpuSeconds);
      segments = Math.min(segments, (await runApart(log.dir)).run.cpuSeconds);
    }
    return { events, ours, segments, theirs, peakBytes };
  } finally {
    await kafka.stop();
  }
}

const ns = (seconds: number, events: number): number => (seconds / events) * 1e9;

function rowsOf(keys: number, m: Measured, rounds: number): Row[] {
  const stage = `Kafka, ${keys.toLocaleString('en')} keys`,
    n = m.events.toLocaleString('en'),
    [ours, segments, theirs] = [m.ours, m.segments, m.theirs].map((seconds) => ns(seconds, m.events)) as [number, number, number];
  return [
    row(stage, `CPU a record of ${n}, start-up included, against kafkajs that only counts, best of ${rounds}`, ours, theirs, 'ns'),
    row(stage, 'the same, against ours from segment files', ours, segments, 'ns'),
    row(stage, 'peak memory of the run', m.peakBytes / MEBI, null, 'MiB'),
  ];
}

/** What a run of days pays: the further records of a longer log, over those of a shorter one. */
function further(keys: number, shorter: Measured, longer: Measured): Row {
  const events = longer.events - shorter.events,
    what = `CPU of each further record, from ${shorter.events.toLocaleString('en')} to ${longer.events.toLocaleString('en')}, against kafkajs that only counts`;
  return row(
    `Kafka, ${keys.toLocaleString('en')} keys`,
    what,
    ns(longer.ours - shorter.ours, events),
    ns(longer.theirs - shorter.theirs, events),
    'ns',
  );
}

export async function benchKafka(quick: boolean): Promise<Row[]> {
  if (kafkaMissing !== undefined) return [];
  const rounds = quick ? 1 : 3,
    longer = await measure(10_000, quick ? 1_000_000 : 12_000_000, rounds),
    rows = rowsOf(10_000, longer, rounds);
  if (quick) return rows;
  rows.push(further(10_000, await measure(10_000, 2_000_000, rounds), longer));
  rows.push(...rowsOf(200_000, await measure(200_000, 4_000_000, 2), 2));
  return rows;
}

if (import.meta.main) print(await benchKafka(process.argv.includes('--quick')));
