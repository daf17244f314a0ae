/** Generated records straight into the segment files of all topics of a job; a record's time in the log is its arrival. */
import type { GenerateOptions } from './event-source.ts';
import { JobEvents } from './job-events.ts';
import type { RecordTarget } from './job-events.ts';
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

export const PROGRESS_RECORDS = 16_384;

export function generateLog(plan: Plan, contracts: readonly Contract[], dir: string, o: ToLogOptions): Generated {
  const events = new JobEvents(plan, contracts, o),
    target = new SegmentTarget(plan, dir, o);
  try {
    for (let n = 0; n < o.events; n++) {
      events.put(n, target);
      if (n % PROGRESS_RECORDS === 0) o.onProgress?.(n);
    }
    target.flush();
  } finally {
    target.abandon();
  }
  return { records: o.events, topics: target.counts() };
}

export class SegmentTarget implements RecordTarget {
  private readonly writers: TopicWriter[] = [];

  constructor(plan: Plan, dir: string, { partitions, compression }: Pick<ToLogOptions, 'partitions' | 'compression'>) {
    try {
      for (const { topic } of plan.sources)
        this.writers.push(
          new TopicWriter(dir, topic, {
            ...(partitions === undefined ? {} : { partitions }),
            ...(compression === undefined ? {} : { compression }),
          }),
        );
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  append(source: number, key: Uint8Array, { bytes, length }: { bytes: Uint8Array; length: number }, timestampMs: number): void {
    const writer = this.writers[source]!;
    writer.append(writer.partitionFor(key), key, bytes, timestampMs, 0, length);
  }

  send(): void {
    for (const writer of this.writers) writer.send();
  }

  /** Appending is synchronous. */
  async room(): Promise<void> {}

  async finish(): Promise<void> {
    this.flush();
  }

  async close(): Promise<void> {
    this.abandon();
  }

  flush(): void {
    for (const writer of this.writers) writer.flush();
  }

  abandon(): void {
    for (const writer of this.writers) writer.abandon();
  }

  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.writers.map((w) => [w.topic, w.records]));
  }
}
