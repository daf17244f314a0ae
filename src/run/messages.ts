/** What supervisor and workers tell each other. Plain data only: it crosses a thread. */
import type { WindowName } from '../clickhouse/epochs.ts';
import type { Rejection } from '../../topology/batch.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { HopIntakeOptions } from '../../topology/hop/intake.ts';
import type { HopStep, ParcelColumns, Piece } from '../../topology/parcel.ts';
import type { Plan } from '../../topology/plan.ts';
import type { ReadTo } from '../../topology/shard.ts';
import type { Rebuild } from './rebuild.ts';
import type { Beginning, KafkaSettings, Passed, SourceOrder, Start } from './source.ts';
import type { DurationsSoFar } from '../telemetry/durations.ts';

export interface ClickHouseEndpoint {
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
}
/** When a shard commits, and what may wait in memory and on disk; bytes are shared by the shards of a process. */
export interface LoopBounds {
  /** While behind, a commit is due after this time even when few records came. */
  readonly commitMs: number;
  /** Caught up: what came in is committed and sent this soon. */
  readonly caughtUpMs: number;
  /** While behind, readers of the tables may wait this long for open windows' rows. */
  readonly provisionalMs: number;
  /** What waits in memory for a commit: quarantined records; late-touched windows. */
  readonly quarantineBytesMax: number;
  readonly touchedBytesMax: number;
  /** Unsent bytes at which the source is paused; it goes on at half of it. */
  readonly outboxBytesMax: number;
  /** An orderly stop waits this long for ClickHouse; what is unsent then is sent by the next run. */
  readonly stopDrainMs: number;
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
  /** A directory, or kafka://... */
  readonly log: string;
  readonly kafka: KafkaSettings;
  readonly from: Beginning;
  readonly topics: Readonly<Record<string, number>>;
  readonly hop: HopOrder | null;
  readonly untilEnd: boolean;
  readonly finish: boolean;
  readonly commitEvents: number;
  readonly bounds: LoopBounds;
  /** How many shards of this process share the bounds. */
  readonly sharers: number;
  /** Other processes write to the same tables: a state may come from another data directory, and inserts are fenced. */
  readonly isShared: boolean;
  readonly snapshots: SnapshotOrder | null;
  /** By shard: the state is lost, and is made anew from here. */
  readonly rebuilds: ReadonlyMap<number, Rebuild>;
}
export interface SnapshotOrder {
  readonly dir: string;
  readonly everyMs: number;
  /** Whoever has the shard next goes on from there. */
  readonly atEnd: boolean;
}
/** Under which epoch a shard's rows are written, and what that begins with. */
export interface Owned {
  readonly epoch: number;
  /** It was another owner's, or was claimed anew. */
  readonly takesOver: boolean;
  /** Nothing of an owner before can be in the tables any more. */
  readonly isSettled: boolean;
  /** Windows that the tables have lost rows of. */
  readonly windows: readonly WindowName[];
  /** Its state was lost, and it is counted again from here. */
  readonly rebuild?: Rebuild | undefined;
}
/** Records come over internal topics. */
export interface HopOrder {
  /** In the order of plan.sources. */
  readonly topics: readonly string[];
  /** Where each source's partitions end, in the same order, when the run is to end there. */
  readonly ends: readonly (readonly number[])[] | null;
}
export interface PartitionStatus {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly end: number;
  readonly high: number;
  /** Record time of the last record read by this run; -1 before the first. */
  readonly recordTime: number;
  /** The page of the books, in the order of topology/books.ts LINES. */
  readonly page: readonly number[];
}
export interface ShardStatus {
  readonly shard: number;
  readonly fresh: boolean;
  /** The data directory that the state belongs to. */
  readonly owner: string;
  readonly version: number;
  /** The epoch that the tables are clean for; 0: not known. */
  readonly settled: number;
  /** When the newest snapshot was taken; 0: none by this run. */
  readonly snapshotAt: number;
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
  /** ClickHouse refused or did not answer, and has acknowledged nothing since. */
  readonly sinkTrouble: boolean;
  /** Of this run. */
  readonly commits: DurationsSoFar;
  readonly visible: DurationsSoFar;
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
  /** `owned`: by shard, where other processes write too. */
  | { readonly kind: 'go'; readonly clickhouse: ClickHouseEndpoint; readonly owned: ReadonlyMap<number, Owned> }
  /** The tables have lost rows of these windows, for the last time: nothing of an owner before can come in any more. */
  | { readonly kind: 'settled'; readonly shard: number; readonly windows: readonly WindowName[] }
  | { readonly kind: 'endpoint'; readonly clickhouse: ClickHouseEndpoint }
  /** All shards have read everything: windows up to here become final in each of them. */
  | { readonly kind: 'finish'; readonly at: number }
  | { readonly kind: 'stop' };
export type FromWorker =
  | { readonly kind: 'opened'; readonly shards: readonly ShardStatus[] }
  | { readonly kind: 'status'; readonly shards: readonly ShardStatus[] }
  | { readonly kind: 'trouble'; readonly sentence: string }
  /** For the record: the log had a gap, and counting went on behind it. */
  | { readonly kind: 'passed'; readonly shard: number; readonly passed: Passed }
  /** With --finish: this worker's shards have read everything; the end of the last window of them. */
  | { readonly kind: 'read'; readonly lastEnd: number }
  | { readonly kind: 'ended'; readonly shards: readonly ShardStatus[] }
  | ({ readonly kind: 'failed' } & Told);

export interface ReaderOrder extends SourceOrder {
  readonly plan: Plan;
  readonly contracts: readonly Contract[];
  readonly hashKey: readonly [number, number];
  readonly shards: number;
  /** When the places are those of a hop. */
  readonly hop: ReaderHop | null;
}
export interface ReaderHop {
  readonly stamp: HopIntakeOptions['stamp'];
  /** The sources' partitions, in the position's order; and where each of them ends, for a run that ends there. */
  readonly sources: HopIntakeOptions['sources'];
  readonly times: SharedArrayBuffer;
  readonly ends: readonly number[] | null;
}
export type ToReader =
  /** The parcel of this number has been taken and may be filled again. */
  | { readonly kind: 'free'; readonly parcel: number }
  /** Where the state stands from now on. */
  | { readonly kind: 'committed'; readonly readTo: readonly ReadTo[] }
  | { readonly kind: 'stop' };
export type FromReader =
  /** Once, at first. */
  | { readonly kind: 'opened'; readonly starts: readonly Start[] }
  /** By partition: where the log ends. */
  | { readonly kind: 'ends'; readonly ends: readonly number[] }
  /** Records are gone, and reading goes on behind them, as was asked for. */
  | { readonly kind: 'passed'; readonly passed: Passed }
  | { readonly kind: 'trouble'; readonly sentence: string }
  | {
      readonly kind: 'parcel';
      readonly parcel: number;
      readonly records: number;
      readonly events: number;
      readonly pieces: readonly Piece[];
      readonly hops: readonly HopStep[];
      readonly rejected: readonly Rejection[];
      /** Where the parcel stands, when that is new or has changed: views of shared memory. */
      readonly columns: ParcelColumns | null;
      /** By partition: when this parcel was sent, nothing more stood in the log. */
      readonly caughtUp: readonly boolean[];
    }
  /** At this time every partition was read to its end. `isEnd`: and nothing more will be read. */
  | { readonly kind: 'idle'; readonly atMs: number; readonly isEnd: boolean }
  | ({ readonly kind: 'failed' } & Told);
