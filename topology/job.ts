/**
 * The language that a job is written in; importable as "tally". What is written becomes plain data (`JobSpec`), nothing is
 * executed; `build-plan.ts` makes a plan of it. Typed handles make a wrong field, a sum over text or a key that one contract
 * lacks a compile error; the same is found at run time from the contracts alone.
 */
import type {
  ComparableField,
  ContractHandle,
  DimensionField,
  KeyField,
  Shape,
  SummableField,
  TimeField,
  Untyped,
  Where,
} from './handles.ts';
import { JobError } from './job-error.ts';

export type { ContractHandle, FieldKind, FieldShape, Shape, Untyped } from './handles.ts';

/** A length of time in milliseconds; made by minutes(5) and the like, so that a bare 30 does not compile. */
export type Duration = number & { readonly duration: 'ms' };
export const seconds = (n: number): Duration => (n * 1000) as Duration;
export const minutes = (n: number): Duration => (n * 60_000) as Duration;
export const hours = (n: number): Duration => (n * 3_600_000) as Duration;
export const days = (n: number): Duration => (n * 86_400_000) as Duration;

export type WindowSize = 'hour' | 'day';
export const hour = 'hour' as const;
export const day = 'day' as const;

/** A contract by its id, its fields unknown to the compiler; they are checked when the job is loaded. */
export const contract = <const Id extends string>(id: Id): ContractHandle<Id, Untyped> => ({ contract: id });

export interface Measure<Id extends string = string> {
  readonly kind: 'count' | 'sum' | 'min' | 'max';
  readonly contract: Id;
  readonly field: string | null;
  readonly where: Readonly<Record<string, string | number | boolean>>;
}
type Source<Id extends string, S extends Shape> = ContractHandle<Id, S>;

/** Events of a contract, or those of them for which each condition holds. */
export function count<Id extends string, S extends Shape>(source: Source<Id, S>, where?: Where<NoInfer<S>>): Measure<Id> {
  return measure('count', source, null, where);
}
/** The exact sum of an integer, or of a number whose multipleOf is a power of ten. A missing value adds 0. */
export function sum<Id extends string, S extends Shape>(
  source: Source<Id, S>,
  field: SummableField<NoInfer<S>>,
  where?: Where<NoInfer<S>>,
): Measure<Id> {
  return measure('sum', source, field, where);
}
/** The least value; NULL when there is none. */
export function min<Id extends string, S extends Shape>(
  source: Source<Id, S>,
  field: ComparableField<NoInfer<S>>,
  where?: Where<NoInfer<S>>,
): Measure<Id> {
  return measure('min', source, field, where);
}
/** The greatest value; NULL when there is none. */
export function max<Id extends string, S extends Shape>(
  source: Source<Id, S>,
  field: ComparableField<NoInfer<S>>,
  where?: Where<NoInfer<S>>,
): Measure<Id> {
  return measure('max', source, field, where);
}
function measure<Id extends string>(
  kind: Measure['kind'],
  source: ContractHandle<Id>,
  field: string | null,
  where: object = {},
): Measure<Id> {
  return { kind, contract: source?.contract, field, where: { ...where } };
}

export interface Window {
  readonly size: WindowSize;
  readonly zone: string;
  readonly table: string;
}
/** Windows of an hour or a day of a zone (UTC unless it says), side by side, written into a table. */
export function tumbling(size: WindowSize, options: { readonly zone?: string } = {}): { into(table: string): Window } {
  return { into: (table) => ({ size, zone: options.zone ?? 'UTC', table }) };
}

export interface RepartitionSpec<Field extends string = string> {
  /** The field by whose value a record finds its shard: the id, or another that a resend has in common with its original. */
  readonly by: Field;
}
export interface DedupeSpec<Field extends string = string> {
  /** The field that identifies an event, through all contracts of the job. */
  readonly by: Field;
  /** How long an event is remembered: 30 days unless it says. */
  readonly horizon?: Duration;
  /** The field whose text the producers use as the record key; the id itself unless it says. Asked only with several shards. */
  readonly producerKey?: Field;
}
export interface WatermarkSpec<Field extends string = string> {
  readonly by: Field;
  /** How far events may come out of order before their window is final. */
  readonly outOfOrder: Duration;
  /** How far an event's time may lie after the log's own timestamp: 1 hour unless it says. */
  readonly fence?: Duration;
}
export interface Limits {
  /** Longer records are quarantined as OVERSIZE; 1 MiB unless it says. */
  readonly maxRecordBytes?: number;
}
/** What was written, part by part; a part is missing until it is. */
export interface JobSpec {
  readonly name: string;
  readonly sources?: readonly string[];
  readonly repartition?: RepartitionSpec;
  readonly dedupe?: DedupeSpec;
  readonly watermark?: WatermarkSpec;
  readonly dimensions?: readonly string[];
  readonly measures?: Readonly<Record<string, Measure>>;
  readonly windows?: readonly Window[];
  readonly limits?: Limits;
}
/** What a job's file exports: recognised by `kind`, so that two copies of this module understand each other. */
export interface TopologyValue {
  readonly kind: 'tally.topology';
  readonly spec: JobSpec;
}

interface Stage {
  limits(limits: Limits): this;
}
type ShapeOf<H extends ContractHandle> = H extends ContractHandle<string, infer S> ? S : never;

export interface Named extends Stage {
  read<const H extends readonly [ContractHandle, ...ContractHandle[]]>(...sources: H): Reading<ShapeOf<H[number]>, H[number]['contract']>;
}
export interface Reading<S extends Shape, Id extends string> extends Repartitioned<S, Id> {
  /** With several shards: records go through an internal topic, keyed anew, so that producers need no key at all. */
  repartition(repartition: RepartitionSpec<KeyField<S>>): Repartitioned<S, Id>;
}
export interface Repartitioned<S extends Shape, Id extends string> extends Stage {
  dedupe(dedupe: DedupeSpec<KeyField<S>>): Deduped<S, Id>;
}
export interface Deduped<S extends Shape, Id extends string> extends Stage {
  watermark(watermark: WatermarkSpec<TimeField<S>>): Timed<S, Id>;
}
export interface Timed<S extends Shape, Id extends string> extends Stage {
  /** Each must be required, and of one type, in every contract that is read. */
  keyBy(...dimensions: readonly DimensionField<S>[]): Keyed<Id>;
}
export interface Keyed<Id extends string> extends Stage {
  aggregate(measures: Readonly<Record<string, Measure<Id>>>): Aggregated;
}
export interface Aggregated extends Stage {
  window(...windows: readonly [Window, ...Window[]]): Topology;
}
export interface Topology extends TopologyValue, Stage {}

/** Begins a job: lower case letters, digits and hyphens. */
export const topology = (name: string): Named => new Draft({ name });

/** All stages are one object of plain data; the interfaces above say which part comes next. */
class Draft {
  readonly kind = 'tally.topology';
  readonly spec: JobSpec;
  constructor(spec: JobSpec) {
    this.spec = spec;
  }
  read(...sources: readonly ContractHandle[]): Draft {
    return this.with({ sources: sources.map((s) => s?.contract) });
  }
  repartition(repartition: RepartitionSpec): Draft {
    return this.with({ repartition: { ...repartition } });
  }
  dedupe(dedupe: DedupeSpec): Draft {
    return this.with({ dedupe: { ...dedupe } });
  }
  watermark(watermark: WatermarkSpec): Draft {
    return this.with({ watermark: { ...watermark } });
  }
  keyBy(...dimensions: readonly string[]): Draft {
    return this.with({ dimensions });
  }
  aggregate(measures: Readonly<Record<string, Measure>>): Draft {
    return this.with({ measures: { ...measures } });
  }
  window(...windows: readonly Window[]): Draft {
    return this.with({ windows });
  }
  limits(limits: Limits): this {
    return this.with({ limits: { ...limits } }) as this;
  }
  private with(part: Partial<JobSpec>): Draft {
    for (const name of Object.keys(part)) {
      if (name in this.spec) throw new JobError(`the job says its ${name} twice`, 'Each part of a topology is said once.');
    }
    return new Draft({ ...this.spec, ...part });
  }
}
