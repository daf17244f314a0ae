/**
 * What Prometheus is told at /metrics: made anew at each scrape from what the shards last said of themselves. Counters are the state's own
 * books, so they go on over restarts; `tally drop` sets them back, as counters may be. Times are seconds since 1970, bytes are bytes.
 */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { LINES } from '../../topology/books.ts';
import type { PartitionStatus, ShardStatus } from '../run/messages.ts';
import { CountedHistogram } from './counted-histogram.ts';

export interface MetricsOptions {
  readonly version: string;
  readonly nowMs: () => number;
  /** Bytes of the job's state on disk. Asked at most once in `STATE_BYTES_MS`: it goes through a directory. */
  readonly stateBytes: () => number;
}
const STATE_BYTES_MS = 15_000;

const SHARD = ['job', 'shard'] as const,
  PARTITION = [...SHARD, 'topic', 'partition'] as const;

export class Metrics {
  readonly contentType: string;
  private readonly registry = new Registry();
  private readonly o: MetricsOptions;
  private readonly gauges: ReturnType<typeof gaugesIn>;
  private readonly records: Counter;
  private readonly checkpoint: CountedHistogram;
  private readonly visible: CountedHistogram;
  private job = '';
  private shards: readonly ShardStatus[] = [];
  private lost: readonly number[] = [];
  private stateBytesAt = -Infinity;
  private lastStateBytes = 0;

  constructor(o: MetricsOptions) {
    this.o = o;
    const { registry } = this;
    this.contentType = registry.contentType;
    collectDefaultMetrics({ register: registry });
    const labelled = <L extends string>(name: string, help: string, labels: readonly L[]) => ({
      name,
      help,
      labelNames: [...labels],
      registers: [registry],
    });
    this.gauges = gaugesIn(registry);
    this.records = new Counter(
      labelled(
        'tally_records_total',
        'Records read since the state began, by the one class that each is in; they add up to what was read.',
        [...PARTITION, 'class', 'code'],
      ),
    );
    this.checkpoint = new CountedHistogram(
      'tally_checkpoint_duration_seconds',
      'Time of a commit to the state, fsync included.',
      SHARD,
      registry,
    );
    this.visible = new CountedHistogram(
      'tally_visible_latency_seconds',
      "From a record's time until its rows stand in ClickHouse: of the oldest record of each commit that wrote rows of open windows.",
      SHARD,
      registry,
    );
    const info = new Gauge(labelled('tally_build_info', 'What runs here.', ['version', 'node']));
    info.set({ version: o.version, node: process.version }, 1);
  }

  begin(job: string): void {
    this.job = job;
  }

  set(shards: readonly ShardStatus[]): void {
    this.shards = shards;
  }

  lose(shards: readonly number[]): void {
    this.lost = shards;
  }

  /** The page that Prometheus reads. */
  page(): Promise<string> {
    this.records.reset();
    for (const gauge of Object.values(this.gauges)) gauge.reset();
    for (const shard of this.shards) this.shard(shard);
    for (const shard of this.lost) this.gauges.lost.set({ job: this.job, shard: String(shard) }, 1);
    if (this.shards.length > 0) this.stateBytes();
    return this.registry.metrics();
  }

  private shard(s: ShardStatus): void {
    const labels = { job: this.job, shard: String(s.shard) },
      g = this.gauges;
    if (s.watermark >= 0) g.watermark.set(labels, s.watermark / 1000);
    if (s.maxTime >= 0) g.maxTime.set(labels, s.maxTime / 1000);
    if (s.committedAt > 0) g.committedAt.set(labels, s.committedAt / 1000);
    if (s.snapshotAt > 0) g.snapshotAt.set(labels, s.snapshotAt / 1000);
    g.outboxRows.set(labels, s.outboxRows);
    g.outboxBytes.set(labels, s.outboxBytes);
    g.paused.set(labels, s.paused ? 1 : 0);
    g.sinkDown.set(labels, s.sinkTrouble ? 1 : 0);
    g.identities.set(labels, s.identities);
    g.identityBytes.set(labels, s.identityBytes);
    g.openWindows.set(labels, s.openWindows);
    g.windowRows.set(labels, s.windowRows);
    this.checkpoint.hold(labels, s.commits);
    this.visible.hold(labels, s.visible);
    for (const p of s.partitions) this.partition({ ...labels, topic: p.topic, partition: String(p.partition) }, p);
  }

  private partition(labels: Record<(typeof PARTITION)[number], string>, p: PartitionStatus): void {
    for (const [i, line] of LINES.entries()) {
      // Every partition has its first class from the start: a rate needs a first sample. The others come when they do.
      if (line.class === 'read' || (p.page[i] === 0 && !(line.class === 'counted' && line.code === ''))) continue;
      this.records.inc({ ...labels, class: line.class, code: line.code }, p.page[i]!);
    }
    const g = this.gauges;
    g.offset.set(labels, p.offset);
    g.lagRecords.set(labels, Math.max(0, p.end - p.offset));
    const last = p.recordTime >= 0 ? p.recordTime : p.high;
    if (p.end <= p.offset) g.lagSeconds.set(labels, 0);
    else if (last >= 0) g.lagSeconds.set(labels, Math.max(0, this.o.nowMs() - last) / 1000);
  }

  private stateBytes(): void {
    const now = this.o.nowMs(),
      since = now - this.stateBytesAt;
    if (since < 0 || since >= STATE_BYTES_MS) {
      this.stateBytesAt = now;
      this.lastStateBytes = this.o.stateBytes();
    }
    this.gauges.stateBytes.set({ job: this.job }, this.lastStateBytes);
  }
}

function gaugesIn(registry: Registry) {
  const gauge = <L extends string>(name: string, help: string, labels: readonly L[]): Gauge<L> =>
    new Gauge({ name, help, labelNames: [...labels], registers: [registry] });
  return {
    watermark: gauge(
      'tally_watermark_timestamp_seconds',
      'Event time that is complete: windows that end at or before it are final.',
      SHARD,
    ),
    maxTime: gauge('tally_event_time_max_timestamp_seconds', 'Highest event time that was accepted.', SHARD),
    committedAt: gauge('tally_checkpoint_timestamp_seconds', 'When the state was last committed.', SHARD),
    snapshotAt: gauge('tally_snapshot_timestamp_seconds', 'When the newest snapshot of the state was taken by this run.', SHARD),
    lost: gauge('tally_shard_lost', '1 while the shard stands still here, for nothing of its state is to be had.', SHARD),
    outboxRows: gauge('tally_outbox_rows', 'Rows that ClickHouse has not acknowledged yet.', SHARD),
    outboxBytes: gauge('tally_outbox_bytes', 'Bytes of those rows.', SHARD),
    paused: gauge('tally_paused', '1 while reading waits for ClickHouse to take rows.', SHARD),
    sinkDown: gauge(
      'tally_sink_down',
      '1 from when ClickHouse refused rows or did not answer until it has acknowledged some again.',
      SHARD,
    ),
    identities: gauge('tally_identities', 'Ids that are known, so that a resend of theirs counts nothing.', SHARD),
    identityBytes: gauge('tally_identity_memory_bytes', 'Memory that they take.', SHARD),
    openWindows: gauge('tally_windows_open', 'Windows that are not final yet.', SHARD),
    windowRows: gauge('tally_window_rows', 'Rows of windows in memory.', SHARD),
    stateBytes: gauge('tally_state_bytes', 'Bytes of the state on disk.', ['job']),
    offset: gauge('tally_offset', 'Offset of the next record to read.', PARTITION),
    lagRecords: gauge('tally_lag_records', 'Records in the log that are not read yet.', PARTITION),
    lagSeconds: gauge(
      'tally_lag_seconds',
      'Age of the last record that was read, by its record time, while there are more; else 0.',
      PARTITION,
    ),
  };
}
