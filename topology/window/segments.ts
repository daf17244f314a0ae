/**
 * Windows as bytes. Invariant: decoding the segments of a window in key order gives the window as it was committed, row numbers
 * and all. (Which rows ClickHouse has been told is not kept: see windows.ts.)
 *
 *   key    'W' | table u8 | window start, u32 BE seconds | window end, u32 BE seconds | number of the segment, u32 BE
 *   value  format 1 u8 | level u8 | flags u8: 1 final, 2 goes on the segment before it | slots a row u8
 *          | blocks, of at most 4096 rows each:
 *     rows u32 | rows that bring their key u32, they are the last ones
 *     first row number u32 | column: gap to the row before it, less one
 *     column: 1 corrected | for each slot a column
 *     key hashes, u32 each | column: length of the key | key bytes
 *   column  width u8 | values: width 0: all are 0; 1, 2, 4: unsigned integers; 8: doubles
 *   key 'W' | 255  ->  format 1 u8 | f64 LE: windows that end by it are final
 *
 * All little-endian but the keys. Widths are chosen a block at a time: mostly a slot takes 0 to 4 bytes instead of 8.
 */
import type { RowShape } from './accumulators.ts';
import type { KeyTable } from './keys.ts';
import { bitsAbove } from './levels.ts';
import { CORRECTED } from './window.ts';
import type { Window } from './window.ts';

const FORMAT = 1,
  BLOCK_ROWS = 4096;
const FINAL = 1,
  CONTINUES = 2;
/** A value of the store: large enough to be cheap, small enough that loading one never asks for much at once. */
const PART_BYTES_MAX = 4 << 20;

export const FINAL_TO_KEY: Uint8Array = Buffer.from([0x57, 255]);

export function segmentKey(table: number, start: number, end: number, number: number): Uint8Array {
  const key = Buffer.alloc(14);
  key[0] = 0x57;
  key[1] = table;
  key.writeUInt32BE(start / 1000, 2);
  key.writeUInt32BE(end / 1000, 6);
  key.writeUInt32BE(number, 10);
  return key;
}
export function readSegmentKey(key: Uint8Array): { table: number; start: number; end: number; number: number } {
  const view = new DataView(key.buffer, key.byteOffset, key.length);
  return { table: key[1]!, start: view.getUint32(2) * 1000, end: view.getUint32(6) * 1000, number: view.getUint32(10) };
}

export function encodeFinalTo(finalTo: number): Uint8Array {
  const value = Buffer.alloc(9);
  value[0] = FORMAT;
  value.writeDoubleLE(finalTo, 1);
  return value;
}
export function decodeFinalTo(value: Uint8Array): number {
  if (value[0] !== FORMAT) throw new Error(`window format ${value[0]} is not known`);
  return new DataView(value.buffer, value.byteOffset, value.length).getFloat64(1, true);
}

/** Encodes segments; its buffer is reused, the parts it gives are copies. */
export class SegmentWriter {
  private readonly stride: number;
  private bytes = new Uint8Array(1 << 16);
  private view = new DataView(this.bytes.buffer);
  private length = 0;
  private readonly column = new Float64Array(BLOCK_ROWS);

  constructor(shape: RowShape) {
    this.stride = shape.stride;
  }

  /** The rows picked (ascending row numbers, `n` of them) as the values of one segment: one part or more. */
  encode(w: Window, keys: KeyTable, level: number, firstNew: number, picked: Int32Array, n: number): Uint8Array[] {
    const parts: Uint8Array[] = [];
    for (let from = 0; from < n;) {
      this.length = 0;
      this.room(4);
      this.bytes[0] = FORMAT;
      this.bytes[1] = level;
      this.bytes[2] = (w.final ? FINAL : 0) | (parts.length > 0 ? CONTINUES : 0);
      this.bytes[3] = this.stride;
      this.length = 4;
      for (; from < n && this.length < PART_BYTES_MAX; from += BLOCK_ROWS) {
        this.block(w, keys, firstNew, picked.subarray(from, Math.min(n, from + BLOCK_ROWS)));
      }
      parts.push(this.bytes.slice(0, this.length));
    }
    return parts;
  }

  private block(w: Window, keys: KeyTable, firstNew: number, rows: Int32Array): void {
    const n = rows.length,
      { column, stride } = this,
      { sums, state, key } = w;
    let known = n;
    while (known > 0 && rows[known - 1]! >= firstNew) known--;
    this.room(12 + (n - known) * 4);
    this.u32(n);
    this.u32(n - known);
    this.u32(rows[0]!);
    column[0] = 0;
    for (let k = 1; k < n; k++) column[k] = rows[k]! - rows[k - 1]! - 1;
    this.putColumn(n);
    for (let k = 0; k < n; k++) column[k] = (state[rows[k]!]! & CORRECTED) === 0 ? 0 : 1;
    this.putColumn(n);
    for (let slot = 0; slot < stride; slot++) {
      for (let k = 0; k < n; k++) column[k] = sums[rows[k]! * stride + slot]!;
      this.putColumn(n);
    }
    this.room((n - known) * 4);
    for (let k = known; k < n; k++) this.u32(keys.hashOf(key[rows[k]!]!));
    let bytes = 0;
    for (let k = known; k < n; k++) {
      const id = key[rows[k]!]!,
        length = keys.endOf(id) - keys.startOf(id);
      column[k - known] = length;
      bytes += length;
    }
    this.putColumn(n - known);
    this.room(bytes);
    for (let k = known; k < n; k++) {
      const id = key[rows[k]!]!,
        s = keys.startOf(id),
        e = keys.endOf(id),
        { arena } = keys;
      for (let j = s; j < e; j++) this.bytes[this.length++] = arena[j]!;
    }
  }

  private putColumn(n: number): void {
    const { column } = this;
    let bits = 0,
      wide = false;
    for (let k = 0; k < n; k++) {
      const v = column[k]!;
      bits |= v;
      if (v >>> 0 !== v) {
        wide = true;
        break;
      }
    }
    const width = wide ? 8 : bits === 0 ? 0 : bits >>> 8 === 0 ? 1 : bits >>> 16 === 0 ? 2 : 4;
    this.room(1 + width * n);
    this.bytes[this.length++] = width;
    const { bytes, view } = this;
    let p = this.length;
    if (width === 1) for (let k = 0; k < n; k++) bytes[p++] = column[k]!;
    else if (width === 2) for (let k = 0; k < n; k++, p += 2) view.setUint16(p, column[k]!, true);
    else if (width === 4) for (let k = 0; k < n; k++, p += 4) view.setUint32(p, column[k]!, true);
    else if (width === 8) for (let k = 0; k < n; k++, p += 8) view.setFloat64(p, column[k]!, true);
    this.length = p;
  }

  private u32(v: number): void {
    this.view.setUint32(this.length, v, true);
    this.length += 4;
  }

  private room(n: number): void {
    if (this.length + n <= this.bytes.length) return;
    const wider = new Uint8Array(Math.max(this.bytes.length * 2, this.length + n));
    wider.set(this.bytes.subarray(0, this.length));
    this.bytes = wider;
    this.view = new DataView(wider.buffer);
  }
}

/** Applies the segments of a window, in key order, to one that is new and empty. */
export class SegmentReader {
  private readonly stride: number;
  private readonly keys: KeyTable;
  private readonly column = new Float64Array(BLOCK_ROWS);
  private readonly rows = new Int32Array(BLOCK_ROWS);
  private bytes: Uint8Array = new Uint8Array(0);
  private view: DataView = new DataView(this.bytes.buffer);
  private at = 0;

  constructor(shape: RowShape, keys: KeyTable) {
    this.stride = shape.stride;
    this.keys = keys;
  }

  apply(w: Window, number: number, value: Uint8Array): void {
    if (value[0] !== FORMAT) throw new Error(`window format ${value[0]} is not known`);
    if (value[3] !== this.stride) throw new Error(`rows of ${value[3]} slots, not ${this.stride}: another plan wrote them`);
    if ((value[2]! & FINAL) !== 0 && !w.final)
      throw new Error(`the window from ${w.start} is final in the store, yet the watermark has not passed it`);
    this.bytes = value;
    this.view = new DataView(value.buffer, value.byteOffset, value.length);
    this.at = 4;
    while (this.at < value.length) this.block(w, bitsAbove(value[1]!));
    w.levels.found(value[1]!, number, (value[2]! & CONTINUES) === 0, w.rows);
    this.bytes = new Uint8Array(0);
  }

  private block(w: Window, changed: number): void {
    const n = this.u32(),
      fresh = this.u32(),
      first = this.u32(),
      known = n - fresh,
      { column, rows, stride } = this;
    if (n > BLOCK_ROWS) throw new Error('a block of a window is too long');
    this.takeColumn(n);
    rows[0] = first;
    for (let k = 1; k < n; k++) rows[k] = rows[k - 1]! + column[k]! + 1;
    const columnsAt = this.at;
    for (let slot = -1; slot < stride; slot++) this.skipColumn(n);
    this.takeKeys(w, known, fresh);
    const end = this.at;
    this.at = columnsAt;
    this.takeColumn(n);
    for (let k = 0; k < n; k++) w.state[rows[k]!] = changed | (column[k] === 1 ? CORRECTED : 0);
    for (let slot = 0; slot < stride; slot++) {
      this.takeColumn(n);
      for (let k = 0; k < n; k++) w.sums[rows[k]! * stride + slot] = column[k]!;
    }
    this.at = end;
  }

  private takeKeys(w: Window, known: number, fresh: number): void {
    const { keys, bytes, view, column, rows } = this,
      hashesAt = this.at;
    this.at += fresh * 4;
    this.takeColumn(fresh);
    for (let k = 0; k < fresh; k++) {
      const end = this.at + column[k]!;
      const row = w.restore(keys.intern(view.getInt32(hashesAt + k * 4, true), bytes, view, this.at, end));
      if (row !== rows[known + k]) throw new Error(`row ${rows[known + k]} of the window from ${w.start} came as row ${row}`);
      this.at = end;
    }
  }

  private skipColumn(n: number): void {
    this.at += 1 + this.bytes[this.at]! * n;
  }

  private takeColumn(n: number): void {
    const { column, bytes, view } = this,
      width = bytes[this.at++]!;
    let p = this.at;
    if (width === 0) column.fill(0, 0, n);
    else if (width === 1) for (let k = 0; k < n; k++) column[k] = bytes[p++]!;
    else if (width === 2) for (let k = 0; k < n; k++, p += 2) column[k] = view.getUint16(p, true);
    else if (width === 4) for (let k = 0; k < n; k++, p += 4) column[k] = view.getUint32(p, true);
    else if (width === 8) for (let k = 0; k < n; k++, p += 8) column[k] = view.getFloat64(p, true);
    else throw new Error(`a column of width ${width} in a window`);
    this.at += width * n;
  }

  private u32(): number {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }
}
