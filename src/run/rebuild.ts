/**
 * A shard that is counted again from what the log still holds, because its state is lost. In goes what the tables say of the owner before;
 * out come where each partition is read from, and the instant before which windows are left as they are: no record that is gone can hold
 * an event of a window that begins at or after it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Plan } from '../../topology/plan.ts';
import { ZoneClock } from '../../topology/window/zones.ts';
import type { Claim } from '../clickhouse/epochs.ts';
import { nowMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { truncated } from '../log/faults.ts';
import type { PartitionReader } from '../log/port.ts';
import { openLog } from '../log/segments.ts';
import type { KafkaSettings } from './source.ts';

/** A straggler with an old time of its own may stand first: the highest time of so many records counts. */
const LOOK_RECORDS = 1000;
/** Days of two zones that do not begin together within this time never do, or not for months. */
const SEARCH_MS = 4 * 86_400_000;
const POLL_MS = 20;

/** What the tables say of a partition: its next offset, and what was never read. */
export type Told = readonly [topic: string, partition: number, offset: number, skipped?: readonly (readonly [number, number])[]];
/** What is known of a shard whose state is lost. */
export interface Lost {
  readonly told: readonly Told[];
  readonly claims: readonly Claim[];
}
export type Rebuild = Pick<Claim, 'frozenTo' | 'starts'>;
export interface RebuildFrom {
  readonly plan: Plan;
  readonly shards: number;
  readonly log: string;
  readonly kafka: KafkaSettings;
}

export async function planRebuild({ plan, shards, log, kafka }: RebuildFrom, { told, claims }: Lost): Promise<Rebuild> {
  if (plan.repartition !== undefined && shards > 1)
    throw refused(plan, 'the job is repartitioned, and the topics between do not say from where on they hold all of a shard');
  const held = isKafkaUrl(log) ? await openKafka(log, told, kafka) : openFiles(log),
    starts: Claim['starts'][number][] = [];
  // What was frozen once stays so.
  let frozenTo = Math.max(0, ...claims.map((c) => c.frozenTo)),
    newest = -1;
  try {
    for (const [topic, partition, offset, skipped = []] of told) {
      const { start, end } = await held.bounds(topic, partition);
      if (offset > end) throw truncated(topic, partition, offset, end);
      const first = skipped.find(([from]) => from === 0)?.[1] ?? 0;
      starts.push([topic, partition, Math.max(first, start)]);
      if (start > first) newest = Math.max(newest, await timeAt(held, topic, partition, start, plan));
    }
  } finally {
    await held.close();
  }
  if (newest >= 0) frozenTo = Math.max(frozenTo, firstStart(plan, newest + plan.fenceMs + plan.outOfOrderMs));
  return { frozenTo, starts };
}

interface Held {
  /** The first offset, and the one after the last. */
  bounds(topic: string, partition: number): Promise<{ start: number; end: number }>;
  /** Records before `readable` can be read now. */
  reader(topic: string, partition: number, start: number): Promise<{ reader: PartitionReader; readable: number }>;
  close(): Promise<void>;
}

function openFiles(dir: string): Held {
  const log = openLog(dir);
  return {
    bounds: async (topic, partition) => ({ start: log.startOffset(topic, partition), end: log.endOffset(topic, partition) }),
    reader: async (topic, partition, start) => ({
      reader: log.reader(topic, partition, start),
      readable: log.endOffset(topic, partition),
    }),
    close: async () => log.close(),
  };
}

async function openKafka(url: string, told: readonly Told[], kafka: KafkaSettings): Promise<Held> {
  const log = await openKafkaLog(url, [...new Set(told.map(([topic]) => topic))], { ...kafka.security, bufferBytes: kafka.bufferBytes });
  return {
    bounds: async (topic, partition) => ({
      start: (await log.startOffsets(topic))[partition]!,
      end: (await log.highWatermarks(topic))[partition]!,
    }),
    reader: async (topic, partition, offset) => ({
      readable: (await log.endOffsets(topic))[partition]!,
      reader: log.reader({ topic, partition, offset }),
    }),
    close: () => log.close(),
  };
}

/** No record before `start` has a later time, as far as the job lets records be out of order. */
async function timeAt(held: Held, topic: string, partition: number, start: number, plan: Plan): Promise<number> {
  const { reader, readable } = await held.reader(topic, partition, start);
  let newest = -1;
  try {
    for (let records = 0; records < LOOK_RECORDS;) {
      const batch = reader.peek();
      if (batch !== undefined) {
        newest = Math.max(newest, batch.maxTimestamp);
        records += batch.lastOffset - Math.max(start, batch.baseOffset) + 1;
        reader.advance();
      } else if (reader.far === undefined || reader.far.position >= readable) break;
      else await sleep(POLL_MS);
    }
  } finally {
    reader.close();
  }
  // Nothing is left to tell: what is gone may be as late as anything that a producer could write by now.
  return newest >= 0 ? newest : nowMs() + plan.fenceMs;
}

/** The first instant from `t` on at which a window of every table begins. */
export function firstStart(plan: Plan, t: number): number {
  const windows = plan.tables.map(({ zone, size }) => ({ clock: new ZoneClock(zone), size })),
    last = t + SEARCH_MS;
  for (let at = t; at <= last;) {
    let next = at;
    for (const { clock, size } of windows) {
      const { start, end } = clock.windowOf(next, size);
      if (start < next) next = end;
    }
    if (next === at) return at;
    at = next;
  }
  throw refused(plan, 'the windows of its tables never begin together (days of several zones)');
}

const refused = (plan: Plan, why: string): TallyError =>
  new TallyError(
    'E_REBUILD',
    `no windows of ${plan.job} can be left as they are while the others are counted again: ${why}`,
    `Bring back the data directory, or count anew from the log: tally drop ${plan.job} --data DIR --yes`,
  );
