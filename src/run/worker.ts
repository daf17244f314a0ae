/**
 * A worker thread: owns whole shards, each with its own state, source and drain. It opens them and reports what it found, waits for
 * the supervisor to say that the tables fit, then runs them until the end or a stop. A fault of one shard ends the run.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { insertTarget, rowsLayout } from '../../topology/write/layout.ts';
import { OutboxDrain } from '../clickhouse/drain.ts';
import { fence } from '../clickhouse/epochs.ts';
import { Sink } from '../clickhouse/sink.ts';
import { nowMs } from '../clock.ts';
import type { OutletTells } from '../hop/outlet.ts';
import { told } from './faults.ts';
import type { ClickHouseEndpoint, FromWorker, Owned, ShardStatus, ToWorker, WorkerOrder } from './messages.ts';
import { openShard } from './open-shard.ts';
import type { OpenShard } from './open-shard.ts';
import { ShardCopies } from './shard-copies.ts';
import { ShardLoop } from './shard-loop.ts';
import { writeMeta } from './shard-meta.ts';
import { openOutlet, withOutlet } from './shard-hop.ts';
import { shardStatus } from './shard-status.ts';

const STATUS_MS = 500;

/** The shards of a run become final together: each says when it has read everything, and waits for the last. */
const finish = Promise.withResolvers<number>();
let readToEnd = 0,
  lastEnd = -1;

const order = workerData as WorkerOrder;
const port = parentPort!;
const say = (message: FromWorker): void => port.postMessage(message);

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
  const { snapshots } = order;
  if (snapshots !== null) {
    const copied = { shard, dir: open.dir, meta: open.meta, instance: order.instance };
    open.copies = new ShardCopies({ ...copied, to: snapshots.dir, everyMs: snapshots.everyMs, onTrouble: tells(index).trouble });
  }
  try {
    // Nothing is sent before all else has been found to fit.
    open.outlet = order.hop === null ? undefined : openOutlet(order, order.hop, index, shard.position.partitions, open.times, tells(index));
    await withOutlet(open.loop.run(), open.outlet, untilEnd);
    open.copies?.stop();
    if (snapshots?.atEnd === true) await open.copies?.take();
  } finally {
    open.copies?.stop();
  }
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
  for (const index of order.owned) opened.push(await openShard(order, index, say));
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
