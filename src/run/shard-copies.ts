/** Copies of one shard's state to where snapshots are kept: the first soon after the start, then every so often, and at the end when asked. */
import { rm } from 'node:fs/promises';
import { freeze } from '../../state/freeze.ts';
import type { Shard } from '../../topology/shard.ts';
import { nowMs } from '../clock.ts';
import type { ShardMeta } from './shard-meta.ts';
import { store } from './snapshots.ts';

/** The first one soon: until it is there, a lost disk is a lost state. */
const FIRST_MS = 2_000;

export interface CopyOptions {
  readonly shard: Shard;
  /** Of the shard's state. */
  readonly dir: string;
  readonly meta: ShardMeta;
  readonly instance: string;
  /** Where snapshots are kept. */
  readonly to: string;
  readonly everyMs: number;
  readonly onTrouble: (sentence: string) => void;
}

export class ShardCopies {
  /** When the last one began; 0: there is none of this run. */
  takenAt = 0;
  private readonly o: CopyOptions;
  private timer: NodeJS.Timeout | undefined;
  private isStopped = false;
  private copying: Promise<void> = Promise.resolve();

  constructor(o: CopyOptions) {
    this.o = o;
    this.next(Math.min(o.everyMs, FIRST_MS));
  }

  /** None is begun any more unless it is asked for. */
  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** One at a time: the one under way is waited for. */
  take(): Promise<void> {
    this.copying = this.copying
      .then(() => this.copy())
      .catch((error: Error) =>
        this.o.onTrouble(`shard ${this.o.meta.shard}: no snapshot was taken: ${error.message}; tried again in time`),
      );
    return this.copying;
  }

  private next(ms: number): void {
    this.timer = setTimeout(() => {
      void this.take().finally(() => {
        if (!this.isStopped) this.next(this.takenAt === 0 ? FIRST_MS : this.o.everyMs);
      });
    }, ms);
  }

  /** Begins between two commits: nothing here waits for anything else until the state is frozen. */
  private async copy(): Promise<void> {
    const { dir, shard, meta, instance, to } = this.o,
      { version, committedAt } = shard.position,
      frozen = `${dir}.frozen`,
      takenAt = nowMs();
    if (committedAt === 0) return;
    try {
      freeze(dir, frozen);
      const { job, plan, generation, shards } = meta;
      await store(to, frozen, { job, plan, generation, shard: meta.shard, shards, instance, version, takenAt });
      this.takenAt = takenAt;
    } finally {
      await rm(frozen, { recursive: true, force: true });
    }
  }
}
