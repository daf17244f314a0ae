/** A log as the oracle reads it, from segment files or from Kafka: partitions, batch by batch, below an offset. */
import type { LoggedBatch } from './record-batch.ts';

/** Offsets [from, to). */
export type Range = readonly [from: number, to: number];

export interface LoggedLog {
  has(topic: string, partition: number): Promise<boolean>;
  /** Batches in order, those that hold an offset below `before`. What was `skipped` may be missing; whatever else is, is an error. */
  read(topic: string, partition: number, skipped: readonly Range[], before: number): AsyncIterable<LoggedBatch> | Iterable<LoggedBatch>;
  close(): Promise<void>;
}

/** The first offset at or after this one that was not skipped. */
export function past(skipped: readonly Range[], offset: number): number {
  const inside = skipped.find(([from, to]) => from <= offset && offset < to);
  return inside === undefined ? offset : past(skipped, inside[1]);
}
