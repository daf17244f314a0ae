/**
 * Where a shard stands: for each partition the next offset, the highest event time it has given, and its page of the books;
 * for the shard the watermark, the highest accepted time and the version of the last commit. One small value that changes
 * in the same batch as everything it speaks of.
 *
 * Over a hop a partition's offset is that of the next source record that has not been read, through whatever partition of the hop it comes.
 *
 *   key 'P'  ->  JSON, format 2; `hops` is missing where there is no hop
 */
import { LINES, newPage } from './books.ts';
import type { Page } from './books.ts';
import { EPOCH } from '../state/outbox.ts';

export interface PartitionPosition {
  readonly source: number;
  readonly topic: string;
  readonly partition: number;
  /** Offset of the next record to read. */
  offset: number;
  /** Of the batch before it, and which topic of that name it is: a log that was cut, or made anew, is found by them. -1 and '': not known. */
  leaderEpoch: number;
  topicId: string;
  /** Checksum of the batch before it, by which a log on disk shows that it is the one that was read; -1: not known. */
  crc: number;
  /** Offsets [from, to) that were never read: before the first start, or gone before their turn. */
  readonly skipped: (readonly [number, number])[];
  /** Highest accepted event_time; -1 before the first. */
  high: number;
  /** Over a hop: `high` holds for everything below this offset, whatever shard it went to. */
  heard?: number;
  readonly page: Page;
}
/** A partition of an internal topic, and how far it was read. */
export interface HopPosition {
  readonly source: number;
  readonly topic: string;
  readonly partition: number;
  offset: number;
  leaderEpoch: number;
  topicId: string;
  crc: number;
}
export interface Position {
  version: number;
  /** Version up to which ClickHouse has acknowledged everything. */
  acknowledged: number;
  maxTime: number;
  /** -1 before anything is known. */
  watermark: number;
  committedAt: number;
  /** Every row of open windows was written with this commit or before: the live tables stand where the offsets do. */
  isWhole: boolean;
  /** The epoch for which the tables have nothing any more of what an owner before wrote too much; 0: not known. */
  settled: number;
  /** Events before it are expired: their windows stand as an owner before has written them, for the log does not hold all of them any more. 0: none. */
  readonly frozenTo: number;
  readonly partitions: PartitionPosition[];
  /** Where the records of `partitions` are read from, when not from there. */
  readonly hops: HopPosition[];
}
export interface HopPlace {
  readonly source: number;
  readonly topic: string;
  readonly partition: number;
}

export const POSITION_KEY: Uint8Array = Buffer.from('P');
export const POSITION_FORMAT = 2;
/** The epoch of a state that was never taken over is 1. */
export const FIRST_VERSION = EPOCH;

/** Windows that are frozen are final. */
export function freshPosition(
  topics: readonly { source: number; topic: string; partitions: readonly number[] }[],
  hops: readonly HopPlace[] = [],
  frozenTo = 0,
): Position {
  return {
    version: FIRST_VERSION,
    acknowledged: 0,
    maxTime: -1,
    watermark: frozenTo === 0 ? -1 : frozenTo,
    committedAt: 0,
    isWhole: true,
    settled: 0,
    frozenTo,
    partitions: topics.flatMap(({ source, topic, partitions }) =>
      partitions.map((partition) => ({
        source,
        topic,
        partition,
        offset: 0,
        leaderEpoch: -1,
        topicId: '',
        crc: -1,
        skipped: [],
        high: -1,
        page: newPage(),
      })),
    ),
    hops: hops.map((hop) => ({ ...hop, offset: 0, leaderEpoch: -1, topicId: '', crc: -1 })),
  };
}

export function encodePosition(p: Position): Uint8Array {
  const partitions = p.partitions.map((x) => ({ ...x, page: [...x.page] })),
    hops = p.hops.length === 0 ? undefined : p.hops;
  return Buffer.from(JSON.stringify({ format: POSITION_FORMAT, ...p, partitions, hops }));
}

export function decodePosition(value: Uint8Array): Position {
  const p = JSON.parse(Buffer.from(value).toString()) as Position & { format: number };
  if (p.format !== POSITION_FORMAT) throw new Error(`position format ${p.format} is not known`);
  return {
    version: p.version,
    acknowledged: p.acknowledged,
    maxTime: p.maxTime,
    watermark: p.watermark,
    committedAt: p.committedAt,
    isWhole: p.isWhole,
    settled: p.settled ?? 0,
    frozenTo: p.frozenTo ?? 0,
    partitions: p.partitions.map((x) => {
      const page = newPage();
      page.set((x.page as unknown as number[]).slice(0, LINES.length));
      return { ...x, page };
    }),
    hops: p.hops ?? [],
  };
}

export interface Finality {
  /** By partition, in the position's order: read to its end, so that it holds no other back. */
  readonly caughtUp: readonly boolean[];
  /** The source's clock, once a live source has been read to its end; else null. */
  readonly clockMs: number | null;
  /** When the input is said to be complete: the last end of an open window over all shards (`lastEnd` of each), for windows are final when every shard is past them; else null. */
  readonly finishAt: number | null;
}

/** The watermark after a commit: the least high over the partitions that are still being read, less the disorder; never back. */
export function nextWatermark(p: Position, outOfOrderMs: number, finality: Finality): number {
  let least = Infinity,
    highest = -1;
  for (const [i, x] of p.partitions.entries()) {
    highest = Math.max(highest, x.high);
    if (!finality.caughtUp[i]) least = Math.min(least, x.high);
  }
  const behind = least !== Infinity;
  let next = p.watermark;
  const base = behind ? least : highest;
  if (base >= 0) next = Math.max(next, base - outOfOrderMs);
  if (!behind && finality.clockMs !== null) next = Math.max(next, finality.clockMs - outOfOrderMs);
  if (finality.finishAt !== null) next = Math.max(next, finality.finishAt);
  return next;
}
