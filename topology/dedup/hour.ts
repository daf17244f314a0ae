/**
 * What is known of one event hour: `raw` are the entries of its segments and those not yet written, in order; `packed` those of its parts,
 * in memory as a whole or not at all. Entries from `written` on are in memory only, so they must stay.
 */
import type { Arrivals } from './arrivals.ts';
import type { Entries } from './entries.ts';
import { ENTRY_BYTES } from './entries.ts';
import { tagOf } from './directory.ts';

export class Hour {
  readonly hour: number;
  readonly tag: number;
  gen = 0;
  parts = 0;
  packedCount = 0;
  segFirst = 0;
  segNext = 0;
  /** Place at which each segment begins. */
  segPlaces: number[] = [];
  /** Place of the first raw entry: as many have gone into parts before it since the state was opened. */
  rawFrom = 0;
  /** Raw entries before this place are in the store. */
  written = 0;
  raw: Arrivals;
  packed: Entries | null = null;
  dirty = false;
  gone = false;
  /** Questions to its parts, and to segments, since they were last in memory. */
  asks = 0;
  rawAsks = 0;
  usedAt = 0;
  /** The commit that made its parts: they can be read after it only. */
  compactedAt = 0;

  constructor(hour: number, raw: Arrivals) {
    this.hour = hour;
    this.tag = tagOf(hour);
    this.raw = raw;
  }
  rawCount(): number {
    return this.raw.end - this.rawFrom;
  }
  identities(): number {
    return this.packedCount + this.rawCount();
  }
  bytes(): number {
    return this.raw.bytes + (this.packed?.bytes() ?? 0);
  }
  /** Bytes that `packed` takes in memory, its index included. */
  packedBytes(): number {
    return this.packedCount * (ENTRY_BYTES + 12);
  }
}
