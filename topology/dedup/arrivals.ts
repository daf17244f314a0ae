/**
 * Identities of one hour in the order in which they came, each found by its place. Those from `first` on are in memory, in chunks: growing
 * copies a chunk at most, and the oldest chunk can be let go alone. Those before it stand in the store only. Some chunks that were let go wait
 * to be used again: memory that was touched before is cheaper, and each array that is dropped brings the collector's next round nearer.
 */
import { CONFLICT, DUPLICATE, FRESH } from '../batch.ts';
import { toStay } from '../memory.ts';
import { ENTRY_BYTES, ENTRY_WORDS } from './entries.ts';

const ENTRIES_LEAST = 64,
  SPARE_MAX = 16;

export class Arrivals {
  /** Place of the first in memory, and the place that the next one gets. */
  first: number;
  end: number;
  bytes = 0;
  readonly #shift: number;
  /** Full chunks of nobody. */
  readonly #spare: Uint32Array[];
  /** The first holds the places from `first` on; all but the last are full. */
  readonly #chunks: Uint32Array[] = [];

  constructor(from: number, chunkBits: number, spare: Uint32Array[]) {
    this.first = this.end = from;
    this.#shift = chunkBits;
    this.#spare = spare;
  }

  /** Gives the place where it stands now. */
  append(id: Uint32Array, p: number, fingerprint: number): number {
    const i = this.end - this.first,
      n = i >>> this.#shift,
      at = (i - (n << this.#shift)) * ENTRY_WORDS;
    let words = this.#chunks[n];
    if (words === undefined || at === words.length) words = this.#grow(n);
    words[at] = id[p]!;
    words[at + 1] = id[p + 1]!;
    words[at + 2] = id[p + 2]!;
    words[at + 3] = id[p + 3]!;
    words[at + 4] = fingerprint;
    return this.end++;
  }

  /** What the entry at a place from `first` on is to this identity; FRESH: another one. */
  compare(place: number, id: Uint32Array, p: number, fingerprint: number): number {
    // A slot of a forgotten hour under the same tag may name any place.
    if (place >= this.end) return FRESH;
    const i = place - this.first,
      n = i >>> this.#shift;
    return compareAt(this.#chunks[n]!, i - (n << this.#shift), id, p, fingerprint);
  }

  /** The next `count` places stand in the store. */
  skip(count: number): void {
    this.first = this.end += count;
  }

  /** Those from a place on that stand in one chunk with it, `most` at most. */
  piece(place: number, most: number): Uint32Array {
    const i = place - this.first,
      n = i >>> this.#shift,
      at = i - (n << this.#shift),
      count = Math.min(most, (1 << this.#shift) - at, this.end - place);
    return this.#chunks[n]!.subarray(at * ENTRY_WORDS, (at + count) * ENTRY_WORDS);
  }

  /** From a place on, a chunk at a time. */
  each(from: number, visit: (words: Uint32Array, count: number, place: number) => void): void {
    for (let place = Math.max(from, this.first); place < this.end;) {
      const words = this.piece(place, Infinity),
        count = words.length / ENTRY_WORDS;
      visit(words, count, place);
      place += count;
    }
  }

  /** Lets the oldest chunk go when all of it stands before `place`. */
  drop(place: number): boolean {
    const to = Math.min(this.end, this.first + (1 << this.#shift));
    if (this.#chunks.length === 0 || to > place) return false;
    const chunk = this.#chunks.shift()!;
    this.bytes -= chunk.byteLength;
    if (chunk.length === ENTRY_WORDS << this.#shift && this.#spare.length < SPARE_MAX) this.#spare.push(chunk);
    this.first = to;
    return true;
  }

  #grow(n: number): Uint32Array {
    const had = this.#chunks[n],
      full = 1 << this.#shift,
      entries = n > 0 ? full : Math.min(full, Math.max(ENTRIES_LEAST, ((had?.length ?? 0) / ENTRY_WORDS) * 2)),
      words = (entries === full ? this.#spare.pop() : undefined) ?? new Uint32Array(toStay(ENTRY_BYTES * entries));
    if (had !== undefined) words.set(had);
    this.bytes += words.byteLength - (had?.byteLength ?? 0);
    return (this.#chunks[n] = words);
  }
}

export function compareAt(words: Uint32Array, entry: number, id: Uint32Array, p: number, fingerprint: number): number {
  const at = entry * ENTRY_WORDS;
  if (words[at] !== id[p] || words[at + 1] !== id[p + 1] || words[at + 2] !== id[p + 2] || words[at + 3] !== id[p + 3]) return FRESH;
  return words[at + 4] === fingerprint ? DUPLICATE : CONFLICT;
}
