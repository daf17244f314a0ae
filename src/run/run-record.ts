/**
 * A run on the record: what it was started with, and how it ended. A run that was killed is closed by the next one from the state,
 * before its own entry. Entries go to ClickHouse when it is there; the file and the state come first.
 */
import { LINES } from '../../topology/books.ts';
import { encodeAuditRows, entriesAfter } from '../control/audit.ts';
import { Sink } from '../clickhouse/sink.ts';
import { version } from '../cli/version.ts';
import type { DataDir } from './data-dir.ts';
import type { LoadedJob } from './load-job.ts';
import type { ClickHouseEndpoint, Owned, ShardStatus } from './messages.ts';
import type { Rebuild } from './rebuild.ts';
import type { Beginning, Passed } from './source.ts';

/** The end of a run does not wait longer for ClickHouse to take its entries; the next run sends them. */
const SEND_MS = 3_000;

export interface RunConfig {
  readonly log: string;
  readonly from: Beginning;
  readonly on_gap: 'stop' | 'record';
  readonly shards: number;
  /** Those that run here, when not all do. */
  readonly owned?: readonly number[] | 'by the group';
  readonly untilEnd: boolean;
  readonly finish: boolean;
  readonly commitEvents: number;
  readonly clickhouse: string;
}

export class RunRecord {
  private readonly data: DataDir;
  private readonly job: string;
  /** Every shard that it has had, as it was at first. */
  private readonly opened: ShardStatus[];
  private isEnded = false;

  constructor(data: DataDir, loaded: LoadedJob, config: RunConfig, opened: readonly ShardStatus[]) {
    this.data = data;
    this.job = loaded.plan.job;
    this.opened = [...opened];
    if (runIsOpen(data, this.job))
      data.audit.append('run.killed', this.job, {
        how: 'killed: closed by the next run from the state',
        offsets_to: offsets(opened),
        books: books(opened),
      });
    data.audit.append('run.started', this.job, {
      code: version(),
      node: process.version,
      plan: loaded.digest,
      config,
      pid: process.pid,
      offsets_from: offsets(opened),
      contracts: loaded.plan.sources.map((s) => ({ id: s.contract, version: s.version, digest: s.digest })),
    });
  }

  end(how: string, ended: readonly ShardStatus[]): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.data.audit.append('run.ended', this.job, {
      how,
      offsets_from: offsets(this.opened),
      offsets_to: offsets(ended),
      books: books(ended),
    });
  }

  /** Records were gone before they were read, and counting goes on behind them, as was asked for. */
  passed(shard: number, { place, offset, sentence, gap, from, to }: Passed): void {
    const { topic, partition } = this.opened.find((s) => s.shard === shard)!.partitions[place]!;
    this.data.audit.append('log.gap', this.job, { shard, topic, partition, gap, from, to, resumed_at: offset, what: sentence });
  }

  /** Counted by this process from now on. Past this version, what an owner before has written is counted again from the log. */
  taken(state: ShardStatus, { epoch, rebuild }: Owned): void {
    const { shard, version, owner } = state;
    if (!this.opened.some((s) => s.shard === shard)) this.opened.push(state);
    if (rebuild !== undefined) return this.rebuilt(shard, epoch, rebuild);
    this.data.audit.append('shard.taken', this.job, { shard, epoch, fork: version, from_instance: owner, offsets_from: offsets([state]) });
  }

  released(state: ShardStatus): void {
    const { shard, version } = state;
    this.data.audit.append('shard.released', this.job, { shard, version, offsets_to: offsets([state]), books: books([state]) });
  }

  /** The shard's state was lost: from these offsets on it is counted again, but for windows that begin before `frozenTo`. */
  private rebuilt(shard: number, epoch: number, { frozenTo, starts }: Rebuild): void {
    this.data.audit.append('shard.rebuilt', this.job, {
      shard,
      epoch,
      frozen_to: frozenTo === 0 ? null : new Date(frozenTo).toISOString(),
      starts: Object.fromEntries(starts.map(([topic, partition, offset]) => [`${topic}/${partition}`, offset])),
    });
  }

  send(endpoint: ClickHouseEndpoint): Promise<void> {
    return sendAudit(this.data, endpoint);
  }
}

/** Sends the entries that ClickHouse does not have yet; gives up after a while. */
export async function sendAudit(data: DataDir, endpoint: ClickHouseEndpoint): Promise<void> {
  const last = data.audit.head?.number ?? 0;
  if (last <= data.control.acknowledged()) return;
  const { target, rows, body } = encodeAuditRows(data.instance, entriesAfter(data.audit.file, data.control.acknowledged()));
  const sink = new Sink(endpoint);
  const timer = setTimeout(() => void sink.close(), SEND_MS);
  if (await sink.insert(target, body, rows)) data.control.acknowledge(last);
  clearTimeout(timer);
  await sink.close();
}

function runIsOpen(data: DataDir, job: string): boolean {
  let open = false;
  for (const { entry } of entriesAfter(data.audit.file, 0)) {
    if (entry.job !== job) continue;
    if (entry.kind === 'run.started') open = true;
    if (entry.kind === 'run.ended' || entry.kind === 'run.killed' || entry.kind === 'job.dropped') open = false;
  }
  return open;
}

function offsets(shards: readonly ShardStatus[]): Record<string, number> {
  const out: Record<string, number> = {};
  // Over a hop every shard has its part of a partition, and stands where it stands.
  for (const { topic, partition, offset } of shards.flatMap((s) => s.partitions))
    out[`${topic}/${partition}`] = Math.min(offset, out[`${topic}/${partition}`] ?? Infinity);
  return out;
}

/** Over all partitions, by class and code; the partitions' own pages are in tally_books. */
function books(shards: readonly ShardStatus[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [i, line] of LINES.entries()) {
    const n = shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.page[i]!, 0);
    if (n > 0) out[line.code === '' ? line.class : `${line.class} ${line.code}`] = n;
  }
  return out;
}
