/** What a run tells whoever watches it, in this order. Nothing that a watcher does changes the run. */
import type { ShardStatus } from './messages.ts';

export interface RunObserver {
  /** The job is loaded and the data directory is ours; its state lies in `stateDir`. */
  begins(job: string, stateDir: string): void;
  /** Every shard's state is open. */
  opened(shards: readonly ShardStatus[]): void;
  /** The tables belong to the state: counting begins. */
  fits(): void;
  /** Some of the shards have said something new of themselves; the others are as they were, the same objects. */
  status(shards: readonly ShardStatus[]): void;
  /** These shards have come to their end. */
  ended(shards: readonly ShardStatus[]): void;
  /** These stand still, for nothing of their state is to be had: all that do, each time that it changes. */
  lost(shards: readonly number[]): void;
  stops(): void;
}
