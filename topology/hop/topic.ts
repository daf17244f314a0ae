/** The internal topic that a source's records go through, one a source. Its name says whose it is; one that would be no legal name of Kafka's is cut. */
import { digestOf } from '../digest.ts';
import type { Plan } from '../plan.ts';

const NAME_MAX = 249;

export function hopTopic(plan: Plan, source: number): string {
  const { topic } = plan.sources[source]!,
    whole = `tally-${plan.job}-${topic}-by-${plan.repartition!.by}`;
  const legal = whole.replace(/[^A-Za-z0-9._-]/g, '_');
  if (legal === whole && whole.length <= NAME_MAX) return whole;
  const mark = digestOf(whole).slice(0, 12);
  return `${legal.slice(0, NAME_MAX - 1 - mark.length)}-${mark}`;
}
