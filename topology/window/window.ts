/**
 * One window in memory: its rows in the order in which their keys came, each a number of its own; the index from key number to
 * row; and of each row what has happened to it. Row numbers never change, they are the rows' names in the segments.
 *
 * The index is a page table: keys are numbered by first sight, so the often seen ones share pages and a look-up is two loads
 * without probing; pages of 64 keys are made when one of their keys comes.
 */
import type { RowShape } from './accumulators.ts';
import type { LateTouches } from './late.ts';
import { LevelBook } from './levels.ts';

/** Bits of `state`; the upper six are those of levels.ts. */
export const UNSENT = 1,
  CORRECTED = 2;

const PAGE = 64;

export class Window {
  readonly table: number;
  readonly start: number;
  readonly end: number;
  final: boolean;
  rows = 0;
  /** Row r's slots are sums[r * stride ...]. */
  sums: Float64Array;
  key: Int32Array<ArrayBuffer>;
  /** 1: touched since the last commit. */
  touched: Uint8Array;
  state: Uint8Array;
  /** Rows that the last commit left; those from here on are new. */
  committedRows = 0;
  unsent = 0;
  /** Touched since the last commit. */
  active = false;
  /** Final windows: what late events have touched since the last commit. */
  late: LateTouches | null = null;
  readonly levels = new LevelBook();
  private readonly shape: RowShape;
  /** Page of keys [64 p, 64 p + 64), 0: none; page 0 stays empty. */
  private pages = new Int32Array(64);
  /** Row + 1 of the key, 0: none. */
  private index = new Int32Array(PAGE * 4);
  private pageCount = 1;

  constructor(table: number, start: number, end: number, final: boolean, shape: RowShape, rows = 16) {
    this.table = table;
    this.start = start;
    this.end = end;
    this.final = final;
    this.shape = shape;
    this.sums = new Float64Array(rows * shape.stride);
    this.key = new Int32Array(rows);
    this.touched = new Uint8Array(rows);
    this.state = new Uint8Array(rows);
  }

  get bytes(): number {
    return (
      this.sums.byteLength + this.key.byteLength + this.touched.length + this.state.length + this.pages.byteLength + this.index.byteLength
    );
  }

  /** Rows of keys key[from..to), made where they are missing, into row[from..to). Every key is < keyCount. */
  rowsOf(key: Int32Array, from: number, to: number, keyCount: number, row: Int32Array): void {
    const top = Math.ceil(keyCount / PAGE);
    if (top > this.pages.length) this.pages = widerInts(this.pages, top);
    const { pages, index } = this;
    let missing = false;
    for (let k = from; k < to; k++) {
      const id = key[k]!,
        r = index[(pages[id >>> 6]! << 6) | (id & 63)]! - 1;
      row[k] = r;
      if (r < 0) missing = true;
    }
    if (missing) for (let k = from; k < to; k++) if (row[k]! < 0) row[k] = this.rowOf(key[k]!);
  }

  /** The row of a key below the page table's bound, made when it is missing. */
  private rowOf(key: number): number {
    let page = this.pages[key >>> 6]!;
    if (page === 0) {
      page = this.pageCount++;
      if (this.pageCount * PAGE > this.index.length) this.index = widerInts(this.index, this.pageCount * PAGE);
      this.pages[key >>> 6] = page;
    }
    const at = page * PAGE + (key & (PAGE - 1));
    if (this.index[at] === 0) this.index[at] = this.append(key) + 1;
    return this.index[at]! - 1;
  }

  /** A new row for a key that has none, as rowOf makes it; for rows read from segments. */
  restore(key: number): number {
    if (key >>> 6 >= this.pages.length) this.pages = widerInts(this.pages, (key >>> 6) + 1);
    const row = this.rowOf(key);
    if (row !== this.rows - 1) throw new Error(`a key stands twice in the segments of the window from ${this.start}`);
    return row;
  }

  private append(key: number): number {
    const row = this.rows++,
      { stride, nothing } = this.shape;
    if (row >= this.key.length) this.grow(row * 2);
    this.key[row] = key;
    for (const slot of nothing) this.sums[row * stride + slot] = NaN;
    return row;
  }

  private grow(rows: number): void {
    const sums = new Float64Array(rows * this.shape.stride),
      touched = new Uint8Array(rows),
      state = new Uint8Array(rows);
    sums.set(this.sums);
    touched.set(this.touched);
    state.set(this.state);
    this.sums = sums;
    this.touched = touched;
    this.state = state;
    this.key = widerInts(this.key, rows);
  }

  /** After the key table gave new numbers. */
  rekey(map: Int32Array, keyCount: number): void {
    this.pages = new Int32Array(Math.ceil((keyCount + 1) / PAGE));
    this.index = new Int32Array(PAGE * 4);
    this.pageCount = 1;
    const rows = this.rows,
      keys = this.key;
    for (let row = 0; row < rows; row++) {
      const key = map[keys[row]!]!;
      if (key < 0) throw new Error('a key that a window uses was dropped');
      keys[row] = key;
      let page = this.pages[key >>> 6]!;
      if (page === 0) {
        page = this.pageCount++;
        if (this.pageCount * PAGE > this.index.length) this.index = widerInts(this.index, this.pageCount * PAGE);
        this.pages[key >>> 6] = page;
      }
      this.index[page * PAGE + (key & (PAGE - 1))] = row + 1;
    }
  }
}

function widerInts(from: Int32Array<ArrayBuffer>, atLeast: number): Int32Array<ArrayBuffer> {
  const wider = new Int32Array(Math.max(from.length * 2, atLeast));
  wider.set(from);
  return wider;
}
