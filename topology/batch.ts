/**
 * What the gate hands on: the valid events of a slice of records of one source, as columns. The gate owns the arrays and
 * reuses them for the next slice; a parcel holds the events of many. Nothing here is an object per event.
 *
 * 64-bit integers are two doubles: value = hi * 2^32 + lo, 0 <= lo < 2^32, -2^31 <= hi < 2^31. An absent optional field has
 * hi = NaN. A float64 input has its value in lo and hi = 0.
 *
 * The group key is the dimensions in the plan's order, in canonical bytes: string: varint length (LEB128) then UTF-8;
 * integer: 8 bytes little-endian two's complement; boolean: one byte 0 or 1.
 */
import { onHeap } from './memory.ts';
import type { Allocate } from './memory.ts';
import type { Records } from './consume/records.ts';
import type { Code } from './contract/model.ts';

export class EventColumns {
  count = 0;
  readonly capacity: number;
  /** Index of the event's record in its `Records`; ascending. */
  readonly record: Int32Array;
  /** Four words an event: the 128-bit identity. */
  readonly id: Uint32Array;
  readonly time: Float64Array;
  /** 32 bits over the typed values of every field that the job reads, and the source's number. */
  readonly fingerprint: Uint32Array;
  readonly keyHash: Uint32Array;
  /** Event i's group key is keyBytes[keyEnd[i-1] ?? 0 .. keyEnd[i]]. */
  readonly keyEnd: Int32Array;
  keyBytes: Uint8Array;
  /** Bit b: the b-th distinct non-empty `where` of this source holds (`sourceInputs(plan, source).wheres`). */
  readonly where: Uint32Array;
  /** One pair of columns per distinct field that measures of this source read (`sourceInputs(plan, source).fields`). */
  readonly lo: readonly Float64Array[];
  readonly hi: readonly Float64Array[];
  readonly #allocate: Allocate;

  constructor(capacity: number, inputs: number, allocate: Allocate = onHeap) {
    this.capacity = capacity;
    this.#allocate = allocate;
    this.record = new Int32Array(allocate(capacity * 4));
    this.id = new Uint32Array(allocate(capacity * 16));
    this.time = new Float64Array(allocate(capacity * 8));
    this.fingerprint = new Uint32Array(allocate(capacity * 4));
    this.keyHash = new Uint32Array(allocate(capacity * 4));
    this.keyEnd = new Int32Array(allocate(capacity * 4));
    this.keyBytes = new Uint8Array(allocate(capacity * 64));
    this.where = new Uint32Array(allocate(capacity * 4));
    this.lo = Array.from({ length: inputs }, () => new Float64Array(allocate(capacity * 8)));
    this.hi = Array.from({ length: inputs }, () => new Float64Array(allocate(capacity * 8)));
  }

  /** Makes room for keys of so many bytes in all; what stands there stays. */
  growKeys(room: number): void {
    const wider = new Uint8Array(this.#allocate(2 * room));
    wider.set(this.keyBytes);
    this.keyBytes = wider;
  }
}

/** What the gate turned away; `record` ascending. Bounded by the slice that was scanned. */
export interface Rejection {
  readonly record: number;
  readonly code: Code;
  readonly field: string;
  readonly detail: string;
}

/** The gate of one source: looks at records[from..to); valid events go to columns, the rest to `rejected`. */
export interface Gate {
  /** Its own columns, which each `scan` uses again: so many events at most as they have room for. */
  readonly out: EventColumns;
  scan(records: Records, from: number, to: number, rejected: Rejection[]): EventColumns;
  /** Events behind those that stand in `out`; there must be room for them. */
  add(records: Records, from: number, to: number, out: EventColumns, rejected: Rejection[]): void;
}

/** What admission and dedup say of an event, one byte each. */
export const FRESH = 0,
  DUPLICATE = 1,
  CONFLICT = 2,
  EXPIRED = 3;
