/**
 * Rows and changes of windows in RowBinary, in the column order of layout.ts. A group key is copied as it is: its bytes are
 * those of RowBinary for the dimensions' types. Full chunks are held until `flush`, so that a table's rows go before its changes.
 */
import type { Plan } from '../plan.ts';
import type { RowShape } from '../window/accumulators.ts';
import type { KeyTable } from '../window/keys.ts';
import { insertTarget } from './layout.ts';
import type { TableLayout } from './layout.ts';
import { RowBinary } from './row-binary.ts';

export type Emit = (target: string, rows: number, body: Uint8Array) => void;
export const INSERTED = 1,
  UPDATED_FROM = 2,
  UPDATED_TO = 3;

const CHUNK_BYTES_MAX = 4 << 20,
  CHUNK_ROWS_MAX = 50_000;
/** A measure takes at most a null marker and 8 bytes; before them both bounds and the shard, after them the rest of a row. */
const MEASURE_BYTES = 9,
  FIXED_BYTES = 64;

const COUNT = 0,
  SUM = 1,
  LEAST = 2,
  LEAST_FLOAT = 3;

export class WindowRows {
  readonly target: string;
  private readonly out = new RowBinary();
  private readonly held: { rows: number; body: Uint8Array }[] = [];
  private readonly shard: number;
  private readonly kinds: Uint8Array;
  private readonly room: number;

  constructor(plan: Plan, layout: TableLayout, shape: RowShape, shard: number) {
    this.target = insertTarget(layout);
    this.shard = shard;
    this.kinds = Uint8Array.from(shape.accumulators, (a) => ({ count: COUNT, sum: SUM, least: LEAST, 'least-float': LEAST_FLOAT })[a.kind]);
    this.room = plan.measures.length * MEASURE_BYTES + FIXED_BYTES;
  }

  /** `slots[base...]` are the row's values. */
  row(
    startMs: number,
    endMs: number,
    keys: KeyTable,
    key: number,
    slots: Float64Array,
    base: number,
    corrected: number,
    version: number,
  ): void {
    this.shared(startMs, endMs, keys, key, slots, base);
    this.out.u8(corrected);
    this.out.int(version);
    this.endRow();
  }

  change(
    startMs: number,
    endMs: number,
    keys: KeyTable,
    key: number,
    slots: Float64Array,
    base: number,
    op: number,
    cause: string,
    version: number,
    changedAt: number,
  ): void {
    const { out } = this;
    this.shared(startMs, endMs, keys, key, slots, base);
    out.u8(op);
    out.u8(op === UPDATED_FROM ? 255 : 1);
    if (cause === '') out.u8(0);
    else out.string(cause);
    out.int(version);
    out.int(changedAt);
    this.endRow();
  }

  /** Columns that rows and changes have in common: everything up to the measures. */
  private shared(startMs: number, endMs: number, keys: KeyTable, key: number, slots: Float64Array, base: number): void {
    const { out, kinds } = this,
      from = keys.startOf(key),
      length = keys.endOf(key) - from;
    out.reserve(this.room + length);
    const { view } = out,
      own = keys.view;
    let p = out.length,
      s = base;
    view.setUint32(p, startMs / 1000, true);
    view.setUint32(p + 4, endMs / 1000, true);
    p += 8;
    const whole = length & ~3;
    for (let j = 0; j < whole; j += 4) view.setInt32(p + j, own.getInt32(from + j, true), true);
    for (let j = whole; j < length; j++) view.setUint8(p + j, own.getUint8(from + j));
    p += length;
    view.setUint16(p, this.shard, true);
    p += 2;
    for (let m = 0; m < kinds.length; m++) {
      const kind = kinds[m]!;
      if (kind === COUNT) {
        const n = slots[s++]!;
        view.setUint32(p, n, true);
        view.setUint32(p + 4, n / 4294967296, true);
        p += 8;
      } else if (kind === LEAST_FLOAT) {
        const v = slots[s++]!;
        view.setUint8(p++, v === v ? 0 : 1);
        if (v === v) {
          view.setFloat64(p, v, true);
          p += 8;
        }
      } else {
        const lo = slots[s]!,
          hi = slots[s + 1]!;
        s += 2;
        if (kind === LEAST) view.setUint8(p++, hi === hi ? 0 : 1);
        if (hi === hi) {
          view.setUint32(p, lo, true);
          view.setInt32(p + 4, hi, true);
          p += 8;
        }
      }
    }
    out.length = p;
  }

  private endRow(): void {
    const { out } = this;
    out.rows++;
    if (out.length >= CHUNK_BYTES_MAX || out.rows >= CHUNK_ROWS_MAX) this.hold();
  }

  private hold(): void {
    const { rows } = this.out;
    if (rows > 0) this.held.push({ rows, body: this.out.take() });
  }

  flush(emit: Emit): void {
    this.hold();
    for (const { rows, body } of this.held) emit(this.target, rows, body);
    this.held.length = 0;
  }
}
