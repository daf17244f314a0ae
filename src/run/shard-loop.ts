/**
 * Feeds one shard: takes parcel after parcel, commits by events, bytes or time, and lets the drain write to ClickHouse meanwhile.
 * Asynchrony lives here, at the parcels' edges, and nowhere below.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Shard, Written } from '../../topology/shard.ts';
import { nowMs, monotonicMs } from '../clock.ts';
import type { OutboxDrain } from '../clickhouse/drain.ts';
import { Durations } from '../telemetry/durations.ts';
import { Freshness } from './freshness.ts';
import type { Inlet } from './inlet.ts';
import type { LoopBounds } from './messages.ts';

/** Who has been at the log's end within this time keeps up with it, though there is always something to read. */
const KEEPS_UP_MS = 1_000;
/** Without a parcel the loop looks this often at what else is due. */
const IDLE_MS = 25;
/** The clock moves the watermark of an idle source in steps, so that a log without news costs a commit now and then, not five a second. */
const CLOCK_STEP_MS = 10_000;

export interface LoopOptions {
  readonly shard: Shard;
  readonly inlet: Inlet;
  readonly drain: OutboxDrain;
  readonly untilEnd: boolean;
  readonly finish: boolean;
  readonly commitEvents: number;
  readonly bounds: LoopBounds;
  /** How many share the bounds on bytes with this one, itself counted. */
  readonly sharers: number;
  /** With `finish`: waits until all shards have read everything; given the end of this one's last window, the last of them all. */
  readonly agree: (lastEnd: number) => Promise<number>;
  /** When nothing of an owner before can be in the tables any more; null: nothing can be. */
  readonly settled: Promise<void> | null;
}

export class ShardLoop {
  private readonly o: LoopOptions;
  private stopping = false;
  private readonly stopped = Promise.withResolvers<null>();
  private lastCommit = monotonicMs();
  private lastProvisional = monotonicMs();
  paused = false;
  /** ClickHouse is in trouble: set by whoever hears of it, over with the next acknowledgement. */
  sinkTrouble = false;
  readonly commits: Durations = new Durations();
  readonly freshness: Freshness;
  private readonly outboxBytesMax: number;

  constructor(o: LoopOptions) {
    this.o = o;
    this.outboxBytesMax = o.bounds.outboxBytesMax / o.sharers;
    this.freshness = new Freshness(o.shard.position.partitions.length);
  }

  stop(): void {
    this.stopping = true;
    this.stopped.resolve(null);
  }

  /** Until the end that the log had at the start, or until it is told to stop. */
  async run(): Promise<void> {
    const { inlet, shard } = this.o;
    while (!this.stopping && !inlet.isAtEnd) {
      await this.waitForSink();
      const parcel = await inlet.next(IDLE_MS);
      if (parcel !== undefined) {
        shard.take(parcel);
        this.freshness.took(parcel);
        inlet.free(parcel);
      }
      this.freshness.acknowledged(this.o.drain.shown, nowMs());
      if (this.commitDue()) this.commit(this.keepsUp(), false);
    }
    await this.end();
  }

  private keepsUp(): boolean {
    const { inlet } = this.o;
    return inlet.isIdle || monotonicMs() - inlet.idleHeardAt < KEEPS_UP_MS;
  }

  private commitDue(): boolean {
    const { shard, drain, commitEvents, sharers, bounds } = this.o,
      { quarantine, windows } = shard.pendingBytes,
      since = monotonicMs() - this.lastCommit;
    if (shard.pendingRecords >= commitEvents) return true;
    if (quarantine >= bounds.quarantineBytesMax / sharers || windows >= bounds.touchedBytesMax / sharers) return true;
    // While the last one's rows are on their way, those of now would only queue: later they tell of more.
    return since >= (this.keepsUp() && drain.isFree ? bounds.caughtUpMs : bounds.commitMs);
  }

  private commit(caughtUp: boolean, atEnd: boolean, finishAt: number | null = null): void {
    const { shard, inlet, drain, untilEnd } = this.o,
      now = monotonicMs();
    this.lastCommit = now;
    const isDue = caughtUp || now - this.lastProvisional >= this.o.bounds.provisionalMs;
    // Rows of open windows are written again and again: while the sink is busy with the last of them, the next can wait.
    const provisional = atEnd || (isDue && drain.pendingBytes < this.outboxBytesMax / 4);
    const order = {
      nowMs: nowMs(),
      provisional,
      caughtUp: inlet.caughtUp,
      clockMs: untilEnd ? null : Math.floor(inlet.idleAtMs / CLOCK_STEP_MS) * CLOCK_STEP_MS,
      finishAt,
      acknowledged: drain.takeAcknowledged(),
    };
    if (order.acknowledged.version > 0) this.sinkTrouble = false;
    if (!shard.needsCommit(order)) return;
    if (provisional) this.lastProvisional = now;
    const written: Written[] = shard.commit(order);
    this.commits.add((monotonicMs() - now) / 1000);
    if (provisional) this.freshness.committed(shard.position.version);
    drain.push(written);
    inlet.committed(shard.readTo());
  }

  private async waitForSink(): Promise<void> {
    const { drain } = this.o;
    if (drain.pendingBytes < this.outboxBytesMax) return;
    this.paused = true;
    while (!this.stopping && drain.pendingBytes > this.outboxBytesMax / 2) {
      drain.check();
      await sleep(IDLE_MS);
    }
    this.paused = false;
  }

  /** The last commit, what is unsent to ClickHouse, and the acknowledgement of that into the state. */
  private async end(): Promise<void> {
    const { drain, shard, inlet } = this.o;
    let finishAt: number | null = null;
    if (this.o.settled !== null && !this.stopping) {
      this.commit(true, false);
      await Promise.race([this.o.settled, this.stopped.promise]);
    }
    if (this.o.finish && !this.stopping) {
      // The others may take a while yet; what this one has read is safe and shown meanwhile.
      finishAt = await Promise.race([this.o.agree(shard.lastEnd()), this.stopped.promise]);
    }
    this.commit(false, true, finishAt);
    await inlet.close();
    if (this.stopping) await Promise.race([drain.drained(), sleep(this.o.bounds.stopDrainMs, undefined, { ref: false })]);
    else await drain.drained();
    await drain.stop();
    const acknowledged = drain.takeAcknowledged();
    if (acknowledged.keys.length > 0) shard.acknowledge(acknowledged);
  }
}
