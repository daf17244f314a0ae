/**
 * What the audit log says that this job's log did not hold: told beside the differences, and never taken to explain one. Records that were
 * removed before their turn were not counted, and the recount passes over them as the run did. Records that were counted and then lost
 * can't be recounted by anybody: then the result is neither right nor wrong, and the windows that differ are named as what can't be checked.
 */
import { quote } from './model.ts';
import type { Ask, Differences } from './model.ts';

export interface AuditedGap {
  readonly at: string;
  readonly topic: string;
  readonly partition: number;
  /** Offsets [from, to) that could not be had; null: the broker could not say. */
  readonly from: number | null;
  readonly to: number | null;
  readonly kind: 'removed' | 'truncated' | 'diverged' | 'recreated';
  readonly why: string;
}

/** In the order of the audit log, of the states that filled the tables, since the job was last dropped. */
export async function auditedGaps(ask: Ask, job: string, generation: number): Promise<AuditedGap[]> {
  const filledBy = `SELECT instance FROM tally_progress WHERE job = ${quote(job)} AND generation = ${generation}`;
  const found = await ask(
    `SELECT instance, kind, entry FROM tally_audit WHERE job = ${quote(job)} AND kind IN ('log.gap', 'job.dropped') AND instance IN (${filledBy}) ORDER BY instance, number`,
  );
  const gaps = new Map<string, AuditedGap[]>();
  for (const row of found) {
    const instance = String(row.instance),
      before = row.kind === 'job.dropped' ? [] : (gaps.get(instance) ?? []);
    if (row.kind === 'log.gap') before.push(toGap(String(row.entry)));
    gaps.set(instance, before);
  }
  return [...gaps.values()].flat();
}

function toGap(entry: string): AuditedGap {
  const { at, topic, partition, from, to, gap, what } = JSON.parse(entry) as Omit<AuditedGap, 'kind' | 'why'> & {
    gap: AuditedGap['kind'];
    what: string;
  };
  return { at, topic, partition, from, to, kind: gap, why: what };
}

/** Its records were counted before they were gone. */
export const isLost = (gap: AuditedGap): boolean => gap.kind !== 'removed';

/** The windows of each view that differ, when records were counted that nobody can count again; else none. */
export function uncheckable(gaps: readonly AuditedGap[], differences: Differences): string[] {
  return gaps.some(isLost) ? [...differences.windows].sort() : [];
}
