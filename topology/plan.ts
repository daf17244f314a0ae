/**
 * A plan is what a job becomes: plain data, the same on every machine. It is hashed, explained, stored with every run,
 * and everything downstream (scanner, windows, tables, oracle) is made from it and from its contracts alone.
 */
export type Zone = string;
export type DimensionType = 'string' | 'integer' | 'boolean';

/** int64: integers and counts; decimal: a scaled integer with `scale` digits; float64: min/max of other numbers; timestamp: epoch ms. */
export type MeasureType = 'int64' | 'decimal' | 'float64' | 'timestamp';

export interface PlanSource {
  readonly contract: string;
  readonly version: string;
  /** SHA-256 (hex) of the contract's canonical JSON. */
  readonly digest: string;
  readonly topic: string;
}
export interface PlanCondition {
  readonly field: string;
  readonly equals: string | number | boolean;
}
export interface PlanMeasure {
  readonly name: string;
  readonly kind: 'count' | 'sum' | 'min' | 'max';
  /** Index into `sources`. */
  readonly source: number;
  /** null for count. */
  readonly field: string | null;
  /** All must hold (AND); empty: every event of the source. */
  readonly where: readonly PlanCondition[];
  readonly type: MeasureType;
  readonly scale: number;
}
export interface PlanTable {
  readonly name: string;
  readonly size: 'hour' | 'day';
  readonly zone: Zone;
}
export interface Plan {
  readonly format: 1;
  readonly job: string;
  readonly sources: readonly PlanSource[];
  readonly id: string;
  readonly time: string;
  readonly horizonMs: number;
  readonly outOfOrderMs: number;
  readonly fenceMs: number;
  readonly maxRecordBytes: number;
  /** The field whose text is the producers' record key; null: the id itself. Asked only when there are several shards. */
  readonly producerKey: string | null;
  /** With several shards, records go through an internal topic first, keyed by this field. Absent: they are read where they are. */
  readonly repartition?: { readonly by: string };
  readonly dimensions: readonly { readonly name: string; readonly type: DimensionType }[];
  readonly measures: readonly PlanMeasure[];
  readonly tables: readonly PlanTable[];
}
