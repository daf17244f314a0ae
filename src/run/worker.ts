/**
 * A worker thread: owns whole shards, each with its own state, source and drain. It opens them and reports what it found, waits for
 * the supervisor to say that the tables fit, then runs them until the end or a stop. A fault of one shard ends the run.
 */
import { mkdirSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { openRocks } from '../../state/rocksdb.ts';
import type { Store } from '../../state/store.ts';
import { POSITION_KEY } from '../../topology/position.ts';
import { Shard } from '../../topology/shard.ts';
import { OutboxDrain } from '../clickhouse/drain.ts';
import { Sink } from '../clickhouse/sink.ts';
import { told } from './faults.ts';
import { Inlet } from './inlet.ts';
import type { ClickHouseEndpoint, FromWorker, ShardStatus, ToWorker, WorkerOrder } from './messages.ts';
import { shardDir } from './places.ts';
import { ShardLoop } from './shard-loop.ts';
import { checkMeta, readMeta, writeMeta } from './shard-meta.ts';
import { shardStatus } from './shard-status.ts';

const STATUS_MS = 500;

/** The shards of a run become final together: each says when it has read everything, and waits for the last. */
const finish = Promise.withResolvers<number>();
let readToEnd = 0,
  lastEnd = -1;

const order = workerData as WorkerOrder;
const port = parentPort!;
const say = (message: FromWorker): void => port.postMessage(message);

interface OpenShard {
  readonly index: number;
  readonly fresh: boolean;
  readonly store: Store;
  readonly shard: Shard;
  readonly inlet: Inlet;
  loop?: ShardLoop;
  drain?: OutboxDrain;
}

async function openShard(index: number): Promise<OpenShard> {
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
  if (!isNew) checkMeta(have, want, order.dataDir);
  const meta = isNew ? { ...want, hashKey: order.hashKey } : have;
  if (isNew) writeMeta(store, meta);
  const shard = new Shard({
    plan: order.plan,
    shard: index,
    shards: order.shards,
    generation: order.generation,
    instance: order.instance,
    hashKey: meta.hashKey,
    store,
    topics: slices(index),
  });
  const fresh = shard.position.committedAt === 0,
    inlet = openInlet(index, shard, meta.hashKey, fresh);
  try {
    for (const [place, start] of (await inlet.opened).entries()) shard.moveTo(place, start.offset, start.topicId);
  } catch (error) {
    await inlet.close();
    await store.close();
    throw error;
  }
  return { index, fresh, store, shard, inlet };
}

function openInlet(index: number, shard: Shard, hashKey: readonly [number, number], fresh: boolean): Inlet {
  const { plan, contracts, shards, log, kafka, untilEnd, from } = order,
    places = shard.position.partitions.map(({ source, topic, partition, offset, leaderEpoch, topicId, crc }) => ({
      source,
      topic,
      partition,
      offset,
      leaderEpoch,
      topicId,
      crc,
    }));
  return new Inlet(
    { plan, contracts, hashKey, shards, log, kafka, untilEnd, fenceMs: plan.fenceMs, from: fresh ? from : null, places },
    {
      trouble: (sentence) => say({ kind: 'trouble', sentence }),
      passed: (passed) => {
        shard.moveTo(passed.place, passed.offset, passed.topicId);
        say({ kind: 'passed', shard: index, passed });
      },
    },
  );
}

/** Of every topic that the job reads, the partitions p with p mod S = i. */
function slices(index: number): { source: number; topic: string; partitions: number[] }[] {
  return order.plan.sources.map(({ topic }, source) => ({
    source,
    topic,
    partitions: Array.from({ length: order.topics[topic]! }, (_, p) => p).filter((p) => p % order.shards === index),
  }));
}

function start(open: OpenShard, endpoint: ClickHouseEndpoint): Promise<void> {
  const { shard, store, inlet } = open,
    { untilEnd } = order;
  const onTrouble = (sentence: string): void => {
    if (open.loop !== undefined) open.loop.sinkTrouble = true;
    say({ kind: 'trouble', sentence });
  };
  const sink = new Sink(endpoint);
  open.drain = new OutboxDrain({ sink, store, onTrouble });
  open.loop = new ShardLoop({
    shard,
    inlet,
    drain: open.drain,
    untilEnd,
    finish: order.finish,
    commitEvents: order.commitEvents,
    bounds: order.bounds,
    sharers: order.sharers,
    agree,
  });
  return open.loop.run();
}

function agree(end: number): Promise<number> {
  lastEnd = Math.max(lastEnd, end);
  if (++readToEnd === order.owned.length) say({ kind: 'read', lastEnd });
  return finish.promise;
}

async function main(): Promise<void> {
  const opened: OpenShard[] = [];
  const status = (): ShardStatus[] => opened.map((o) => shardStatus(o));
  let isStopped = false;
  const go = new Promise<ClickHouseEndpoint | undefined>((resolve) => {
    port.on('message', (message: ToWorker) => {
      if (message.kind === 'go') resolve(message.clickhouse);
      if (message.kind === 'endpoint') for (const o of opened) o.drain?.reconnect(message.clickhouse);
      if (message.kind === 'finish') finish.resolve(message.at);
      if (message.kind === 'stop') {
        isStopped = true;
        resolve(undefined);
        for (const o of opened) o.loop?.stop();
      }
    });
  });
  for (const index of order.owned) opened.push(await openShard(index));
  say({ kind: 'opened', shards: status() });
  const endpoint = await go;
  const timer = setInterval(() => say({ kind: 'status', shards: status() }), STATUS_MS);
  if (endpoint !== undefined && !isStopped) await Promise.all(opened.map((o) => start(o, endpoint)));
  clearInterval(timer);
  const ended = status();
  for (const o of opened) {
    await o.inlet.close();
    await o.store.close();
  }
  say({ kind: 'ended', shards: ended });
  port.close();
}

main().catch((cause: unknown) => {
  say({ kind: 'failed', ...told(cause) });
  setTimeout(() => process.exit(1), 100);
});
