/**
 * In which order a producer writes its keys, and which ones that the contract does not know stand among them. In: the top-level keys of
 * valid records that took the slow path; out: a layout worth a scanner of its own, once enough of them agree. Bounded: so many
 * candidates, so many unknown names, and each layout asks for twice as many records as the one before it.
 */

/** A field by its place in the contract, or the name of a field that the contract does not know. */
export type Entry = number | string;
export type Layout = readonly Entry[];

export const UNKNOWN_MAX = 32,
  UNKNOWN_BYTES_MAX = 64;
const CANDIDATES_MAX = 4,
  ENOUGH = 64,
  DOUBLINGS_MAX = 12;

interface Candidate {
  layout: Layout;
  records: number;
}

/** All of both in one order that suits both; null: there is none, or it has too many unknown names. */
export function merge(a: Layout, b: Layout): Layout | null {
  const out = [...a];
  let at = 0;
  for (const entry of b) {
    const found = out.indexOf(entry);
    if (found >= at) at = found + 1;
    else if (found < 0) out.splice(at++, 0, entry);
    else return null;
  }
  return out.filter((entry) => typeof entry === 'string').length > UNKNOWN_MAX ? null : out;
}

/** Whether a scanner of `layout` expects these keys already. */
export function covers(layout: Layout, keys: Layout): boolean {
  return merge(layout, keys)?.length === layout.length;
}

export class Candidates {
  private candidates: Candidate[] = [];
  private enough = ENOUGH;

  /** The keys of one more record that no scanner expects. */
  add(keys: Layout): Layout | null {
    for (const candidate of this.candidates) {
      const merged = merge(candidate.layout, keys);
      if (merged === null) continue;
      candidate.layout = merged;
      if (++candidate.records < this.enough) return null;
      this.candidates = this.candidates.filter((c) => c !== candidate);
      this.enough = Math.min(2 * this.enough, ENOUGH << DOUBLINGS_MAX);
      return merged;
    }
    if (this.candidates.length < CANDIDATES_MAX) this.candidates.push({ layout: keys, records: 1 });
    else this.crowdOut();
    return null;
  }

  /** What comes often outlives what comes once. */
  private crowdOut(): void {
    for (const candidate of this.candidates) candidate.records--;
    this.candidates = this.candidates.filter((c) => c.records > 0);
  }
}
