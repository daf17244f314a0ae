/**
 * What the columns of a source hold, derived from the plan alone, so that gate and windows agree without speaking:
 * the distinct numeric fields that its measures read, and its distinct non-empty conditions (at most 32).
 */
import type { MeasureType, Plan, PlanCondition } from './plan.ts';

export interface SourceInputs {
  readonly fields: readonly { readonly name: string; readonly type: MeasureType; readonly scale: number }[];
  readonly wheres: readonly (readonly PlanCondition[])[];
  /** Every field of the source that the job reads, in name order: what the fingerprint covers. */
  readonly read: readonly string[];
}

export function whereKey(where: readonly PlanCondition[]): string {
  return JSON.stringify([...where].sort((a, b) => (a.field < b.field ? -1 : 1)).map((c) => [c.field, c.equals]));
}

export function sourceInputs(plan: Plan, source: number): SourceInputs {
  const fields = new Map<string, { name: string; type: MeasureType; scale: number }>();
  const wheres = new Map<string, readonly PlanCondition[]>();
  const read = new Set<string>([plan.id, plan.time, ...plan.dimensions.map((d) => d.name)]);
  for (const m of plan.measures) {
    if (m.source !== source) continue;
    if (m.field !== null) {
      fields.set(m.field, { name: m.field, type: m.type, scale: m.scale });
      read.add(m.field);
    }
    if (m.where.length > 0) wheres.set(whereKey(m.where), m.where);
    for (const c of m.where) read.add(c.field);
  }
  return { fields: [...fields.values()], wheres: [...wheres.values()], read: [...read].sort() };
}
