/**
 * The whole way as a user runs it: `tally run JOB --until-end --json` in a process of its own, from lz4 segment files to rows that ClickHouse has
 * acknowledged, one shard: with the embedded engine on the same cores, and with the engine's CPU apart (acknowledging.ts); the naive way on
 * the same log in turns with them. CPU and memory are read from /proc, of the run's process and of the engine's. `node bench/end-to-end.ts [--quick]`.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { monotonicMs, nowMs } from '../src/clock.ts';
import { ask, readConnection } from '../src/clickhouse/connection.ts';
import { EventSource } from '../src/generate/event-source.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { loadJob } from '../src/run/load-job.ts';
import { engineDir } from '../src/run/places.ts';
import { startAcknowledging } from './acknowledging.ts';
import { bytesUnder, inScratch, JOB, makeLog } from './data.ts';
import type { MadeLog } from './data.ts';
import { builtMain } from './product.ts';
import { percentile, print, row } from './table.ts';
import type { Row } from './table.ts';

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const SAMPLE_MS = 100,
  TICKS_A_SECOND = 100,
  MEBI = 1 << 20,
  HOUR = 3_600_000;

interface Used {
  cpuSeconds: number;
  peakBytes: number;
}
export interface Ran {
  readonly records: number;
  /** From the start of reading to the last acknowledgement. */
  readonly seconds: number;
  readonly run: Used;
  readonly engine: Used;
  readonly stateBytes: number;
}

/** What a process has used so far, threads included; undefined when it is gone. */
function usedBy(pid: number): Used | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1'),
      fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const peak = /VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'));
    return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND, peakBytes: Number(peak?.[1] ?? 0) * 1024 };
  } catch {
    return undefined;
  }
}

/** Children of any of its threads. */
function childrenOf(pid: number): number[] {
  try {
    return fs
      .readdirSync(`/proc/${pid}/task`)
      .flatMap((task) => fs.readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').trim().split(' '))
      .filter((t) => t !== '')
      .map(Number);
  } catch {
    return [];
  }
}

const most = (a: Used, b: Used | undefined): Used =>
  b === undefined ? a : { cpuSeconds: Math.max(a.cpuSeconds, b.cpuSeconds), peakBytes: Math.max(a.peakBytes, b.peakBytes) };

/** Runs the job over the log into a fresh data directory; `url`: a ClickHouse elsewhere. `watch` looks at the run while it goes on. */
export function runOnce(log: string, url?: string, watch?: (data: string) => Promise<void>): Promise<Ran> {
  return inScratch('run', async (dir) => {
    const data = path.join(dir, 'data');
    const words = ['run', JOB, '--log', log, '--data', data, '--shards', '1', '--until-end', '--json'];
    const child = spawn(process.execPath, [builtMain(), ...words, ...(url === undefined ? [] : ['--clickhouse', url])], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '',
      said = '';
    child.stdout.on('data', (b: Buffer) => (out += b.toString()));
    child.stderr.on('data', (b: Buffer) => (said = (said + b.toString()).slice(-2000)));
    let run: Used = { cpuSeconds: 0, peakBytes: 0 },
      engine = run,
      isOn = true;
    const timer = setInterval(() => {
      run = most(run, usedBy(child.pid!));
      for (const pid of childrenOf(child.pid!)) engine = most(engine, usedBy(pid));
    }, SAMPLE_MS);
    const watched = (async () => {
      while (watch !== undefined && isOn) {
        await watch(data);
        await sleep(SAMPLE_MS);
      }
    })();
    const [code] = (await once(child, 'close')) as [number];
    clearInterval(timer);
    isOn = false;
    await watched;
    if (code !== 0) throw new Error(`tally run ended with ${code}: ${said}`);
    const summary = JSON.parse(out) as { records: number; seconds: number; peak_rss_bytes: number };
    return {
      records: summary.records,
      seconds: summary.seconds,
      run: { ...run, peakBytes: Math.max(run.peakBytes, summary.peak_rss_bytes) },
      engine,
      stateBytes: bytesUnder(path.join(data, JOB)),
    };
  });
}

/** With rows that are acknowledged at once and thrown away, by another process. */
export function runApart(log: string): Promise<Ran> {
  return inScratch('apart', async (dir) => {
    const sink = await startAcknowledging(dir);
    try {
      const ran = await runOnce(log, sink.url);
      if (sink.bytes === 0) throw new Error('no row was sent');
      return ran;
    } finally {
      await sink.close();
    }
  });
}

interface Naive {
  readonly events: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}
function naiveOnce(log: string, events: number): Promise<Naive> {
  return inScratch('naive', async (dir) => {
    const child = spawn(process.execPath, [here('naive.ts'), log, String(events), path.join(dir, 'state')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (b: Buffer) => (out += b.toString()));
    const [code] = (await once(child, 'close')) as [number];
    if (code !== 0) throw new Error(`the naive way ended with ${code}`);
    return JSON.parse(out) as Naive;
  });
}

const faster = (a: Ran | undefined, b: Ran): Ran => (a === undefined || b.seconds / b.records < a.seconds / a.records ? b : a);

async function throughput(log: MadeLog, rounds: number, naiveEvents: number): Promise<Row[]> {
  let ours: Ran | undefined, apart: Ran | undefined, naive: Naive | undefined;
  for (let round = 0; round < rounds; round++) {
    ours = faster(ours, await runOnce(log.dir));
    apart = faster(apart, await runApart(log.dir));
    const other = await naiveOnce(log.dir, naiveEvents);
    if (naive === undefined || other.seconds / other.events < naive.seconds / naive.events) naive = other;
  }
  if (ours === undefined || apart === undefined || naive === undefined) throw new Error('no round was run');
  const stage = `end to end, ${log.keys.toLocaleString('en')} keys`,
    n = ours.records,
    { events } = naive;
  return [
    row(
      stage,
      `${n.toLocaleString('en')} events, the engine's CPU apart, best of ${rounds}`,
      n / apart.seconds,
      events / naive.seconds,
      'events/s',
    ),
    row(stage, 'with the engine on the same cores', n / ours.seconds, events / naive.seconds, 'events/s'),
    row(stage, 'a CPU second of the run, start-up included', n / apart.run.cpuSeconds, events / naive.cpuSeconds, 'events/s'),
    row(stage, 'CPU of the engine for an event', (ours.engine.cpuSeconds / n) * 1e9, null, 'ns'),
    row(stage, 'peak memory of the run', ours.run.peakBytes / MEBI, null, 'MiB'),
    row(stage, 'peak memory of the engine', ours.engine.peakBytes / MEBI, null, 'MiB'),
    row(stage, 'log on disk (lz4), an event', log.bytes / n, null, 'bytes'),
    row(stage, 'state on disk, an event', ours.stateBytes / n, null, 'bytes'),
  ];
}

/** While it is behind: how long the tables stay as they are before newer rows of open windows come. */
class Freshness {
  longestMs = 0;
  private version = '';
  private since = 0;

  async look(data: string): Promise<void> {
    const connection = readConnection(engineDir(data));
    if (connection === undefined) return;
    try {
      const answer = await ask(connection, `SELECT max(version) FROM ${connection.database}.ads_daily_g1_rows`, 5_000);
      if (!answer.ok || answer.text === this.version) return;
      this.version = answer.text;
    } catch {
      return;
    }
    const now = monotonicMs();
    if (this.since > 0) this.longestMs = Math.max(this.longestMs, now - this.since);
    this.since = now;
  }
}

async function month(events: number): Promise<Row[]> {
  const log = await makeLog({ events, keys: 10_000, hours: 30 * 24 - 1 }),
    fresh = new Freshness(),
    ran = await runOnce(log.dir, undefined, (data) => fresh.look(data));
  const stage = `30 days, ${(events / 1e6).toLocaleString('en')}M events`;
  return [
    row(stage, 'peak memory of the run, 97 % of them live identities', ran.run.peakBytes / MEBI, null, 'MiB'),
    row(stage, 'events a second of the clock', ran.records / ran.seconds, null, 'events/s'),
    row(stage, 'state on disk, an event', ran.stateBytes / ran.records, null, 'bytes'),
    row(stage, 'behind: the longest time between newer rows of open windows', fresh.longestMs / 1000, null, 's'),
  ];
}

/** A live run that is caught up: from the moment before a record is appended until a question in SQL sees it. */
function latency(probes: number): Promise<Row[]> {
  return inScratch('live', async (dir) => {
    const { plan, contracts } = await loadJob(JOB, undefined),
      log = path.join(dir, 'log'),
      data = path.join(dir, 'data');
    const writers = plan.sources.map((s) => new TopicWriter(log, s.topic));
    const source = new EventSource(contracts, {
      events: probes + 1,
      duplicates: 0,
      late: 0,
      malformed: 0,
      keys: 100,
      startMs: nowMs() - HOUR,
      spanMs: HOUR / 2,
      id: plan.id,
      time: plan.time,
      dimensions: plan.dimensions.map((d) => d.name),
    });
    const child = spawn(process.execPath, [here('../src/cli/main.ts'), 'run', JOB, '--log', log, '--data', data], {
        stdio: ['ignore', 'ignore', 'inherit'],
      }),
      ended = once(child, 'close');
    try {
      const took: number[] = [];
      for (let n = 0; n <= probes; n++) {
        source.make(n);
        const writer = writers[source.source]!,
          began = monotonicMs();
        writer.append(0, source.key.bytes.subarray(0, source.key.length), source.line.bytes, nowMs(), 0, source.line.length);
        writer.flush();
        await until(data, n + 1);
        // The first waits for the start.
        if (n > 0) took.push(monotonicMs() - began);
        // Not in step with the run's own clock.
        await sleep((n * 37) % 200);
      }
      return [0.5, 0.95].map((p) =>
        row(
          'caught up',
          `record appended to visible in SQL, ${p === 0.5 ? 'median' : '95 %'} of ${probes}`,
          percentile(took, p),
          null,
          'ms',
        ),
      );
    } finally {
      for (const writer of writers) writer.abandon();
      child.kill('SIGTERM');
      await ended;
    }
  });
}

async function until(data: string, events: number): Promise<void> {
  const deadline = monotonicMs() + 30_000;
  for (; monotonicMs() < deadline; await sleep(5)) {
    const connection = readConnection(engineDir(data));
    if (connection === undefined) continue;
    try {
      const answer = await ask(
        connection,
        `SELECT sum(impressions + clicks + conversions) FROM ${connection.database}.ads_daily_live`,
        5_000,
      );
      if (answer.ok && Number(answer.text) >= events) return;
    } catch {
      // It is starting.
    }
  }
  throw new Error(`record ${events} is not in SQL after 30 s`);
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function benchEndToEnd(quick: boolean): Promise<Row[]> {
  const rounds = quick ? 1 : 2,
    rows: Row[] = [];
  for (const [keys, events] of quick
    ? ([
        [10_000, 1_000_000],
        [200_000, 600_000],
      ] as const)
    : ([
        [10_000, 12_000_000],
        [200_000, 6_000_000],
      ] as const)) {
    rows.push(...(await throughput(await makeLog({ events, keys, hours: 24 }), rounds, quick ? 50_000 : 300_000)));
  }
  rows.push(...(await latency(quick ? 20 : 50)));
  if (!quick) rows.push(...(await month(10_400_000)));
  return rows;
}

if (import.meta.main) print(await benchEndToEnd(process.argv.includes('--quick')));
