/**
 * Makes parts of a cold hour that stands in many small segments, so that one question reads one part. The hour is dealt out by lane b in
 * one go (some 20 ns an entry); the parts are then written over as many commits as the budget wants. Until the last of them, which switches
 * the manifest, the hour is answered from what it had before; a job that is cut off leaves parts of a gen that nobody names.
 */
import type { StoreBatch } from '../../state/store.ts';
import { ENTRY_BYTES, ENTRY_WORDS } from './entries.ts';
import { LANES } from './identity-hash.ts';
import type { IdentityHash } from './identity-hash.ts';
import { encodeEntries, identityKey, PART } from './layout.ts';

/** 16 MiB. */
const TABLE_WORDS_MAX = 4 << 20;

export interface EntrySource {
  readonly words: Uint32Array;
  readonly count: number;
}

export function partOf(b: number, parts: number): number {
  return Math.floor(((b >>> 0) / 4294967296) * parts);
}

/** Where an hour is dealt out: used again for the next one, unless this one was unusually large. */
export class DealTable {
  #words = new Uint32Array(0);

  /** So many words that mean nothing yet; good until the next call. */
  take(count: number): Uint32Array {
    if (count > this.#words.length) {
      if (count > TABLE_WORDS_MAX) return new Uint32Array(count);
      this.#words = new Uint32Array(Math.min(TABLE_WORDS_MAX, 2 * count));
    }
    return this.#words.subarray(0, count);
  }
}

export class CompactionJob {
  readonly hour: number;
  readonly gen: number;
  readonly parts: number;
  readonly entries: number;
  /** Segments before this one, and raw entries before this place, are in the parts. */
  readonly segEnd: number;
  readonly rawEnd: number;
  /** Parts that have been written. */
  next = 0;
  readonly #words: Uint32Array;
  /** Entry at which part i starts; one more for the end. */
  readonly #starts: Uint32Array;

  constructor(
    hour: number,
    gen: number,
    segEnd: number,
    rawEnd: number,
    sources: readonly EntrySource[],
    partEntries: number,
    hash: IdentityHash,
    table: DealTable,
  ) {
    this.hour = hour;
    this.gen = gen;
    this.segEnd = segEnd;
    this.rawEnd = rawEnd;
    this.entries = sources.reduce((n, s) => n + s.count, 0);
    this.parts = Math.max(1, Math.ceil(this.entries / partEntries));
    this.#starts = new Uint32Array(this.parts + 1);
    this.#words = deal(sources, this.entries, this.#starts, hash, table.take(this.entries * (ENTRY_WORDS + 1)));
  }

  /** Writes parts until all are written or `bytesMax` is reached; at least one. Returns the bytes. */
  step(batch: StoreBatch, bytesMax: number): number {
    let bytes = 0;
    while (this.next < this.parts && (bytes === 0 || bytes < bytesMax)) {
      const from = this.#starts[this.next]!,
        to = this.#starts[this.next + 1]!;
      batch.put(identityKey(this.hour, PART, this.gen, this.next), encodeEntries(this.#words, from, to));
      bytes += (to - from) * ENTRY_BYTES + 32;
      this.next++;
    }
    return bytes;
  }

  done(): boolean {
    return this.next === this.parts;
  }
}

/** A counting sort by part, within `table`, in which each entry has the room of its words and one more. `starts` receives the bounds. */
function deal(sources: readonly EntrySource[], entries: number, starts: Uint32Array, hash: IdentityHash, table: Uint32Array): Uint32Array {
  const parts = starts.length - 1,
    out = table.subarray(0, entries * ENTRY_WORDS),
    part = table.subarray(entries * ENTRY_WORDS),
    at = new Uint32Array(parts);
  let e = 0;
  for (const source of sources) {
    for (let from = 0; from < source.count; from += LANES) {
      const n = Math.min(LANES, source.count - from);
      hash.block(source.words, from * ENTRY_WORDS, ENTRY_WORDS, n);
      for (let i = 0; i < n; i++) {
        const p = partOf(hash.b[i]!, parts);
        part[e++] = p;
        at[p]!++;
      }
    }
  }
  let sum = 0;
  for (let p = 0; p < parts; p++) {
    const n = at[p]!;
    starts[p] = at[p] = sum;
    sum += n;
  }
  starts[parts] = sum;
  e = 0;
  for (const source of sources) {
    const words = source.words;
    for (let from = 0, end = source.count * ENTRY_WORDS; from < end; from += ENTRY_WORDS) {
      const to = at[part[e++]!]!++ * ENTRY_WORDS;
      out[to] = words[from]!;
      out[to + 1] = words[from + 1]!;
      out[to + 2] = words[from + 2]!;
      out[to + 3] = words[from + 3]!;
      out[to + 4] = words[from + 4]!;
    }
  }
  return out;
}
