/** Generated records of a job, by number: which of its topics each goes to, under which key, and when it arrives. */
import { EventSource } from './event-source.ts';
import type { GenerateOptions } from './event-source.ts';
import type { Line } from './line.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

/** Where the records of a job go: its topics, by the number of the source. */
export interface RecordTarget {
  /** The value is copied. */
  append(source: number, key: Uint8Array, value: Line, timestampMs: number): void;
  /** Shows readers what is pending. */
  send(): void;
  /** Until there is room for more. */
  room(): Promise<void>;
  /** Until all of it is there for good. */
  finish(): Promise<void>;
  close(): Promise<void>;
  /** Records appended, by topic. */
  counts(): Readonly<Record<string, number>>;
}

export class JobEvents {
  private readonly from: EventSource;
  private readonly producerKey: string | null;

  constructor(plan: Plan, contracts: readonly Contract[], options: Partial<GenerateOptions>) {
    this.producerKey = plan.producerKey;
    this.from = new EventSource(contracts, {
      id: plan.id,
      time: plan.time,
      dimensions: plan.dimensions.map((d) => d.name),
      fenceMs: plan.fenceMs,
      horizonMs: plan.horizonMs,
      ...options,
    });
  }

  /** Makes record n and appends it: under its id, or the field that the job names as its producers' key, so that a resend goes where the original went. */
  put(n: number, target: Pick<RecordTarget, 'append'>): void {
    const { from } = this;
    from.make(n);
    const { line, key } = from,
      id = key.bytes.subarray(0, key.length),
      keyBytes = this.producerKey === null ? id : keyOf(line.bytes.subarray(0, line.length), this.producerKey, id);
    target.append(from.source, keyBytes, line, from.arrivalMs);
  }
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
