/**
 * One run of a job: takes the data directory, starts ClickHouse and the workers, makes sure that state and tables belong together,
 * keeps the record, and ends everything in order. It counts nothing itself.
 */
import { availableParallelism } from 'node:os';
import { monotonicMs, nowMs, randomUint32 } from '../clock.ts';
import { checkServer, INSERT_S } from '../clickhouse/server.ts';
import type { Shards } from '../config/values.ts';
import { TallyError } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { openLog } from '../log/segments.ts';
import { Crew } from './crew.ts';
import type { Team } from './crew.ts';
import type { LoopBounds, Owned, ShardStatus, SnapshotOrder, WorkerOrder } from './messages.ts';
import { openHop } from './open-hop.ts';
import type { RunObserver } from './observer.ts';
import { forgetState, GENERATION, jobDir } from './places.ts';
import { loadJob } from './load-job.ts';
import type { LoadedJob } from './load-job.ts';
import { openData } from './data-dir.ts';
import type { DataDir } from './data-dir.ts';
import { connect, fitTables } from './tables.ts';
import type { Connected } from './tables.ts';
import { RunRecord } from './run-record.ts';
import type { StopSignal } from './signals.ts';
import { chooseShards, deal } from './slices.ts';
import type { Slices } from './slices.ts';
import { GroupShards } from './group-shards.ts';
import { Ownership } from './ownership.ts';
import type { Beginning, KafkaSettings } from './source.ts';
import { writeStatus } from './status-file.ts';
import { retentionMs, SnapshotWatch } from './snapshot-watch.ts';
import { progressLine, read, summary } from './summary.ts';
import type { RunSummary } from './summary.ts';
import { startProgress } from '../cli/progress.ts';

/** ClickHouse was away when it was to be asked. */
const SETTLE_AGAIN_MS = 5_000;
/** A process that has no shard says so. */
const STATUS_MS = 1_000;
const NOWHERE = { isTTY: false, write: (): void => {} };

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
  /** Who has not been heard of for so long is no member of the group. */
  readonly sessionMs: number;
  /** An owner that says nothing is waited for this long. */
  readonly delayMs: number;
  /** After this time no insert of an owner before can be on its way. */
  readonly settleMs: number;
  /** A shard whose state is lost is counted again from what the log still holds. */
  readonly rebuildFrozen: boolean;
}

export async function runJob(o: RunOptions, stop: StopSignal): Promise<RunSummary> {
  const loaded = await loadJob(o.job, o.contracts);
  for (const warning of loaded.warnings) o.warn(warning);
  const names = loaded.plan.sources.map(({ topic }) => topic),
    topics = await partitionCounts(names, o);
  const shards = chooseShards(o, loaded.plan, topics),
    hop = await openHop(o, loaded, shards.count),
    watch = await watchSnapshots(o, [...names, ...(hop?.topics ?? [])]);
  const data = await openData(o.data);
  try {
    o.observer.begins(loaded.plan.job, jobDir(o.data, loaded.plan.job));
    return await runIn(new Run(data, o, loaded, { topics, hop }, shards, stop, watch), stop);
  } finally {
    await data.close();
  }
}

async function partitionCounts(names: readonly string[], o: RunOptions): Promise<Record<string, number>> {
  const log = isKafkaUrl(o.log) ? await openKafkaLog(o.log, names, o.kafka.security) : openLog(o.log);
  try {
    return Object.fromEntries(names.map((topic) => [topic, log.partitions(topic)]));
  } finally {
    await log.close();
  }
}

/** `topics`: all that a lost shard would be read from again. */
async function watchSnapshots(o: RunOptions, topics: readonly string[]): Promise<SnapshotWatch> {
  if (o.snapshots === undefined || !isKafkaUrl(o.log)) return new SnapshotWatch(Infinity, nowMs(), o.warn);
  const log = await openKafkaLog(o.log, topics, o.kafka.security);
  try {
    return new SnapshotWatch(await retentionMs(log, topics), nowMs(), o.warn);
  } finally {
    await log.close();
  }
}

type LogShape = Pick<WorkerOrder, 'topics' | 'hop'>;

async function runIn(run: Run, stop: StopSignal): Promise<RunSummary> {
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
  private readonly snapshotWatch: SnapshotWatch;
  private readonly crew: Crew;
  private teams: readonly Team[] = [];
  private opened: ShardStatus[] = [];
  private tables: Connected | undefined;
  private ownership: Ownership | undefined;
  private owned: ReadonlyMap<number, Owned> = new Map();
  private record: RunRecord | undefined;
  private onStatus: (shards: readonly ShardStatus[]) => void = () => {};
  /** In a group: those that it has had and let go. */
  private readonly let: ShardStatus[] = [];
  private readonly settling = new Set<NodeJS.Timeout>();

  constructor(
    data: DataDir,
    o: RunOptions,
    loaded: LoadedJob,
    shape: LogShape,
    slices: Slices,
    signal: StopSignal,
    snapshotWatch: SnapshotWatch,
  ) {
    this.snapshotWatch = snapshotWatch;
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
        ...shape,
        untilEnd,
        finish,
        commitEvents,
        bounds,
        sharers: slices.isGroup ? slices.count : slices.owned.length,
        isShared: o.clickhouse !== undefined,
        snapshots: snapshots === undefined ? null : { ...snapshots, atEnd: slices.isGroup },
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
      if (o.takeover.settleMs < INSERT_S * 1000)
        o.warn(
          `takeover.settle is ${o.takeover.settleMs / 1000} s, and an insert of an owner that hangs may come in up to ${INSERT_S} s after it began: what comes in later than the one is not taken away after a take-over. Set it to ${INSERT_S}s or more.`,
        );
      this.ownership = this.own(this.tables);
      for (const shard of slices.owned) await this.ownership.prepare(shard, false);
    }
    this.teams = deal(slices.owned, availableParallelism()).map((owned) => this.crew.open(owned, this.ownership?.rebuilds));
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
      rebuildFrom: o.takeover.rebuildFrozen ? { plan: loaded.plan, shards: slices.count, log: o.log, kafka: o.kafka } : undefined,
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
      if (o.snapshots !== undefined) this.snapshotWatch.look(shards, nowMs());
    };
    this.crew.tell({ kind: 'go', clickhouse: tables.endpoint, owned: this.owned });
    for (const [shard, { isSettled }] of this.owned) if (!isSettled) this.settleLater(shard, o.takeover.settleMs);
    try {
      await Promise.race([this.slices.isGroup ? this.served(tables, record) : this.ended(), this.crew.late, tables.failed]);
      const ended = [...this.let, ...this.crew.latest];
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

  private async ended(): Promise<void> {
    await Promise.all(this.teams.map((team) => team.ended));
  }

  /** As the group deals them, until it is told to stop. */
  private async served(tables: Connected, record: RunRecord): Promise<void> {
    const { o, data, slices, loaded, crew } = this;
    const shards = new GroupShards({
      shards: slices.count,
      crew,
      ownership: this.ownership!,
      endpoint: tables.endpoint,
      warn: o.warn,
      onTaken: (state, owned) => {
        record.taken(state, owned);
        this.opened.push(state);
      },
      onReleased: (state) => {
        record.released(state);
        this.let.push(state);
      },
      onLost: (lost) => o.observer.lost(lost),
      settle: (shard) => this.settleLater(shard, o.takeover.settleMs),
    });
    await shards.look();
    // Who is in no group does not load the library: 143 files.
    const { joinGroup } = await import('../kafka/shards/shard-group.ts');
    const group = await joinGroup({
      log: o.log,
      security: o.kafka.security,
      group: `tally-${loaded.plan.job}-shards`,
      shards: slices.count,
      instance: data.instance,
      sessionMs: o.takeover.sessionMs,
      takeoverDelayMs: o.takeover.delayMs,
      states: () => shards.states(),
      onAssigned: (shard) => shards.assigned(shard),
      onRevoked: (shard) => shards.revoked(shard),
      onTrouble: o.warn,
    });
    shards.joined(group);
    const watch = setInterval(() => this.onStatus(crew.latest), STATUS_MS);
    try {
      await Promise.race([new Promise<void>((resolve) => this.signal.onStop(resolve)), shards.failed]);
    } finally {
      clearInterval(watch);
      await shards.stop();
    }
  }

  private recorded(tables: Connected): RunRecord {
    const { o, slices } = this,
      { count, owned, isGroup } = slices;
    const config = {
      log: o.log,
      from: o.from,
      on_gap: o.kafka.onGap,
      shards: count,
      ...(isGroup ? { owned: 'by the group' as const } : owned.length < count ? { owned } : {}),
      untilEnd: o.untilEnd,
      finish: o.finish,
      commitEvents: o.commitEvents,
      clickhouse: o.clickhouse === undefined ? 'embedded' : tables.endpoint.url,
    };
    const record = new RunRecord(this.data, this.loaded, config, this.opened);
    this.record = record;
    for (const s of this.opened) if (this.owned.get(s.shard)?.takesOver === true) record.taken(s, this.owned.get(s.shard)!);
    return record;
  }

  /** Once more when nothing of an owner before can be on its way any more; tried again until ClickHouse has answered. */
  private settleLater(shard: number, ms: number): void {
    const timer = setTimeout(() => {
      this.settling.delete(timer);
      this.ownership!.sweepAgain(shard).then(
        (windows) => this.crew.tell({ kind: 'settled', shard, windows }),
        () => this.settleLater(shard, SETTLE_AGAIN_MS),
      );
    }, ms);
    timer.unref();
    this.settling.add(timer);
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
    this.crew.stop(this.o.stopMs, !this.slices.isGroup);
  }

  async end(): Promise<void> {
    for (const timer of this.settling) clearTimeout(timer);
    await this.crew.end();
    await this.tables?.close();
    if (this.record === undefined && this.opened.length > 0 && this.opened.every((s) => s.fresh))
      forgetState(this.o.data, this.loaded.plan.job, GENERATION);
  }
}
