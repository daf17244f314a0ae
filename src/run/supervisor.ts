/**
 * One run of a job: takes the data directory, starts ClickHouse and the workers, makes sure that state and tables belong together,
 * keeps the record, and ends everything in order. It counts nothing itself.
 */
import { availableParallelism } from 'node:os';
import { LINES } from '../../topology/books.ts';
import { monotonicMs, nowMs, randomUint32 } from '../clock.ts';
import { checkServer } from '../clickhouse/server.ts';
import type { Shards } from '../config/values.ts';
import { TallyError, usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { openLog } from '../log/segments.ts';
import { Crew } from './crew.ts';
import type { Team } from './crew.ts';
import type { LoopBounds, Owned, ShardStatus, SnapshotOrder } from './messages.ts';
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
import { Ownership } from './ownership.ts';
import type { Beginning, KafkaSettings } from './source.ts';
import { writeStatus } from './status-file.ts';
import { startProgress } from '../cli/progress.ts';

/** ClickHouse was away when it was to be asked. */
const SETTLE_AGAIN_MS = 5_000;

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
  readonly snapshots: Omit<SnapshotOrder, 'atEnd'> | undefined;
  readonly takeover: Takeover;
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
export interface Takeover {
  /** An owner that says nothing is waited for this long. */
  readonly delayMs: number;
  /** After this time no insert of an owner before can be on its way. */
  readonly settleMs: number;
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
  slices: Slices,
  stop: StopSignal,
): Promise<RunSummary> {
  const run = new Run(data, o, loaded, topics, slices, stop);
  stop.onStop(() => run.stop());
  try {
    await run.begin();
    return await run.count();
  } finally {
    await run.end();
  }
}

/** One run, from the first state that is opened to the last. */
class Run {
  private readonly data: DataDir;
  private readonly o: RunOptions;
  private readonly loaded: LoadedJob;
  private readonly slices: Slices;
  private readonly signal: StopSignal;
  private readonly crew: Crew;
  private teams: readonly Team[] = [];
  private opened: readonly ShardStatus[] = [];
  private tables: Connected | undefined;
  private ownership: Ownership | undefined;
  private owned: ReadonlyMap<number, Owned> = new Map();
  private record: RunRecord | undefined;
  private onStatus: (shards: readonly ShardStatus[]) => void = () => {};
  private settling: NodeJS.Timeout | undefined;

  constructor(data: DataDir, o: RunOptions, loaded: LoadedJob, topics: Record<string, number>, slices: Slices, signal: StopSignal) {
    this.data = data;
    this.o = o;
    this.loaded = loaded;
    this.slices = slices;
    this.signal = signal;
    const { kafka, from, untilEnd, finish, commitEvents, bounds, snapshots } = o;
    this.crew = new Crew(
      {
        plan: loaded.plan,
        planDigest: loaded.digest,
        contracts: loaded.contracts,
        generation: GENERATION,
        instance: data.instance,
        hashKey: [randomUint32(), randomUint32()],
        shards: slices.count,
        dataDir: o.data,
        log: o.log,
        kafka,
        from,
        topics,
        untilEnd,
        finish,
        commitEvents,
        bounds,
        sharers: slices.owned.length,
        isShared: o.clickhouse !== undefined,
        snapshots: snapshots === undefined ? null : { ...snapshots, atEnd: false },
      },
      {
        warn: o.warn,
        status: (shards) => this.onStatus(shards),
        ended: (shards) => o.observer.ended(shards),
        passed: (shard, passed) => {
          o.warn(`${passed.sentence} Counting goes on at offset ${passed.offset}, on the record.`);
          this.record?.passed(shard, passed);
        },
      },
    );
  }

  /** States and tables are there and belong together. Where others write too, the tables come first: they say whose a shard is. */
  async begin(): Promise<void> {
    const { o, loaded, data, slices } = this,
      { plan } = loaded;
    if (o.clickhouse !== undefined) {
      this.tables = await this.connected();
      await checkServer(this.tables.endpoint);
      this.ownership = this.own(this.tables);
      for (const shard of slices.owned) await this.ownership.prepare(shard, false);
    }
    this.teams = deal(slices.owned, availableParallelism()).map((owned) => this.crew.open(owned));
    await Promise.race([Promise.all(this.teams.map((team) => team.opened)), this.crew.late]);
    this.opened = this.crew.latest;
    o.observer.opened(this.opened);
    this.tables ??= await this.connected();
    const states = this.opened.filter((s) => this.ownership?.takes.has(s.shard) !== true);
    await fitTables(this.tables, { plan, generation: GENERATION, shards: slices.count, instance: data.instance }, states);
    const owned = new Map<number, Owned>();
    if (this.ownership !== undefined) for (const s of this.opened) owned.set(s.shard, await this.ownership.take(s));
    this.owned = owned;
    o.observer.fits();
  }

  private async connected(): Promise<Connected> {
    const { o } = this,
      tables = await connect(o.clickhouse, o.data, o.warn, () => this.signal.stop());
    tables.onEndpoint((clickhouse) => this.crew.tell({ kind: 'endpoint', clickhouse }));
    return tables;
  }

  private own(tables: Connected): Ownership {
    const { o, loaded, data, slices } = this;
    return new Ownership({
      endpoint: tables.endpoint,
      plan: loaded.plan,
      planDigest: loaded.digest,
      generation: GENERATION,
      shards: slices.count,
      instance: data.instance,
      dataDir: o.data,
      snapshots: o.snapshots?.dir,
      warn: o.warn,
    });
  }

  async count(): Promise<RunSummary> {
    const { o, loaded, opened } = this,
      tables = this.tables!,
      record = this.recorded(tables);
    await record.send(tables.endpoint);
    const began = monotonicMs(),
      progress = startProgress(`run ${loaded.plan.job}`, o.showsProgress ? process.stderr : NOWHERE);
    this.onStatus = (shards) => {
      const rate = (read(shards) - read(opened)) / Math.max(0.001, (monotonicMs() - began) / 1000);
      progress.update(progressLine(shards, opened, rate));
      this.writeStatus(shards, rate);
      o.observer.status(shards);
    };
    this.crew.tell({ kind: 'go', clickhouse: tables.endpoint, owned: this.owned });
    this.settleLater(o.takeover.settleMs);
    try {
      await Promise.race([Promise.all(this.teams.map((team) => team.ended)), this.crew.late, tables.failed]);
      const ended = this.crew.latest;
      record.end(this.signal.stopped ? 'stopped by a signal' : 'end of the log', ended);
      await record.send(tables.endpoint);
      this.writeStatus(ended, undefined);
      return summary(loaded.plan.job, opened, ended, (monotonicMs() - began) / 1000);
    } catch (error) {
      record.end(`failed: ${error instanceof TallyError ? error.code : 'E_BUG'}`, this.crew.latest);
      throw error;
    } finally {
      progress.done();
    }
  }

  private recorded(tables: Connected): RunRecord {
    const { o, slices } = this,
      { count, owned } = slices;
    const config = {
      log: o.log,
      from: o.from,
      on_gap: o.kafka.onGap,
      shards: count,
      ...(owned.length < count ? { owned } : {}),
      untilEnd: o.untilEnd,
      finish: o.finish,
      commitEvents: o.commitEvents,
      clickhouse: o.clickhouse === undefined ? 'embedded' : tables.endpoint.url,
    };
    const record = new RunRecord(this.data, this.loaded, config, this.opened);
    this.record = record;
    for (const [shard, { epoch, takesOver }] of this.owned)
      if (takesOver)
        record.taken(
          shard,
          epoch,
          this.opened.find((s) => s.shard === shard)!,
        );
    return record;
  }

  /** Once more when nothing of an owner before can be on its way any more; tried again until ClickHouse has answered. */
  private settleLater(ms: number): void {
    const open = [...this.owned].filter(([, { isSettled }]) => !isSettled).map(([shard]) => shard);
    if (open.length === 0) return;
    this.settling = setTimeout(() => {
      void Promise.all(
        open.map(async (shard) => {
          const windows = await this.ownership!.sweepAgain(shard);
          this.crew.tell({ kind: 'settled', shard, windows });
        }),
      ).catch(() => this.settleLater(SETTLE_AGAIN_MS));
    }, ms);
    this.settling.unref();
  }

  private writeStatus(shards: readonly ShardStatus[], rate: number | undefined): void {
    writeStatus(this.o.data, {
      job: this.loaded.plan.job,
      pid: process.pid,
      at: nowMs(),
      running: rate !== undefined,
      log: this.o.log,
      clickhouse: rate === undefined ? null : this.tables!.endpoint.url,
      ratePerSecond: rate ?? 0,
      shards,
    });
  }

  stop(): void {
    this.o.observer.stops();
    this.crew.stop(this.o.stopMs);
  }

  async end(): Promise<void> {
    clearTimeout(this.settling);
    await this.crew.end();
    await this.tables?.close();
    if (this.record === undefined && this.opened.length > 0 && this.opened.every((s) => s.fresh))
      forgetState(this.o.data, this.loaded.plan.job, GENERATION);
  }
}

/** Shards over as many threads as there are cores. */
function deal(owned: readonly number[], cores: number): number[][] {
  const threads = Math.min(owned.length, cores);
  return Array.from({ length: threads }, (_, t) => owned.filter((_, i) => i % threads === t));
}

function progressLine(shards: readonly ShardStatus[], opened: readonly ShardStatus[], rate: number): string {
  const done = read(shards) - read(opened),
    lag = shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.end - p.offset, 0);
  return `${done.toLocaleString('en')} records, ${Math.round(rate).toLocaleString('en')}/s, ${lag.toLocaleString('en')} behind`;
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
