/**
 * The scanners of one source: the contract's own, and a few that are learned from producers who write another order of keys, or
 * fields that the contract does not know. All of them are exact, so which one takes a record changes nothing but the time it takes.
 */
import { Candidates, covers, merge } from './layout.ts';
import type { Layout } from './layout.ts';

export type Scan = (bytes: Uint8Array, view: DataView, from: number, limit: number, latest: number) => boolean;
interface Scanner {
  readonly layout: Layout;
  readonly scan: Scan;
}

const LEARNED_MAX = 4;

export class Scanners {
  /** Asked first: the one that took the last record. */
  first: Scan;
  /** The one that took a record last stands first. */
  private scanners: Scanner[];
  private readonly own: Scanner;
  private readonly compile: (layout: Layout) => Scan;
  private readonly candidates = new Candidates();

  constructor(fields: number, compile: (layout: Layout) => Scan) {
    const layout = Array.from({ length: fields }, (_, at) => at);
    this.own = { layout, scan: compile(layout) };
    this.compile = compile;
    this.scanners = [this.own];
    this.first = this.own.scan;
  }

  get learned(): readonly Layout[] {
    return this.scanners.filter((s) => s !== this.own).map((s) => s.layout);
  }

  /** When `first` did not take the record. */
  others(bytes: Uint8Array, view: DataView, from: number, limit: number, latest: number): boolean {
    const { scanners } = this;
    for (let i = 1; i < scanners.length; i++) {
      const taker = scanners[i]!;
      if (!taker.scan(bytes, view, from, limit, latest)) continue;
      scanners.copyWithin(1, 0, i);
      scanners[0] = taker;
      this.first = taker.scan;
      return true;
    }
    return false;
  }

  /** The top-level keys of a valid record that none of them took. */
  learn(keys: Layout): void {
    // Its order is known: what it has of its own is a notation, and no scanner takes that.
    if (this.scanners.some((s) => covers(s.layout, keys))) return;
    const layout = this.candidates.add(keys);
    if (layout !== null) this.adopt(layout);
  }

  private adopt(layout: Layout): void {
    const learned = this.scanners.filter((s) => s !== this.own);
    // Fields that were absent so far have their place where the contract has them, if that suits.
    const whole = merge(this.own.layout, layout) ?? layout;
    const like = learned.find((s) => merge(s.layout, whole) !== null);
    const wide = like === undefined ? whole : merge(like.layout, whole)!;
    const gone = like ?? (learned.length < LEARNED_MAX ? undefined : learned.at(-1));
    this.scanners = [...this.scanners.filter((s) => s !== gone), { layout: wide, scan: this.compile(wide) }];
    this.first = this.scanners[0]!.scan;
  }
}
