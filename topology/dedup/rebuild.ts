/**
 * A directory made anew from the identities, a little with every slice, while the old one goes on answering: an hour's parts, then what came
 * after them by place, as often as something has come since. No hour may be compacted meanwhile: its entries would change places unseen.
 */
import { Directory, IN_PARTS } from './directory.ts';
import { ENTRY_WORDS } from './entries.ts';
import type { Hour } from './hour.ts';
import type { Identities } from './identities.ts';
import type { IdentityHash } from './identity-hash.ts';

interface Done {
  parts: number;
  /** Places before this one. */
  place: number;
}

export class Rebuild {
  readonly directory: Directory = new Directory();
  readonly #identities: Identities;
  readonly #hash: IdentityHash;
  readonly #done = new Map<Hour, Done>();
  #left = 0;

  constructor(identities: Identities, hash: IdentityHash, slots: number) {
    this.#identities = identities;
    this.#hash = hash;
    this.directory.reset(slots);
  }

  /** Puts in about that many identities; true when all are in. */
  step(entries: number): boolean {
    this.#left = entries;
    for (const hour of this.#identities.hours.values()) {
      let done = this.#done.get(hour);
      if (done === undefined) this.#done.set(hour, (done = { parts: 0, place: hour.rawFrom }));
      while (done.parts < hour.parts) {
        if (this.#left <= 0) return false;
        this.#insert(hour, this.#identities.part(hour, done.parts++), IN_PARTS);
      }
      while (done.place < hour.raw.end) {
        if (this.#left <= 0) return false;
        const words = this.#identities.piece(hour, done.place, this.#left);
        this.#insert(hour, words, done.place);
        done.place += words.length / ENTRY_WORDS;
      }
    }
    return true;
  }

  #insert(hour: Hour, words: Uint32Array, place: number): void {
    const count = words.length / ENTRY_WORDS;
    if (!this.directory.insert(words, ENTRY_WORDS, count, hour.tag, place, this.#hash))
      throw new Error('a directory made for its identities is full');
    this.#left -= count;
  }
}
