/**
 * One run of a job: takes the data directory, starts ClickHouse and the workers, makes sure that state and tables belong together,
 * keeps the record, and ends everything in order. It counts nothing itself.
 */
import { Worker } from 'node:worker_threads';
import { availableParallelism } from 'node:os';
import { LINES } from '../../topology/books.ts';
import { monotonicMs, nowMs, randomUint32 } from '../clock.ts';
import type { Shards } from '../config/values.ts';
import { TallyError, usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { openLog } from '../log/segments.ts';
import type { FromWorker, LoopBounds, ShardStatus, ToWorker, WorkerOrder } from './messages.ts';
import { faultOf } from './faults.ts';
import type { RunObserver } from './observer.ts';
import { forgetState, GENERATION, jobDir, shardsOnDisk } from './places.ts';
import { loadJob } from './load-job.ts';
import type { LoadedJob } from './load-job.ts';
import { openData } from './data-dir.ts';
import type { DataDir } from './data-dir.ts';
import { connect, fitTables } from './tables.ts';
import type { Connected } from './tables.ts';
import { RunRecord } from './run-record.ts';
import type { StopSignal } from './signals.ts';
import type { Beginning, KafkaSettings, Passed } from './source.ts';
import { writeStatus } from './status-file.ts';
import { startProgress } from '../cli/progress.ts';

/** Who has been told to stop and doesn't is ended after this time. */
const END_MS = 10_000;

export interface RunOptions {
  readonly job: string;
  /** A directory, or kafka://... */
  readonly log: string;
  readonly kafka: KafkaSettings;
  /** Where counting begins at the first start. */
  readonly from: Beginning;
  readonly data: string;
  readonly clickhouse: string | undefined;
  readonly contracts: string | undefined;
  readonly shards: Shards | undefined;
  readonly untilEnd: boolean;
  readonly finish: boolean;
  readonly commitEvents: number;
  readonly bounds: LoopBounds;
  /** A stop that takes longer is cut short. */
  readonly stopMs: number;
  /** On a terminal, a line of progress is shown. */
  readonly showsProgress: boolean;
  readonly observer: RunObserver;
  readonly warn: (sentence: string) => void;
}
export interface RunSummary {
  readonly job: string;
  readonly generation: number;
  readonly records: number;
  readonly classes: { counted: number; duplicate: number; conflict: number; quarantined: number };
  readonly codes: Record<string, number>;
  readonly seconds: number;
  readonly events_per_second: number;
  readonly peak_rss_bytes: number;
}

export async function runJob(o: RunOptions, stop: StopSignal): Promise<RunSummary> {
  const loaded = await loadJob(o.job, o.contracts);
  for (const warning of loaded.warnings) o.warn(warning);
  const topics = await topicsOf(loaded, o);
  const shards = chooseShards(o, loaded, topics);
  const data = await openData(o.data);
  try {
    o.observer.begins(loaded.plan.job, jobDir(o.data, loaded.plan.job));
    return await runIn(data, o, loaded, topics, shards, stop);
  } finally {
    await data.close();
  }
}

async function topicsOf(loaded: LoadedJob, o: RunOptions): Promise<Record<string, number>> {
  const names = loaded.plan.sources.map(({ topic }) => topic),
    log = isKafkaUrl(o.log) ? await openKafkaLog(o.log, names, o.kafka.security) : openLog(o.log);
  try {
    return Object.fromEntries(names.map((topic) => [topic, log.partitions(topic)]));
  } finally {
    await log.close();
  }
}

/** How many shards the job has, and which of them run here. */
interface Slices {
  readonly count: number;
  readonly owned: readonly number[];
}

function chooseShards(o: RunOptions, loaded: LoadedJob, topics: Record<string, number>): Slices {
  const before = shardsOnDisk(o.data, loaded.plan.job, GENERATION),
    shards = o.shards?.count ?? before ?? 1;
  const owned = o.shards?.owned ?? null;
  if (owned !== null && o.clickhouse === undefined)
    throw usage(
      'E_SHARDS',
      'processes that share a job write to one ClickHouse, and the embedded one belongs to this data directory',
      'add --clickhouse URL',
    );
  if (owned !== null && o.finish)
    throw usage(
      'E_SHARDS',
      '--finish closes windows over all shards, and some of them do not run here',
      'leave --finish away, or run all shards in one process',
    );
  const least = Math.min(...Object.values(topics));
  if (before !== undefined && before !== shards) {
    throw usage(
      'E_STATE_SHARDS',
      `the state of ${loaded.plan.job} was made with ${before} shard(s), this run asks for ${shards}`,
      `run with --shards ${before}, or start anew: tally drop ${loaded.plan.job} --data ${o.data} --yes`,
    );
  }
  if (shards > least) {
    throw usage(
      'E_SHARDS',
      `${shards} shards need as many partitions in every topic, and one has ${least}`,
      `run with --shards ${least} or fewer, or make the topic with more partitions`,
    );
  }
  return { count: shards, owned: owned ?? Array.from({ length: shards }, (_, i) => i) };
}

async function runIn(
  data: DataDir,
  o: RunOptions,
  loaded: LoadedJob,
  topics: Record<string, number>,
  { count: shards, owned }: Slices,
  stop: StopSignal,
): Promise<RunSummary> {
  const crew = new Crew(
    {
      plan: loaded.plan,
      planDigest: loaded.digest,
      contracts: loaded.contracts,
      generation: GENERATION,
      instance: data.instance,
      hashKey: [randomUint32(), randomUint32()],
      shards,
      dataDir: o.data,
      log: o.log,
      kafka: o.kafka,
      from: o.from,
      topics,
      untilEnd: o.untilEnd,
      finish: o.finish,
      commitEvents: o.commitEvents,
      bounds: o.bounds,
      sharers: owned.length,
    },
    owned,
    o.warn,
  );
  let tables: Connected | undefined,
    opened: readonly ShardStatus[] = [],
    hasBegun = false;
  stop.onStop(() => {
    o.observer.stops();
    crew.stop(o.stopMs);
  });
  try {
    opened = await crew.opened;
    o.observer.opened(opened);
    tables = await connect(o.clickhouse, o.data, o.warn, () => stop.stop());
    tables.onEndpoint((clickhouse) => crew.tell({ kind: 'endpoint', clickhouse }));
    await fitTables(tables, { plan: loaded.plan, generation: GENERATION, shards, instance: data.instance }, opened);
    o.observer.fits();
    const config = {
      log: o.log,
      from: o.from,
      on_gap: o.kafka.onGap,
      shards,
      ...(owned.length < shards ? { owned } : {}),
      untilEnd: o.untilEnd,
      finish: o.finish,
      commitEvents: o.commitEvents,
      clickhouse: o.clickhouse === undefined ? 'embedded' : tables.endpoint.url,
    };
    const record = new RunRecord(data, loaded, config, opened);
    crew.onPassed = (shard, passed) => {
      o.warn(`${passed.sentence} Counting goes on at offset ${passed.offset}, on the record.`);
      record.passed(shard, passed);
    };
    hasBegun = true;
    await record.send(tables.endpoint);
    return await watch(crew, tables, record, o, loaded, opened, stop);
  } finally {
    await crew.end();
    await tables?.close();
    if (!hasBegun && opened.length > 0 && opened.every((s) => s.fresh)) forgetState(o.data, loaded.plan.job, GENERATION);
  }
}

async function watch(
  crew: Crew,
  tables: Connected,
  record: RunRecord,
  o: RunOptions,
  loaded: LoadedJob,
  opened: readonly ShardStatus[],
  stop: StopSignal,
): Promise<RunSummary> {
  const began = monotonicMs(),
    progress = startProgress(`run ${loaded.plan.job}`, o.showsProgress ? process.stderr : NOWHERE);
  crew.onStatus = (shards) => {
    const done = read(shards) - read(opened),
      lag = shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.end - p.offset, 0);
    const rate = done / Math.max(0.001, (monotonicMs() - began) / 1000);
    progress.update(`${done.toLocaleString('en')} records, ${Math.round(rate).toLocaleString('en')}/s, ${lag.toLocaleString('en')} behind`);
    writeStatus(o.data, {
      job: loaded.plan.job,
      pid: process.pid,
      at: nowMs(),
      running: true,
      log: o.log,
      clickhouse: tables.endpoint.url,
      ratePerSecond: rate,
      shards,
    });
    o.observer.status(shards);
  };
  crew.onEnded = (shards) => o.observer.ended(shards);
  crew.tell({ kind: 'go', clickhouse: tables.endpoint });
  try {
    const ended = await Promise.race([crew.ended, tables.failed]);
    record.end(stop.stopped ? 'stopped by a signal' : 'end of the log', ended);
    await record.send(tables.endpoint);
    const seconds = (monotonicMs() - began) / 1000;
    writeStatus(o.data, {
      job: loaded.plan.job,
      pid: process.pid,
      at: nowMs(),
      running: false,
      log: o.log,
      clickhouse: null,
      ratePerSecond: 0,
      shards: ended,
    });
    return summary(loaded.plan.job, opened, ended, seconds);
  } catch (error) {
    record.end(`failed: ${error instanceof TallyError ? error.code : 'E_BUG'}`, crew.latest);
    throw error;
  } finally {
    progress.done();
  }
}

const read = (shards: readonly ShardStatus[]): number => shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.page[0]!, 0);

function summary(job: string, opened: readonly ShardStatus[], ended: readonly ShardStatus[], seconds: number): RunSummary {
  const classes = { counted: 0, duplicate: 0, conflict: 0, quarantined: 0 },
    codes: Record<string, number> = {};
  const pages = (shards: readonly ShardStatus[]): (readonly number[])[] => shards.flatMap((s) => s.partitions).map((p) => p.page);
  for (const [i, line] of LINES.entries()) {
    const n = total(pages(ended), i) - total(pages(opened), i);
    if (line.class === 'read' || n === 0) continue;
    classes[line.class] += n;
    if (line.code !== '') codes[line.code] = (codes[line.code] ?? 0) + n;
  }
  const records = read(ended) - read(opened);
  return {
    job,
    generation: GENERATION,
    records,
    classes,
    codes,
    seconds: Math.round(seconds * 1000) / 1000,
    events_per_second: Math.round(records / Math.max(seconds, 0.001)),
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  };
}

const total = (pages: readonly (readonly number[])[], line: number): number => pages.reduce((sum, page) => sum + page[line]!, 0);

const NOWHERE = { isTTY: false, write: (): void => {} };

/** The workers of a run: shards are dealt over as many threads as there are cores. */
class Crew {
  readonly opened: Promise<ShardStatus[]>;
  readonly ended: Promise<ShardStatus[]>;
  onStatus: (shards: readonly ShardStatus[]) => void = () => {};
  onPassed: (shard: number, passed: Passed) => void = () => {};
  onEnded: (shards: readonly ShardStatus[]) => void = () => {};
  private readonly late = Promise.withResolvers<never>();
  private endMs = END_MS;
  private readonly workers: Worker[] = [];
  private readonly byShard = new Map<number, ShardStatus>();
  private readonly exits: Promise<void>[] = [];
  private readonly lastEnds: number[] = [];

  constructor(order: Omit<WorkerOrder, 'owned'>, owned: readonly number[], warn: (sentence: string) => void) {
    const threads = Math.min(owned.length, availableParallelism());
    const openedAll: Promise<void>[] = [],
      endedAll: Promise<void>[] = [];
    for (let t = 0; t < threads; t++) {
      const file = new URL(`./worker${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
      const worker = new Worker(file, { workerData: { ...order, owned: owned.filter((_, i) => i % threads === t) } satisfies WorkerOrder });
      this.workers.push(worker);
      this.exits.push(new Promise((resolve) => worker.once('exit', () => resolve())));
      const opened = Promise.withResolvers<void>(),
        ended = Promise.withResolvers<void>();
      const fail = (error: unknown): void => {
        opened.reject(error);
        ended.reject(error);
      };
      worker.on('error', fail);
      worker.on('exit', () => fail(new Error('a worker ended without a word')));
      worker.on('message', (m: FromWorker) => {
        if (m.kind === 'failed') return fail(faultOf(m));
        if (m.kind === 'trouble') return warn(m.sentence);
        if (m.kind === 'read') return this.finish(m.lastEnd);
        if (m.kind === 'passed') return this.onPassed(m.shard, m.passed);
        for (const shard of m.shards) this.byShard.set(shard.shard, shard);
        if (m.kind === 'opened') opened.resolve();
        if (m.kind === 'ended') {
          this.onEnded(m.shards);
          ended.resolve();
        }
        if (m.kind === 'status') this.onStatus(this.latest);
      });
      openedAll.push(opened.promise);
      endedAll.push(ended.promise);
    }
    this.opened = Promise.race([Promise.all(openedAll).then(() => this.latest), this.late.promise]);
    this.ended = Promise.race([Promise.all(endedAll).then(() => this.latest), this.late.promise]);
    this.opened.catch(() => {});
    this.ended.catch(() => {});
  }

  get latest(): ShardStatus[] {
    return [...this.byShard.values()].sort((a, b) => a.shard - b.shard);
  }

  tell(message: ToWorker): void {
    for (const worker of this.workers) worker.postMessage(message);
  }

  /** A worker has read everything; the last to say so lets all of them finish. */
  private finish(lastEnd: number): void {
    if (this.lastEnds.push(lastEnd) === this.workers.length) this.tell({ kind: 'finish', at: Math.max(...this.lastEnds) });
  }

  /** An orderly stop; when it is not done in time, `ended` says so and nobody is waited for any more. */
  stop(withinMs: number): void {
    this.tell({ kind: 'stop' });
    const timer = setTimeout(() => {
      this.endMs = 0;
      this.late.reject(
        new TallyError(
          'E_STOP_LATE',
          `the run did not come to its end within ${withinMs / 1000} s of being told to stop, and was cut short`,
          'nothing that was committed is lost: the next run goes on from there',
        ),
      );
    }, withinMs);
    timer.unref();
  }

  /** Tells all to stop and waits; who does not come to an end in time is ended. */
  async end(): Promise<void> {
    this.tell({ kind: 'stop' });
    const late = setTimeout(() => this.workers.forEach((worker) => void worker.terminate()), this.endMs);
    await Promise.all(this.exits);
    clearTimeout(late);
  }
}
