/**
 * The group keys that live windows use: key bytes -> a dense number, so that an event's bytes are compared once and each of its
 * windows then works with the number. Open addressing over pairs of (hash, number + 1); the bytes stand in one arena.
 * Numbers are given in the order of first sight and stay until `renumber`, which drops the keys that no window uses any more.
 */
import type { EventColumns } from '../batch.ts';

const SLOTS_MIN = 1 << 12;
/** Half full at most: with a good hash a key is found at its home slot or beside it. */
const LOAD_MAX = 0.5;

export class KeyTable {
  count = 0;
  /** Key k's bytes are arena[end[k - 1] .. end[k]]; end[-1] is read as 0 through `startOf`. */
  arena = new Uint8Array(1 << 16);
  view = new DataView(this.arena.buffer);
  private end = new Uint32Array(1024);
  private hash = new Int32Array(1024);
  private slots = new Int32Array(SLOTS_MIN * 2);
  private mask = SLOTS_MIN - 1;

  startOf(key: number): number {
    return key === 0 ? 0 : this.end[key - 1]!;
  }
  endOf(key: number): number {
    return this.end[key]!;
  }
  hashOf(key: number): number {
    return this.hash[key]!;
  }
  get bytes(): number {
    return this.arena.length + this.end.byteLength + this.hash.byteLength + this.slots.byteLength;
  }

  /** Numbers of the keys of events at[0..n), into out. */
  resolve(events: EventColumns, at: Int32Array, n: number, out: Int32Array): void {
    const { keyHash, keyEnd, keyBytes } = events;
    const view = new DataView(keyBytes.buffer, keyBytes.byteOffset, keyBytes.length);
    this.guess(keyHash, at, n, out);
    for (let k = 0; k < n; k++) {
      const i = at[k]!,
        start = i === 0 ? 0 : keyEnd[i - 1]!,
        end = keyEnd[i]!,
        key = out[k]!;
      if (key < 0 || !this.same(key, view, start, end)) out[k] = this.intern(keyHash[i]! | 0, keyBytes, view, start, end);
    }
  }

  /**
   * What stands at each home slot when its hash is right, else -1. Its loads do not depend on each other, so that cache misses
   * overlap. Touching the keys' bytes here as well was slower: 1.02 to 1.16 of this, alternating in one process, 10k and 200k keys.
   */
  private guess(keyHash: Uint32Array, at: Int32Array, n: number, out: Int32Array): void {
    const { slots, mask } = this;
    for (let k = 0; k < n; k++) {
      const hash = keyHash[at[k]!]! | 0,
        slot = (hash & mask) << 1;
      out[k] = slots[slot] === hash ? slots[slot + 1]! - 1 : -1;
    }
  }

  private same(key: number, view: DataView, start: number, end: number): boolean {
    const own = this.view,
      from = key === 0 ? 0 : this.end[key - 1]!,
      length = end - start;
    if (this.end[key]! - from !== length) return false;
    let unlike = 0;
    if (length < 4) for (let j = 0; j < length; j++) unlike |= own.getUint8(from + j) ^ view.getUint8(start + j);
    else {
      // The last four bytes may overlap those before them.
      const last = length - 4;
      for (let j = 0; j < last; j += 4) unlike |= own.getInt32(from + j, true) ^ view.getInt32(start + j, true);
      unlike |= own.getInt32(from + last, true) ^ view.getInt32(start + last, true);
    }
    return unlike === 0;
  }

  /** The number of one key; `view` is over `bytes`. */
  intern(hash: number, bytes: Uint8Array, view: DataView, start: number, end: number): number {
    const { slots, mask } = this;
    for (let s = hash & mask; ; s = (s + 1) & mask) {
      const found = slots[s * 2 + 1]!;
      if (found === 0) return this.append(s, hash, bytes, start, end);
      if (slots[s * 2] === hash && this.same(found - 1, view, start, end)) return found - 1;
    }
  }

  private append(slot: number, hash: number, bytes: Uint8Array, start: number, end: number): number {
    const key = this.count++,
      from = this.startOf(key),
      to = from + end - start;
    if (key >= this.end.length) {
      const wider = new Uint32Array(key * 2),
        hashes = new Int32Array(key * 2);
      wider.set(this.end);
      hashes.set(this.hash);
      this.end = wider;
      this.hash = hashes;
    }
    if (to > this.arena.length) {
      if (to > 0xffffffff) throw new Error('the group keys of the live windows exceed 4 GiB');
      const wider = new Uint8Array(Math.max(this.arena.length * 2, to));
      wider.set(this.arena.subarray(0, from));
      this.arena = wider;
      this.view = new DataView(wider.buffer);
    }
    this.arena.set(bytes.subarray(start, end), from);
    this.end[key] = to;
    this.hash[key] = hash;
    this.slots[slot * 2] = hash;
    this.slots[slot * 2 + 1] = key + 1;
    if (this.count > (this.mask + 1) * LOAD_MAX) this.rehash((this.mask + 1) * 2);
    return key;
  }

  private rehash(size: number): void {
    const slots = new Int32Array(size * 2),
      mask = size - 1;
    for (let key = 0; key < this.count; key++) {
      let s = this.hash[key]! & mask;
      while (slots[s * 2 + 1] !== 0) s = (s + 1) & mask;
      slots[s * 2] = this.hash[key]!;
      slots[s * 2 + 1] = key + 1;
    }
    this.slots = slots;
    this.mask = mask;
  }

  /** Keeps the keys whose `used` is 1, in their order, and gives old number -> new number (-1: dropped). */
  renumber(used: Uint8Array): Int32Array {
    const map = new Int32Array(this.count).fill(-1);
    let count = 0,
      bytes = 0;
    for (let key = 0; key < this.count; key++) {
      if (used[key] === 0) continue;
      map[key] = count++;
      bytes += this.endOf(key) - this.startOf(key);
    }
    const arena = new Uint8Array(Math.max(1 << 16, bytes * 2));
    const end = new Uint32Array(Math.max(1024, count * 2)),
      hash = new Int32Array(Math.max(1024, count * 2));
    let to = 0;
    for (let key = 0; key < this.count; key++) {
      const n = map[key]!;
      if (n < 0) continue;
      arena.set(this.arena.subarray(this.startOf(key), this.endOf(key)), to);
      to += this.endOf(key) - this.startOf(key);
      end[n] = to;
      hash[n] = this.hash[key]!;
    }
    this.arena = arena;
    this.view = new DataView(arena.buffer);
    this.end = end;
    this.hash = hash;
    this.count = count;
    this.rehash(Math.max(SLOTS_MIN, 2 ** Math.ceil(Math.log2((count + 1) / LOAD_MAX))));
    return map;
  }
}
