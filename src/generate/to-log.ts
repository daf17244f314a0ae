/**
 * Generated records straight into all topics of a job: the record's time is its arrival, its key the id (or the field that the job
 * names as its producers' key), so that a resend goes where the original went.
 */
import { EventSource } from './event-source.ts';
import type { GenerateOptions } from './event-source.ts';
import { TopicWriter } from '../log/writer.ts';
import type { Compression } from '../log/codecs.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

export interface ToLogOptions extends Partial<GenerateOptions> {
  readonly events: number;
  readonly partitions?: number;
  readonly compression?: Compression;
  readonly onProgress?: (done: number) => void;
}
export interface Generated {
  readonly records: number;
  /** Records a topic. */
  readonly topics: Readonly<Record<string, number>>;
}

const PROGRESS_RECORDS = 16_384;

export function generateLog(plan: Plan, contracts: readonly Contract[], dir: string, o: ToLogOptions): Generated {
  const source = new EventSource(contracts, {
    id: plan.id,
    time: plan.time,
    dimensions: plan.dimensions.map((d) => d.name),
    fenceMs: plan.fenceMs,
    horizonMs: plan.horizonMs,
    ...o,
  });
  const writers: TopicWriter[] = [];
  try {
    for (const s of plan.sources) {
      writers.push(
        new TopicWriter(dir, s.topic, {
          ...(o.partitions === undefined ? {} : { partitions: o.partitions }),
          ...(o.compression === undefined ? {} : { compression: o.compression }),
        }),
      );
    }
    const { line, key } = source;
    for (let n = 0; n < o.events; n++) {
      source.make(n);
      const writer = writers[source.source]!,
        keyBytes =
          plan.producerKey === null
            ? key.bytes.subarray(0, key.length)
            : keyOf(line.bytes.subarray(0, line.length), plan.producerKey, key.bytes.subarray(0, key.length));
      writer.append(writer.partitionFor(keyBytes), keyBytes, line.bytes, source.arrivalMs, 0, line.length);
      if (n % PROGRESS_RECORDS === 0) o.onProgress?.(n);
    }
    for (const writer of writers) writer.flush();
  } finally {
    for (const writer of writers) writer.abandon();
  }
  return { records: o.events, topics: Object.fromEntries(writers.map((w) => [w.topic, w.records])) };
}

/** The text of the producers' key field; of what has none, the id. */
function keyOf(value: Uint8Array, field: string, id: Uint8Array): Uint8Array {
  try {
    const found = (JSON.parse(Buffer.from(value).toString()) as Record<string, unknown>)[field];
    return found === undefined || found === null ? id : Buffer.from(String(found));
  } catch {
    return id;
  }
}
