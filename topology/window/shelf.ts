/**
 * The windows of one table that stand in the store, by start, and the way there and back. Only this file reads and writes 'W'
 * keys. Which windows exist is known from their keys alone; values are read when a window is needed.
 */
import type { RowShape } from './accumulators.ts';
import type { KeyTable } from './keys.ts';
import { bitsAbove, changedBit, WHOLE } from './levels.ts';
import { decodeFinalTo, encodeFinalTo, FINAL_TO_KEY, readSegmentKey, segmentKey, SegmentReader, SegmentWriter } from './segments.ts';
import { Window } from './window.ts';
import type { Store, StoreBatch } from '../../state/store.ts';

const NUMBER_MAX = 0xffffffff;
/** Keys read at a time when the store is listed. */
const PAGE_KEYS = 4096;

export class Shelf {
  /** Of each table: start -> end of the windows in the store. */
  readonly stored: readonly Map<number, number>[];
  private readonly store: Store;
  private readonly shape: RowShape;
  private readonly keys: KeyTable;
  private readonly writer: SegmentWriter;
  private readonly reader: SegmentReader;
  private picked = new Int32Array(1024);

  constructor(store: Store, tables: number, shape: RowShape, keys: KeyTable) {
    this.store = store;
    this.shape = shape;
    this.keys = keys;
    this.writer = new SegmentWriter(shape);
    this.reader = new SegmentReader(shape, keys);
    this.stored = Array.from({ length: tables }, () => new Map<number, number>());
  }

  /** Finds which windows exist. Gives the moment up to which they are final, or undefined when nothing was ever written. */
  open(): number | undefined {
    let from: Uint8Array = Buffer.from('W');
    for (;;) {
      const page = this.store.keys(from, FINAL_TO_KEY, PAGE_KEYS);
      for (const key of page) {
        const { table, start, end } = readSegmentKey(key),
          windows = this.stored[table];
        if (windows === undefined) throw new Error(`the state holds windows of a table ${table} that the plan does not have`);
        windows.set(start, end);
      }
      if (page.length < PAGE_KEYS) break;
      from = Buffer.concat([page[page.length - 1]!, Buffer.from([0])]);
    }
    const finalTo = this.store.get(FINAL_TO_KEY);
    return finalTo === undefined ? undefined : decodeFinalTo(finalTo);
  }

  load(table: number, start: number, end: number, final: boolean): Window {
    const w = new Window(table, start, end, final, this.shape);
    for (const [key, value] of this.store.range(segmentKey(table, start, end, 0), segmentKey(table, start, end, NUMBER_MAX))) {
      this.reader.apply(w, readSegmentKey(key).number, value);
    }
    if (w.rows === 0) throw new Error(`the window from ${start} stands in the store without rows`);
    w.committedRows = w.rows;
    return w;
  }

  /** Writes what changed in a window since the last commit, or all of it. The window is clean afterwards. */
  save(w: Window, whole: boolean, batch: StoreBatch): void {
    const planned = w.levels.plan(whole),
      n = this.pick(w, planned.level);
    if (n === 0) throw new Error('a window without a change is written');
    const parts = this.writer.encode(w, this.keys, planned.level, planned.firstNew, this.picked, n);
    for (const number of planned.replaced) batch.del(segmentKey(w.table, w.start, w.end, number));
    const first = w.levels.wrote(planned, parts.length, w.rows);
    for (const [k, part] of parts.entries()) batch.put(segmentKey(w.table, w.start, w.end, first + k), part);
    const rest = bitsAbove(planned.level) | 3;
    if (planned.level > 0) for (let k = 0; k < n; k++) w.state[this.picked[k]!]! &= rest;
    w.touched.fill(0, 0, w.rows);
    w.active = false;
    w.committedRows = w.rows;
    this.stored[w.table]!.set(w.start, w.end);
  }

  /** The rows that a segment of this level holds, ascending, into `picked`. */
  private pick(w: Window, level: number): number {
    const { rows, touched, state } = w;
    if (this.picked.length < rows) this.picked = new Int32Array(rows * 2);
    const { picked } = this;
    let n = 0;
    if (level === WHOLE) for (; n < rows; n++) picked[n] = n;
    else if (level === 0) {
      for (let r = 0; r < rows; r++) if (touched[r] !== 0) picked[n++] = r;
    } else {
      const bit = changedBit(level);
      for (let r = 0; r < rows; r++) if ((state[r]! & bit) !== 0) picked[n++] = r;
    }
    return n;
  }

  forget(table: number, start: number, batch: StoreBatch): void {
    const end = this.stored[table]!.get(start);
    if (end === undefined) return;
    for (const key of this.store.keys(segmentKey(table, start, end, 0), segmentKey(table, start, end, NUMBER_MAX))) batch.del(key);
    this.stored[table]!.delete(start);
  }

  saveFinalTo(finalTo: number, batch: StoreBatch): void {
    batch.put(FINAL_TO_KEY, encodeFinalTo(finalTo));
  }
}
