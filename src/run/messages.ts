/** What supervisor and workers tell each other. Plain data only: it crosses a thread. */
import type { Rejection } from '../../topology/batch.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { ParcelColumns, Piece } from '../../topology/parcel.ts';
import type { Plan } from '../../topology/plan.ts';

export interface ClickHouseEndpoint {
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
}
export interface WorkerOrder {
  readonly plan: Plan;
  readonly planDigest: string;
  readonly contracts: readonly Contract[];
  readonly generation: number;
  readonly instance: string;
  /** Used when a shard's state is new: keys the hash of ids and keys. */
  readonly hashKey: readonly [number, number];
  /** The shards that this worker owns, of how many. */
  readonly owned: readonly number[];
  readonly shards: number;
  readonly dataDir: string;
  readonly logDir: string;
  readonly topics: Readonly<Record<string, number>>;
  readonly untilEnd: boolean;
  readonly finish: boolean;
  readonly commitEvents: number;
}
export interface PartitionStatus {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly end: number;
  readonly high: number;
  /** The page of the books, in the order of topology/books.ts LINES. */
  readonly page: readonly number[];
}
export interface ShardStatus {
  readonly shard: number;
  readonly fresh: boolean;
  readonly version: number;
  readonly acknowledged: number;
  readonly watermark: number;
  readonly maxTime: number;
  readonly committedAt: number;
  readonly outboxRows: number;
  readonly outboxBytes: number;
  readonly identities: number;
  readonly identityBytes: number;
  readonly openWindows: number;
  readonly windowRows: number;
  readonly paused: boolean;
  readonly partitions: readonly PartitionStatus[];
}
/** An error on its way to another thread. */
export interface Told {
  readonly code: string;
  readonly sentence: string;
  readonly hint: string;
  readonly exit: number;
  readonly stack: string;
}
export type ToWorker =
  | { readonly kind: 'go'; readonly clickhouse: ClickHouseEndpoint }
  | { readonly kind: 'endpoint'; readonly clickhouse: ClickHouseEndpoint }
  /** All shards have read everything: windows up to here become final in each of them. */
  | { readonly kind: 'finish'; readonly at: number }
  | { readonly kind: 'stop' };
export type FromWorker =
  | { readonly kind: 'opened'; readonly shards: readonly ShardStatus[] }
  | { readonly kind: 'status'; readonly shards: readonly ShardStatus[] }
  | { readonly kind: 'trouble'; readonly sentence: string }
  /** With --finish: this worker's shards have read everything; the end of the last window of them. */
  | { readonly kind: 'read'; readonly lastEnd: number }
  | { readonly kind: 'ended'; readonly shards: readonly ShardStatus[] }
  | ({ readonly kind: 'failed' } & Told);

export interface ReaderOrder {
  readonly plan: Plan;
  readonly contracts: readonly Contract[];
  readonly hashKey: readonly [number, number];
  readonly shards: number;
  readonly logDir: string;
  readonly untilEnd: boolean;
  /** The shard's partitions, in the position's order, and where each is read from. */
  readonly places: readonly { readonly source: number; readonly topic: string; readonly partition: number; readonly offset: number }[];
}
export type ToReader =
  /** The parcel of this number has been taken and may be filled again. */
  { readonly kind: 'free'; readonly parcel: number } | { readonly kind: 'stop' };
export type FromReader =
  | {
      readonly kind: 'parcel';
      readonly parcel: number;
      readonly records: number;
      readonly events: number;
      readonly pieces: readonly Piece[];
      readonly rejected: readonly Rejection[];
      /** Where the parcel stands, when that is new or has changed: views of shared memory. */
      readonly columns: ParcelColumns | null;
      /** By partition: when this parcel was sent, nothing more stood in the log. */
      readonly caughtUp: readonly boolean[];
    }
  /** At this time every partition was read to its end. `isEnd`: and nothing more will be read. */
  | { readonly kind: 'idle'; readonly atMs: number; readonly isEnd: boolean }
  | ({ readonly kind: 'failed' } & Told);
