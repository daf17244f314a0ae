/**
 * What is known of one event hour: `raw` are the entries of its segments and those not yet written, in order; `packed` those of
 * its parts. Each is in memory as a whole or not at all. Entries from `written` on are in memory only, so they must stay.
 */
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
  /** Place of the first raw entry: as many have gone into parts before it since the state was opened. */
  rawFrom = 0;
  /** Raw entries that are in the store. */
  written = 0;
  raw: Entries | null = null;
  packed: Entries | null = null;
  dirty = false;
  gone = false;
  /** Questions to its parts since they were last in memory. */
  asks = 0;
  usedAt = 0;
  /** The commit that made its parts: they can be read after it only. */
  compactedAt = 0;

  constructor(hour: number) {
    this.hour = hour;
    this.tag = tagOf(hour);
  }
  rawCount(): number {
    return this.raw === null ? this.written : this.raw.count;
  }
  identities(): number {
    return this.packedCount + this.rawCount();
  }
  bytes(): number {
    return (this.raw?.bytes() ?? 0) + (this.packed?.bytes() ?? 0);
  }
  /** Bytes that `packed` takes in memory, its index included. */
  packedBytes(): number {
    return this.packedCount * (ENTRY_BYTES + 12);
  }
}
