/**
 * Two keyed 32-bit lanes over the four words of an identity: lane a is an identity's home (in the directory and in an hour's index),
 * lane b tells identities of one home apart and names the part of a cold hour. UUIDv7 has little entropy in front, and ids come
 * from strangers: so the multipliers are secret too, and two of them stand between any two words.
 */
export const LANES = 64;

export class IdentityHash {
  /** The lanes of the last block. */
  readonly a = new Int32Array(LANES);
  readonly b = new Int32Array(LANES);
  readonly #key: Int32Array;

  constructor(key: readonly [number, number]) {
    this.#key = new Int32Array(6);
    this.#key[0] = key[0];
    this.#key[1] = key[1];
    for (let i = 2; i < 6; i++) this.#key[i] = finish(finish(key[0] + Math.imul(i, 0x9e3779b9)) ^ key[1]) | 1;
  }

  /** Hashes `count` <= LANES identities; the first at words[at], the next `stride` words on. */
  block(words: Uint32Array, at: number, stride: number, count: number): void {
    const a = this.a,
      b = this.b;
    const ka = this.#key[0]!,
      kb = this.#key[1]!,
      m0 = this.#key[2]!,
      m1 = this.#key[3]!,
      m2 = this.#key[4]!,
      m3 = this.#key[5]!;
    for (let i = 0; i < count; i++, at += stride) {
      let x = ka,
        y = kb;
      for (let j = 0; j < 4; j++) {
        const word = words[at + j]!;
        x = Math.imul(x ^ word, m0);
        x = Math.imul(x ^ (x >>> 15), m1);
        x ^= x >>> 16;
        y = Math.imul(y ^ word, m2);
        y = Math.imul(y ^ (y >>> 14), m3);
        y ^= y >>> 17;
      }
      a[i] = x;
      b[i] = y;
    }
  }

  /** A word that differs when the key differs: stored beside what was placed by the hash. */
  check(): number {
    this.block(CHECKED, 0, 4, 1);
    return (this.a[0]! ^ this.b[0]!) >>> 0;
  }
}

const CHECKED = Uint32Array.of(0x54414c4c, 0x59, 1, 2);

function finish(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
