/** A shard's two ends of the hop: what its reader must know of the sources behind it, and the writer of its own slice of them. */
import type { Stamp } from '../../topology/hop/format.ts';
import type { PartitionPosition } from '../../topology/position.ts';
import { Outlet } from '../hop/outlet.ts';
import type { OutletTells } from '../hop/outlet.ts';
import type { HopOrder, ReaderHop, WorkerOrder } from './messages.ts';

const stampOf = (o: WorkerOrder): Stamp => ({ plan: o.planDigest, generation: o.generation, shards: o.shards, from: String(o.from) });

/** `times`: what the reader hears of the record times of each slice, for the writer. */
export function readerHop(
  o: WorkerOrder,
  partitions: readonly PartitionPosition[],
  fresh: boolean,
  times: SharedArrayBuffer,
): ReaderHop | null {
  if (o.hop === null) return null;
  const { ends } = o.hop;
  return {
    stamp: { ...stampOf(o), from: fresh ? String(o.from) : null },
    sources: partitions.map(({ source, partition, offset, heard = -Infinity }) => ({ source, partition, offset, heard })),
    times,
    ends: ends === null ? null : partitions.map(({ source, partition }) => ends[source]![partition]!),
  };
}

/** Who sends the shard's slice; nobody when there are fewer partitions than shards. What it passes over is told by the place in the position. */
export function openOutlet(
  o: WorkerOrder,
  { topics, ends }: HopOrder,
  shard: number,
  partitions: readonly PartitionPosition[],
  times: SharedArrayBuffer,
  tells: OutletTells,
): Outlet | undefined {
  const { plan, contracts, log, kafka, untilEnd, from, shards } = o;
  const places = partitions
    .filter((p) => p.partition % shards === shard)
    .map(({ source, topic, partition }) => ({ source, topic, partition, offset: 0, leaderEpoch: -1, topicId: '', crc: -1 }));
  if (places.length === 0) return undefined;
  const ours = ends === null ? {} : { ends: places.map(({ source, partition }) => ends[source]![partition]!) },
    slices = [...new Set(partitions.map((p) => p.partition % shards))],
    fenceMs = plan.fenceMs;
  return new Outlet(
    { plan, contracts, log, kafka, untilEnd, ...ours, fenceMs, from, places, topics, stamp: stampOf(o), slice: shard, slices, times },
    {
      trouble: tells.trouble,
      passed: (passed) => {
        const { topic, partition } = places[passed.place]!;
        tells.passed({ ...passed, place: partitions.findIndex((p) => p.topic === topic && p.partition === partition) });
      },
    },
  );
}

/** Until the shard has read everything, and, of a run that ends, until all that it had to send has been acknowledged: others wait for it. */
export async function withOutlet(work: Promise<void>, outlet: Outlet | undefined, untilEnd: boolean): Promise<void> {
  if (outlet === undefined) return work;
  await Promise.race([work, outlet.failed]);
  if (untilEnd) await Promise.race([outlet.ended, outlet.failed]);
}
