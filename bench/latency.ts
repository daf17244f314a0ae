/**
 * From the moment at which a record is due at its producer until SQL shows it, live, at half of what the machine carries: load, broker, run and
 * embedded engine on the same cores. What it carries is measured first: a load that comes faster than it is counted, and how fast it is
 * counted then. Skipped where no broker can be had. `node bench/latency.ts [--quick] [--rate R]`: with a rate, that one, and nothing is measured first.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { monotonicMs, nowMs } from '../src/clock.ts';
import { loadConfig } from '../src/config/load.ts';
import { kafkaMissing, startKafka } from '../test/kafka-fixture.ts';
import { inScratch, JOB, TOPICS } from './data.ts';
import { LiveRun, must } from './live-run.ts';
import { Probe } from './probe.ts';
import { percentile, print, row } from './table.ts';
import type { Row } from './table.ts';

/** As a user has it who has set nothing. */
const FLUSH_MS = loadConfig({}, {}).config.commit.caughtUp,
  FLUSHES = 3,
  FLOOD_RATE = 1_000_000,
  STARTED_MS = 120_000,
  COUNTED_MS = 300_000,
  SAMPLE_MS = 50,
  /** Of the flood, while everything is started and compiled. */
  WARM_SHARE = 0.3,
  /** Of the load, before anything is measured: its own start, and what the flood left to compact and to merge. */
  WARM_S = 15;

/** Records that the state holds, by what the run says of itself. */
function countedSoFar(data: string): number {
  try {
    const status = JSON.parse(fs.readFileSync(path.join(data, JOB, 'status.json'), 'utf8')) as {
      shards: { partitions: { offset: number }[] }[];
    };
    return status.shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.offset, 0);
  } catch {
    return 0;
  }
}

/** So far: of all that the machine's cores could have given, what its host gave to others. Linux says it; null elsewhere. */
function stolenSoFar(): { readonly stolen: number; readonly all: number } | null {
  if (process.platform !== 'linux') return null;
  const ticks = fs.readFileSync('/proc/stat', 'latin1').split('\n')[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  return { stolen: ticks[7]!, all: ticks.reduce((sum, n) => sum + n, 0) };
}

const load = async (log: string, rate: number, seconds: number, seed: number): Promise<{ sent: number; lagMaxMs: number }> => {
  const words = ['--job', JOB, '--log', log, '--rate', String(rate), '--for', `${seconds}s`, '--seed', String(seed), '--malformed', '0'];
  return JSON.parse(await must('generate', ...words, '--json')) as { sent: number; lagMaxMs: number };
};

/** Records a second, counted and shown, while the load has as much of the machine as it can get. */
async function capacity(log: string, data: string, records: number, check: () => void): Promise<number> {
  const before = countedSoFar(data),
    sending = load(log, FLOOD_RATE, records / FLOOD_RATE, 1),
    end = monotonicMs() + COUNTED_MS;
  let from = { atMs: 0, counted: 0 };
  for (;;) {
    const atMs = monotonicMs(),
      counted = countedSoFar(data) - before;
    check();
    if (from.atMs === 0 && counted >= WARM_SHARE * records) from = { atMs, counted };
    if (counted >= records) {
      await sending;
      return ((counted - from.counted) / (atMs - from.atMs)) * 1000;
    }
    if (atMs > end) throw new Error(`${counted} of ${records} records are counted after ${COUNTED_MS} ms`);
    await sleep(SAMPLE_MS);
  }
}

async function measure(log: string, data: string, quick: boolean, given: number | undefined): Promise<Row[]> {
  const run = new LiveRun(JOB, log, data),
    check = (): void => run.check();
  let probe: Probe | undefined;
  try {
    run.start();
    probe = await Probe.open(log, data, nowMs);
    await probe.seenAfter(0, STARTED_MS, check);
    const most = given === undefined ? await capacity(log, data, quick ? 2_000_000 : 6_000_000, check) : undefined,
      rate = given ?? Math.round(most! / 2),
      calm = monotonicMs();
    await probe.seenAfter(calm, STARTED_MS, check);
    const host = stolenSoFar(),
      from = monotonicMs() + WARM_S * 1000,
      { sent, lagMaxMs } = await load(log, rate, WARM_S + (quick ? 15 : 60), 2),
      to = monotonicMs();
    const after = stolenSoFar();
    await probe.finish(STARTED_MS, check);
    await run.stop();
    const took = probe.seen.filter((s) => s.dueMs >= from && s.dueMs < to).map((s) => s.tookMs),
      stage = 'Kafka to SQL',
      among = `${took.length} probes among ${sent.toLocaleString('en')} records, ${rate.toLocaleString('en')} a second`;
    return [
      ...(most === undefined ? [] : [row(stage, 'what load, broker, run and engine carry together', most, null, 'records/s')]),
      row(stage, `due to visible in SQL, median of ${among}`, percentile(took, 0.5), null, 'ms'),
      row(stage, '95 %', percentile(took, 0.95), null, 'ms'),
      row(stage, `99 %, beside ${FLUSHES} flush intervals of ${FLUSH_MS} ms`, percentile(took, 0.99), FLUSHES * FLUSH_MS, 'ms'),
      row(stage, 'the most that the load itself was late', lagMaxMs, null, 'ms'),
      ...(host === null || after === null
        ? []
        : [
            row(
              stage,
              'what the host took of the cores meanwhile',
              (100 * (after.stolen - host.stolen)) / (after.all - host.all),
              null,
              '%',
            ),
          ]),
    ];
  } finally {
    await run.stop('SIGKILL');
    await probe?.close().catch(() => {});
  }
}

export async function benchLatency(quick: boolean, rate?: number): Promise<Row[]> {
  if (kafkaMissing !== undefined) return [];
  const kafka = await startKafka({ heapMiB: 512 });
  try {
    for (const topic of TOPICS) await kafka.createTopic(topic, 2);
    return await inScratch('latency', (data) => measure(kafka.url(), data, quick, rate));
  } finally {
    await kafka.stop();
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, rate: { type: 'string' } } });
  print(await benchLatency(values.quick, values.rate === undefined ? undefined : Number(values.rate)));
}
