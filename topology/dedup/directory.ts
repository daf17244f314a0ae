/**
 * One open-addressing table that answers for the whole horizon. A slot is two words: 22 bits of lane b with 10 bits that name the hour
 * (its tag; 0: an empty slot), and the place of the identity in its hour, so that it is compared there without an index of its own.
 * "Not there" is final; "maybe in hour h" is decided by that hour. A slot whose hour is gone is stale: it may be written over, and until
 * then it only lengthens a walk. Home bits are not stored, so the table can't grow by itself: it is made again from the identities.
 */
import { toStay } from '../memory.ts';
import { LANES } from './identity-hash.ts';
import type { IdentityHash } from './identity-hash.ts';

/** One more than the hours that a horizon of 42 days can keep alive at once, with room to spare. */
export const TAGS = 1023;
export const TAG_MASK = 1023;
/** Instead of a place: the identity stands in the parts of its hour. */
export const IN_PARTS = 0xffffffff;
/** From here on a larger one is made, which is done before this one is full. */
const CROWDED = 0.7,
  FULL = 0.8,
  REBUILT_FULL = 0.65;

export function tagOf(hour: number): number {
  return (hour % TAGS) + 1;
}

/** The smallest table that holds `live` identities with room to insert. */
export function slotsFor(live: number, atLeast: number): number {
  let slots = Math.max(256, 2 ** Math.ceil(Math.log2(atLeast)));
  while (live > slots * REBUILT_FULL) slots *= 2;
  if (slots > 2 ** 30) throw new Error(`${live} live identities are more than one directory holds`);
  return slots;
}

export class Directory {
  /** Two words a slot. */
  slots: Uint32Array = new Uint32Array(0);
  size = 0;
  mask = 0;
  /** Slots that are not empty, stale ones too. */
  used = 0;
  limit = 0;
  crowdedAt = 0;
  touched = 0;

  reset(slots: number): void {
    // One that is empty is not written to: its pages are made as they are used.
    if (slots === this.size) {
      if (this.used > 0) this.slots.fill(0);
    } else {
      // The old table goes first: the two never stand side by side.
      this.slots = new Uint32Array(0);
      this.slots = new Uint32Array(toStay(8 * slots));
    }
    this.size = slots;
    this.mask = slots - 1;
    this.used = 0;
    this.limit = Math.floor(slots * FULL);
    this.crowdedAt = Math.floor(slots * CROWDED);
  }

  /** Reads the home slots of a block, independently of each other, so that their cache misses overlap. */
  touch(homes: Int32Array, count: number): void {
    const slots = this.slots,
      mask = this.mask;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += slots[(homes[i]! & mask) << 1]! & 1;
    this.touched = sum;
  }

  /** Adds identities that are known to be distinct, in places from `place` on or IN_PARTS; false when the table is full. */
  insert(words: Uint32Array, stride: number, count: number, tag: number, place: number, hash: IdentityHash): boolean {
    const slots = this.slots,
      mask = this.mask,
      homes = hash.a,
      signs = hash.b;
    for (let from = 0; from < count; from += LANES) {
      const n = Math.min(LANES, count - from);
      if (this.used + n > this.limit) return false;
      hash.block(words, from * stride, stride, n);
      this.touch(homes, n);
      for (let i = 0; i < n; i++) {
        let at = homes[i]! & mask;
        while (slots[at << 1] !== 0) at = (at + 1) & mask;
        slots[at << 1] = (signs[i]! & ~TAG_MASK) | tag;
        slots[(at << 1) + 1] = place === IN_PARTS ? IN_PARTS : place + from + i;
      }
      this.used += n;
    }
    return true;
  }

  /** Empties stale slots behind which a walk ends anyway: one pass from the back, a few ns a slot. */
  sweep(isLive: readonly unknown[]): void {
    const slots = this.slots;
    // Twice around the seam: what stands before an emptied slot 0 is at the table's end.
    let empty = slots[0] === 0;
    let freed = 0;
    for (let pass = 0; pass < 2; pass++) {
      for (let at = this.size - 1; at >= 0; at--) {
        const slot = slots[at << 1]!;
        if (slot === 0) empty = true;
        else if (empty && isLive[slot & TAG_MASK] === null) {
          slots[at << 1] = 0;
          freed++;
        } else {
          empty = false;
          if (pass === 1) return void (this.used -= freed);
        }
      }
    }
    this.used -= freed;
  }
}
