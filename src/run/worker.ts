/**
 * A worker thread: owns whole shards, each with its own state, source and drain. It opens them and reports what it found, waits for
 * the supervisor to say that the tables fit, then runs them until the end or a stop. A fault of one shard ends the run.
 */
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { freeze } from '../../state/freeze.ts';
import { openRocks } from '../../state/rocksdb.ts';
import type { Store } from '../../state/store.ts';
import { POSITION_KEY } from '../../topology/position.ts';
import { Shard } from '../../topology/shard.ts';
import { insertTarget, rowsLayout } from '../../topology/write/layout.ts';
import { OutboxDrain } from '../clickhouse/drain.ts';
import { fence } from '../clickhouse/epochs.ts';
import { Sink } from '../clickhouse/sink.ts';
import { nowMs } from '../clock.ts';
import type { Outlet, OutletTells } from '../hop/outlet.ts';
import { told } from './faults.ts';
import { Inlet } from './inlet.ts';
import type { ClickHouseEndpoint, FromWorker, Owned, ShardStatus, ToWorker, WorkerOrder } from './messages.ts';
import { shardDir } from './places.ts';
import { ShardLoop } from './shard-loop.ts';
import { checkMeta, readMeta, writeMeta } from './shard-meta.ts';
import type { ShardMeta } from './shard-meta.ts';
import { store as storeSnapshot } from './snapshots.ts';
import { openOutlet, readerHop, withOutlet } from './shard-hop.ts';
import { shardStatus } from './shard-status.ts';

const STATUS_MS = 500;
const FIRST_COPY_MS = 2_000;

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
  readonly meta: ShardMeta;
  readonly dir: string;
  owner: string;
  snapshotAt: number;
  readonly store: Store;
  readonly shard: Shard;
  readonly inlet: Inlet;
  /** The copy under way. */
  copying: Promise<void> | undefined;
  /** Over a hop: what is heard of the record times of each slice. */
  readonly times: SharedArrayBuffer;
  outlet?: Outlet | undefined;
  readonly settled: PromiseWithResolvers<void>;
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
    topics: slices(index),
    hops: order.hop === null ? [] : order.hop.topics.map((topic, source) => ({ source, topic, partition: index })),
    ...(rebuild && { frozenTo: rebuild.frozenTo }),
  });
  for (const [place, p] of shard.position.partitions.entries()) {
    const begins = rebuild?.starts.find(([topic, partition]) => topic === p.topic && partition === p.partition);
    if (begins !== undefined) shard.moveTo(place, begins[2], '');
  }
  const fresh = shard.position.committedAt === 0,
    times = new SharedArrayBuffer(8 * order.shards),
    inlet = openInlet(index, shard, { hashKey: meta.hashKey, fresh: fresh && rebuild === undefined, times });
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
    snapshotAt: 0,
    copying: undefined,
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

function openInlet(index: number, shard: Shard, { hashKey, fresh, times }: ReadFrom): Inlet {
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
function slices(index: number): { source: number; topic: string; partitions: number[] }[] {
  return order.plan.sources.map(({ topic }, source) => ({
    source,
    topic,
    partitions: Array.from({ length: order.topics[topic]! }, (_, p) => p).filter((p) => order.hop !== null || p % order.shards === index),
  }));
}

async function start(open: OpenShard, endpoint: ClickHouseEndpoint, owned: Owned | undefined): Promise<void> {
  const { shard, store, inlet, index } = open,
    { untilEnd, plan, generation } = order;
  if (owned !== undefined) begin(open, owned);
  const onTrouble = (sentence: string): void => {
    if (open.loop !== undefined) open.loop.sinkTrouble = true;
    say({ kind: 'trouble', sentence });
  };
  const sink = new Sink(endpoint, owned === undefined ? {} : { fence: fence({ job: plan.job, generation, shard: index }, owned.epoch) });
  const live = new Set(plan.tables.map((t) => insertTarget(rowsLayout(plan, t, generation))));
  open.drain = new OutboxDrain({ live, sink, store, onTrouble });
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
    settled: owned === undefined || owned.isSettled ? null : open.settled.promise,
  });
  const copying = order.snapshots === null ? undefined : copyNowAndThen(open, order.snapshots.everyMs);
  try {
    // Nothing is sent before all else has been found to fit.
    open.outlet = order.hop === null ? undefined : openOutlet(order, order.hop, index, shard.position.partitions, open.times, tells(index));
    await withOutlet(open.loop.run(), open.outlet, untilEnd);
    copying?.();
    if (order.snapshots?.atEnd === true) await snapshot(open);
  } finally {
    copying?.();
  }
}

/** The first one soon: until it is there, a lost disk is a lost state. */
function copyNowAndThen(open: OpenShard, everyMs: number): () => void {
  let timer: NodeJS.Timeout | undefined;
  const next = (ms: number): void => {
    timer = setTimeout(
      () => void snapshot(open).finally(() => timer !== undefined && next(open.snapshotAt === 0 ? FIRST_COPY_MS : everyMs)),
      ms,
    );
  };
  next(Math.min(everyMs, FIRST_COPY_MS));
  return () => {
    clearTimeout(timer);
    timer = undefined;
  };
}

const tells = (shard: number): OutletTells => ({
  trouble: (sentence) => say({ kind: 'trouble', sentence }),
  passed: (passed) => say({ kind: 'passed', shard, passed }),
});

/** The first commit under our own epoch says where the shard stands now, before anything is read. */
function begin(open: OpenShard, owned: Owned): void {
  const { shard, store, meta } = open;
  if (owned.takesOver) shard.takeOver(owned.epoch);
  shard.writeAgain(owned.windows, owned.isSettled && shard.position.settled !== owned.epoch);
  if (!owned.takesOver) return;
  const nothing = { keys: [], version: 0 },
    caughtUp = shard.position.partitions.map(() => false);
  shard.commit({ nowMs: nowMs(), provisional: true, caughtUp, clockMs: null, finishAt: null, acknowledged: nothing });
  writeMeta(store, { ...meta, instance: order.instance });
  open.owner = order.instance;
}

/** One at a time; what is asked for while one is under way comes after it. */
async function snapshot(open: OpenShard): Promise<void> {
  await open.copying;
  if (open.shard.position.committedAt === 0) return;
  open.copying = copy(open).catch((error: Error) => {
    say({ kind: 'trouble', sentence: `shard ${open.index}: no snapshot was taken: ${error.message}; tried again in time` });
  });
  await open.copying;
}

/** Begins between two commits: nothing here waits for anything else until the state is frozen. */
async function copy(open: OpenShard): Promise<void> {
  const { dir, shard, index } = open,
    { job, plan, generation, shards } = open.meta,
    frozen = `${dir}.frozen`,
    takenAt = nowMs(),
    { version } = shard.position;
  try {
    freeze(dir, frozen);
    const info = { job, plan, generation, shard: index, shards, instance: order.instance, version, takenAt };
    await storeSnapshot(order.snapshots!.dir, frozen, info);
    open.snapshotAt = takenAt;
  } finally {
    await rm(frozen, { recursive: true, force: true });
  }
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
  const go = new Promise<Extract<ToWorker, { kind: 'go' }> | undefined>((resolve) => {
    port.on('message', (message: ToWorker) => {
      if (message.kind === 'go') resolve(message);
      if (message.kind === 'settled') {
        const open = opened.find((o) => o.index === message.shard);
        open?.shard.writeAgain(message.windows, true);
        open?.settled.resolve();
      }
      if (message.kind === 'endpoint') for (const o of opened) o.drain?.reconnect(message.clickhouse);
      if (message.kind === 'finish') finish.resolve(message.at);
      if (message.kind === 'stop') {
        isStopped = true;
        resolve(undefined);
        for (const o of opened) {
          o.loop?.stop();
          void o.outlet?.close();
        }
      }
    });
  });
  for (const index of order.owned) opened.push(await openShard(index));
  say({ kind: 'opened', shards: status() });
  const told = await go;
  const timer = setInterval(() => say({ kind: 'status', shards: status() }), STATUS_MS);
  if (told !== undefined && !isStopped) await Promise.all(opened.map((o) => start(o, told.clickhouse, told.owned.get(o.index))));
  clearInterval(timer);
  const ended = status();
  for (const o of opened) {
    await o.inlet.close();
    await o.outlet?.close();
    await o.store.close();
  }
  say({ kind: 'ended', shards: ended });
  port.close();
}

main().catch((cause: unknown) => {
  say({ kind: 'failed', ...told(cause) });
  setTimeout(() => process.exit(1), 100);
});
