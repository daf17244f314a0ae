/**
 * Where the oracle finds what it has seen: rows by a 32-bit hash, numbered as they come, in typed arrays outside the heap, so that tens
 * of millions of them cost bytes and not objects. Whoever uses it keeps the columns and says which row of that hash is meant.
 */
const FULL = 0.7;

export class HashIndex {
  /** Rows so far. */
  count = 0;
  /** Row + 1; 0: free. */
  private slots = new Int32Array(1 << 10);
  private hashes = new Uint32Array(1 << 9);
  private hash = 0;
  private at = 0;

  /** The first row of this hash, or -1. */
  first(hash: number): number {
    this.hash = hash >>> 0;
    this.at = this.home(this.hash);
    return this.here();
  }

  /** The next one of the hash that was asked for last, or -1. */
  next(): number {
    this.step();
    return this.here();
  }

  /** One more row of that hash, after -1. */
  add(): number {
    const row = this.count++;
    this.hashes = withRoom(this.hashes, this.count);
    this.hashes[row] = this.hash;
    this.slots[this.at] = row + 1;
    if (this.count > FULL * this.slots.length) this.grow();
    return row;
  }

  private here(): number {
    for (; ; this.step()) {
      const row = this.slots[this.at]! - 1;
      if (row < 0 || this.hashes[row] === this.hash) return row;
    }
  }

  /** Neighbours of a number spread, too: hashes need not be good. */
  private home(hash: number): number {
    return (Math.imul(hash ^ (hash >>> 15), 0x9e3779b1) >>> 4) & (this.slots.length - 1);
  }

  private step(): void {
    this.at = (this.at + 1) & (this.slots.length - 1);
  }

  private grow(): void {
    this.slots = new Int32Array(2 * this.slots.length);
    for (let row = 0; row < this.count; row++) {
      this.at = this.home(this.hashes[row]!);
      while (this.slots[this.at] !== 0) this.step();
      this.slots[this.at] = row + 1;
    }
  }
}

export type Column = Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** The column itself, or a longer one with its contents: then the old one is gone. */
export function withRoom<C extends Column>(column: C, length: number): C {
  if (length <= column.length) return column;
  const Of = column.constructor as new (buffer: ArrayBuffer) => C;
  return new Of(column.buffer.transfer(Math.max(2 * column.length, length) * column.BYTES_PER_ELEMENT));
}
