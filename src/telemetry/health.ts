/**
 * Is the run alive, and is it ready? Alive: every worker has said something of itself lately. A sink that is down is no reason to be
 * killed: a new process would find it just as down. Ready: state open, tables fit, first status seen, no shard's state lost, no stop
 * asked for. By a monotonic clock, so that a clock that is set does not make workers look stuck.
 */
import type { ShardStatus } from '../run/messages.ts';
import type { RunObserver } from '../run/observer.ts';

export interface Verdict {
  readonly ok: boolean;
  readonly status: string;
  readonly [more: string]: unknown;
}
interface Heard {
  status: ShardStatus;
  atMs: number;
  hasEnded: boolean;
}

export class Health implements RunObserver {
  private readonly stuckAfterMs: number;
  private readonly nowMs: () => number;
  private readonly shards = new Map<number, Heard>();
  private lostShards: readonly number[] = [];
  private phase: 'starting' | 'opened' | 'fits' | 'running' | 'stopping' = 'starting';

  constructor(stuckAfterMs: number, nowMs: () => number) {
    this.stuckAfterMs = stuckAfterMs;
    this.nowMs = nowMs;
  }

  begins(): void {}

  opened(shards: readonly ShardStatus[]): void {
    this.reach('opened');
    this.hear(shards);
  }

  /** From here on workers speak at intervals; before, all of them had spoken once. */
  fits(): void {
    this.reach('fits');
    for (const heard of this.shards.values()) heard.atMs = this.nowMs();
  }

  status(shards: readonly ShardStatus[]): void {
    if (this.phase === 'fits') this.reach('running');
    this.hear(shards);
  }

  ended(shards: readonly ShardStatus[]): void {
    this.hear(shards);
    for (const { shard } of shards) this.shards.get(shard)!.hasEnded = true;
  }

  lost(shards: readonly number[]): void {
    this.lostShards = shards;
  }

  stops(): void {
    this.phase = 'stopping';
  }

  alive(): Verdict {
    const isWatched = this.phase === 'fits' || this.phase === 'running' || this.phase === 'stopping';
    const silent = [...this.shards].filter(([, heard]) => isWatched && !heard.hasEnded && this.nowMs() - heard.atMs > this.stuckAfterMs);
    const sinkDown = [...this.shards].filter(([, heard]) => heard.status.sinkTrouble).map(([shard]) => shard);
    return {
      ok: silent.length === 0,
      status: silent.length === 0 ? 'alive' : 'stuck',
      silent_shards: silent.map(([shard, heard]) => ({ shard, seconds: Math.round((this.nowMs() - heard.atMs) / 1000) })),
      clickhouse_down_for_shards: sinkDown,
    };
  }

  ready(): Verdict {
    const why = {
      starting: 'state is being opened',
      opened: 'tables are being fitted',
      fits: 'no status yet',
      running: 'the state of shards is lost',
      stopping: 'stopping',
    };
    const ok = this.phase === 'running' && this.lostShards.length === 0;
    if (ok) return { ok, status: 'ready' };
    return { ok, status: 'not ready', why: why[this.phase], lost_shards: this.lostShards };
  }

  /** A stop that came early is not taken back. */
  private reach(phase: typeof this.phase): void {
    if (this.phase !== 'stopping') this.phase = phase;
  }

  private hear(shards: readonly ShardStatus[]): void {
    for (const status of shards) {
      const heard = this.shards.get(status.shard);
      if (heard?.status === status) continue;
      this.shards.set(status.shard, { status, atMs: this.nowMs(), hasEnded: false });
    }
  }
}
