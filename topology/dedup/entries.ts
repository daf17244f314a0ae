/**
 * Identities of an hour's parts in memory: five words each, four of identity and one of fingerprint. Nobody keeps their places, so they get
 * an index when they are first asked.
 */
import { CONFLICT, DUPLICATE, FRESH } from '../batch.ts';
import { LANES } from './identity-hash.ts';
import type { IdentityHash } from './identity-hash.ts';

export const ENTRY_WORDS = 5;
export const ENTRY_BYTES = 20;

export class Entries {
  readonly words: Uint32Array;
  count = 0;
  touched = 0;
  /** Entry + 1 at its home; 0 is empty. */
  #index: Int32Array | null = null;

  constructor(capacity: number) {
    this.words = new Uint32Array(capacity * ENTRY_WORDS);
  }

  bytes(): number {
    return this.words.byteLength + (this.#index?.byteLength ?? 0);
  }

  /** FRESH: not here. `home` is lane a of the identity. */
  find(id: Uint32Array, p: number, fingerprint: number, home: number, hash: IdentityHash): number {
    const index = this.#index ?? this.#makeIndex(hash),
      mask = index.length - 1,
      words = this.words;
    const w0 = id[p]!,
      w1 = id[p + 1]!,
      w2 = id[p + 2]!,
      w3 = id[p + 3]!;
    for (let i = home & mask; ; i = (i + 1) & mask) {
      const entry = index[i]!;
      if (entry === 0) return FRESH;
      const at = (entry - 1) * ENTRY_WORDS;
      if (words[at] === w0 && words[at + 1] === w1 && words[at + 2] === w2 && words[at + 3] === w3) {
        return words[at + 4] === fingerprint ? DUPLICATE : CONFLICT;
      }
    }
  }

  /** Made once: what stands in parts does not grow. */
  #makeIndex(hash: IdentityHash): Int32Array {
    const index = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(32, this.count * 2)))),
      mask = index.length - 1,
      homes = hash.a;
    for (let from = 0; from < this.count; from += LANES) {
      const n = Math.min(LANES, this.count - from);
      hash.block(this.words, from * ENTRY_WORDS, ENTRY_WORDS, n);
      let sum = 0;
      for (let i = 0; i < n; i++) sum += index[homes[i]! & mask]! & 1;
      this.touched = sum;
      for (let i = 0; i < n; i++) {
        let at = homes[i]! & mask;
        while (index[at] !== 0) at = (at + 1) & mask;
        index[at] = from + i + 1;
      }
    }
    return (this.#index = index);
  }
}

/** Looks through entries that have no index: a part of some thousand is read faster than it is indexed. */
export function scan(words: Uint32Array, count: number, id: Uint32Array, p: number, fingerprint: number): number {
  const w0 = id[p]!,
    w1 = id[p + 1]!,
    w2 = id[p + 2]!,
    w3 = id[p + 3]!;
  for (let at = 0, end = count * ENTRY_WORDS; at < end; at += ENTRY_WORDS) {
    if (words[at] === w0 && words[at + 1] === w1 && words[at + 2] === w2 && words[at + 3] === w3) {
      return words[at + 4] === fingerprint ? DUPLICATE : CONFLICT;
    }
  }
  return FRESH;
}
