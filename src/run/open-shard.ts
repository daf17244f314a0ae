/**
 * Opens one shard: its state, which must be that of this job, plan and place, and the reader of its partitions. A state that has counted
 * nothing is begun here.
 */
import { mkdirSync } from 'node:fs';
import { openRocks } from '../../state/rocksdb.ts';
import type { Store } from '../../state/store.ts';
import { POSITION_KEY } from '../../topology/position.ts';
import { Shard } from '../../topology/shard.ts';
import type { OutboxDrain } from '../clickhouse/drain.ts';
import type { Outlet } from '../hop/outlet.ts';
import { Inlet } from './inlet.ts';
import type { FromWorker, WorkerOrder } from './messages.ts';
import { shardDir } from './places.ts';
import type { ShardCopies } from './shard-copies.ts';
import { readerHop } from './shard-hop.ts';
import type { ShardLoop } from './shard-loop.ts';
import { checkMeta, readMeta, writeMeta } from './shard-meta.ts';
import type { ShardMeta } from './shard-meta.ts';

type Say = (message: FromWorker) => void;

export interface OpenShard {
  readonly index: number;
  readonly fresh: boolean;
  readonly meta: ShardMeta;
  readonly dir: string;
  owner: string;
  readonly store: Store;
  readonly shard: Shard;
  readonly inlet: Inlet;
  /** Over a hop: what is heard of the record times of each slice. */
  readonly times: SharedArrayBuffer;
  outlet?: Outlet | undefined;
  copies?: ShardCopies | undefined;
  readonly settled: PromiseWithResolvers<void>;
  loop?: ShardLoop;
  drain?: OutboxDrain;
}

export async function openShard(order: WorkerOrder, index: number, say: Say): Promise<OpenShard> {
  const dir = shardDir(order.dataDir, order.plan.job, order.generation, index, order.shards);
  mkdirSync(dir, { recursive: true });
  const store = await openRocks(dir);
  const want = {
    job: order.plan.job,
    plan: order.planDigest,
    generation: order.generation,
    shard: index,
    shards: order.shards,
    instance: order.instance,
    topics: order.topics,
  };
  const have = readMeta(store);
  // A first start that was killed before its first commit has counted nothing: whoever comes next may begin.
  const isNew = have === undefined || store.get(POSITION_KEY) === undefined;
  // A state that came from elsewhere becomes ours with the first commit under an epoch of our own.
  if (!isNew) checkMeta(have, order.isShared ? { ...want, instance: have.instance } : want, order.dataDir);
  const meta = isNew ? { ...want, hashKey: order.hashKey } : have;
  if (isNew) writeMeta(store, meta);
  const rebuild = isNew ? order.rebuilds.get(index) : undefined;
  const shard = new Shard({
    plan: order.plan,
    shard: index,
    shards: order.shards,
    generation: order.generation,
    instance: order.instance,
    hashKey: meta.hashKey,
    store,
    topics: slices(order, index),
    hops: order.hop === null ? [] : order.hop.topics.map((topic, source) => ({ source, topic, partition: index })),
    ...(rebuild && { frozenTo: rebuild.frozenTo }),
  });
  for (const [place, p] of shard.position.partitions.entries()) {
    const begins = rebuild?.starts.find(([topic, partition]) => topic === p.topic && partition === p.partition);
    if (begins !== undefined) shard.moveTo(place, begins[2], '');
  }
  const fresh = shard.position.committedAt === 0,
    times = new SharedArrayBuffer(8 * order.shards),
    inlet = openInlet(order, index, shard, say, { hashKey: meta.hashKey, fresh: fresh && rebuild === undefined, times });
  try {
    for (const [place, start] of (await inlet.opened).entries()) shard.moveTo(place, start.offset, start.topicId);
  } catch (error) {
    await inlet.close();
    await store.close();
    throw error;
  }
  return {
    index,
    fresh,
    meta,
    dir,
    owner: meta.instance,
    settled: Promise.withResolvers(),
    store,
    shard,
    inlet,
    times,
  };
}

interface ReadFrom {
  readonly hashKey: readonly [number, number];
  readonly fresh: boolean;
  readonly times: SharedArrayBuffer;
}

function openInlet(order: WorkerOrder, index: number, shard: Shard, say: Say, { hashKey, fresh, times }: ReadFrom): Inlet {
  const { plan, contracts, shards, log, kafka, untilEnd } = order,
    { partitions, hops } = shard.position,
    from = fresh ? order.from : null,
    hop = readerHop(order, partitions, fresh, times),
    places = (hop === null ? partitions : hops).map(({ source, topic, partition, offset, leaderEpoch, topicId, crc }) => ({
      source,
      topic,
      partition,
      offset,
      leaderEpoch,
      topicId,
      crc,
    }));
  return new Inlet(
    { plan, contracts, hashKey, shards, log, kafka, untilEnd, fenceMs: plan.fenceMs, from, places, hop },
    {
      trouble: (sentence) => say({ kind: 'trouble', sentence }),
      passed: (passed) => {
        shard.moveTo(passed.place, passed.offset, passed.topicId);
        say({ kind: 'passed', shard: index, passed });
      },
    },
  );
}

/** Of every topic that the job reads, the partitions p with p mod S = i; over a hop something of each. */
function slices(order: WorkerOrder, index: number): { source: number; topic: string; partitions: number[] }[] {
  return order.plan.sources.map(({ topic }, source) => ({
    source,
    topic,
    partitions: Array.from({ length: order.topics[topic]! }, (_, p) => p).filter((p) => order.hop !== null || p % order.shards === index),
  }));
}
