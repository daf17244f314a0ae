/** The log that a reader thread reads, wherever it is: its partitions in step, where they begin, and when to look again. */
import type { ReadTo } from '../../topology/shard.ts';
import type { Security } from '../kafka/security.ts';
import type { GapKind } from '../kafka/faults.ts';
import type { InStep } from '../log/in-step.ts';

/** A time is in epoch milliseconds. */
export type Beginning = 'earliest' | 'latest' | number;

/** How a log on Kafka is read. Plain data: it crosses a thread. */
export interface KafkaSettings {
  readonly security: Security;
  /** Offsets are told to this group, for lag tools alone; null: to nobody. */
  readonly group: string | null;
  /** While one partition gives nothing, the others read on this far. */
  readonly maxSkewMs: number;
  /** Records that the log does not hold any more: stop, or go on behind them, on the record. */
  readonly onGap: 'stop' | 'record';
  /** Read also topics that let producers write further into the future than the job's fence. */
  readonly allowFutureTimes: boolean;
  readonly bufferBytes: number;
}
export interface Place {
  readonly source: number;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly topicId: string;
  readonly crc: number;
}
export interface SourceOrder {
  /** A directory, or kafka://... */
  readonly log: string;
  readonly kafka: KafkaSettings;
  readonly untilEnd: boolean;
  /** By place, taken instead of the log's ends now. */
  readonly ends?: readonly number[];
  readonly fenceMs: number;
  /** The shard's partitions, in the position's order. */
  readonly places: readonly Place[];
  /** Where to begin when nothing was counted yet; null: something was, and the places say. */
  readonly from: Beginning | null;
}
/** Where a partition begins. */
export interface Start {
  readonly offset: number;
  readonly topicId: string;
}
/** What the log does not hold any more, and where it goes on. */
export interface Passed extends Start {
  readonly place: number;
  readonly sentence: string;
  readonly gap: GapKind;
  /** Offsets [from, to) that cannot be had; null: not known. */
  readonly from: number | null;
  readonly to: number | null;
}
export interface Source {
  readonly step: InStep;
  readonly starts: readonly Start[];
  /** Where each partition ends now, as far as it is known. */
  ends(): number[];
  /** Something may have come, or that time is over. */
  news(waitMs: number): Promise<void>;
  /** Goes on behind a gap if that was asked for; undefined: this error is none, or it must stop the run. */
  pass(error: unknown): Passed | undefined;
  /** What our own state holds from now on. */
  committed(readTo: readonly ReadTo[]): void;
  close(): Promise<void>;
}
