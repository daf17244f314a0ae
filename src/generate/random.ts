/**
 * Randomness that is a function of a seed and a number: the stream of event n is the same whoever asks and whenever, so that a
 * resend is made again instead of being kept. sfc32 (Chris Doty-Humphrey), 128 bits of state.
 */
export class Random {
  private a = 0;
  private b = 0;
  private c = 0;
  private d = 0;
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = seed | 0;
  }

  /** Goes to the beginning of the stream of number `n`. */
  reset(n: number): void {
    this.a = this.seed;
    this.b = n | 0;
    this.c = (n / 4294967296) | 0;
    this.d = 1;
    for (let i = 0; i < 10; i++) this.next();
  }

  /** 32 bits, as a signed integer. */
  next(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t;
  }
  /** In [0, 1). */
  unit(): number {
    return (this.next() >>> 0) / 4294967296;
  }
  /** A whole number in [0, n), n at most 2^32. */
  below(n: number): number {
    return Math.floor(this.unit() * n);
  }
}

/** Spreads a number over 32 bits; for choices that must be the same each time a key is made. */
export function scatter(n: number): number {
  let h = Math.imul(n ^ (n >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Numbers in [0, n) by Zipf's law (the k-th is 1/k as frequent as the first), each in constant time (Walker's alias method). */
export class Zipf {
  private readonly share: Float64Array;
  private readonly other: Int32Array;

  constructor(n: number) {
    this.share = new Float64Array(n);
    this.other = new Int32Array(n);
    let total = 0;
    for (let k = 0; k < n; k++) total += 1 / (k + 1);
    const poor: number[] = [],
      rich: number[] = [];
    for (let k = 0; k < n; k++) {
      this.share[k] = n / (k + 1) / total;
      (this.share[k]! < 1 ? poor : rich).push(k);
    }
    while (poor.length > 0 && rich.length > 0) {
      const few = poor.pop()!,
        many = rich[rich.length - 1]!;
      this.other[few] = many;
      this.share[many]! -= 1 - this.share[few]!;
      if (this.share[many]! >= 1) continue;
      rich.pop();
      poor.push(many);
    }
    for (const k of [...poor, ...rich]) this.share[k] = 1;
  }

  draw(random: Random): number {
    const k = random.below(this.share.length);
    return random.unit() < this.share[k]! ? k : this.other[k]!;
  }
}
