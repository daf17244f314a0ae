/**
 * What the intake hands to the shard: the records of one or more whole batches in the order in which they count, the events that the gates
 * made of them, and what the gates turned away. A parcel is filled, taken and filled again; its memory may be shared, so that one thread
 * fills while another takes. It is full at some thousand records or a MiB; a batch that is larger makes it grow.
 */
import { EventColumns } from './batch.ts';
import type { Rejection } from './batch.ts';
import { Records } from './consume/records.ts';
import { onHeap } from './memory.ts';
import type { Allocate } from './memory.ts';

/** Columns of this many events stay in the second-level cache. */
const FULL_RECORDS = 4096;
const FULL_BYTES = 1 << 20;
/** Room for a batch of the usual size when the parcel is all but full. */
const RECORDS = 2 * FULL_RECORDS;
export const PARCEL_BYTES = 2 * FULL_BYTES + (64 << 10);

/** A run of records of one partition; records between runs count for nothing. */
export interface Piece {
  /** Index of the partition in the shard's position. */
  readonly place: number;
  readonly from: number;
  readonly to: number;
  /** Events of this run and all before it. */
  readonly events: number;
  /** Where the partition is read on from, and of the batch before: its leader epoch and its checksum. */
  readonly nextOffset: number;
  readonly leaderEpoch: number;
  readonly crc: number;
  /** Over a hop, where a writer has said how far the partition is: its highest event time, and what was never read of it. */
  readonly says?: { readonly high: number; readonly skipped: readonly (readonly [number, number])[] };
}
/** How far a partition of a hop was read. */
export interface HopStep {
  /** Index in the position's `hops`. */
  readonly place: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly crc: number;
}

/** The columns alone: plain data, of which another thread makes its own view. */
export interface ParcelColumns {
  readonly records: Records;
  readonly events: EventColumns;
}
export interface Parcel extends ParcelColumns {
  readonly pieces: readonly Piece[];
  /** Nothing, unless the records came over a hop: then a piece is a run of one source's partition. */
  readonly hops: readonly HopStep[];
  /** By record, ascending. */
  readonly rejected: readonly Rejection[];
}

/** A parcel as it is filled. */
export class OpenParcel implements Parcel {
  records: Records;
  events: EventColumns;
  readonly pieces: Piece[] = [];
  readonly hops: HopStep[] = [];
  readonly rejected: Rejection[] = [];
  /** Of `events.keyBytes`, how much is used. */
  keyBytes = 0;
  readonly #inputs: number;
  readonly #allocate: Allocate;
  readonly #bytes: Uint8Array;
  readonly #keepsHeaders: boolean;

  /** `inputs`: the most that any source has. `bytes`: where records stand as long as there is room. */
  constructor(
    inputs: number,
    allocate: Allocate = onHeap,
    bytes: Uint8Array = new Uint8Array(allocate(PARCEL_BYTES)),
    keepsHeaders: boolean = false,
  ) {
    this.#inputs = inputs;
    this.#allocate = allocate;
    this.#bytes = bytes;
    this.#keepsHeaders = keepsHeaders;
    this.records = new Records(allocate, keepsHeaders);
    this.records.reserve(RECORDS);
    this.records.bytes = bytes;
    this.events = new EventColumns(RECORDS, inputs, allocate);
  }

  get isFull(): boolean {
    return this.records.count >= FULL_RECORDS || this.records.used >= FULL_BYTES;
  }

  /** Empty again. What grew for something unusually large is let go. */
  clear(): void {
    this.pieces.length = this.hops.length = this.rejected.length = 0;
    if (this.records.capacity > 4 * RECORDS) {
      this.records = new Records(this.#allocate, this.#keepsHeaders);
      this.records.reserve(RECORDS);
      this.events = new EventColumns(RECORDS, this.#inputs, this.#allocate);
    }
    this.records.bytes = this.#bytes;
    this.records.clear();
    this.events.count = this.keyBytes = 0;
  }

  /** Puts a slice of events behind those that are there. */
  append(from: EventColumns): void {
    const n = from.count;
    if (n === 0) return;
    const keys = from.keyEnd[n - 1]!;
    if (this.events.count + n > this.events.capacity) this.#grow(n);
    if (this.keyBytes + keys > this.events.keyBytes.length) this.#growKeys(keys);
    appendEvents(this.events, from, this.keyBytes);
    this.keyBytes += keys;
  }

  #grow(more: number): void {
    const before = this.events,
      wider = new EventColumns(2 * (before.count + more), this.#inputs, this.#allocate);
    if (wider.keyBytes.length < this.keyBytes) wider.keyBytes = new Uint8Array(this.#allocate(2 * this.keyBytes));
    if (before.count > 0) appendEvents(wider, before, 0);
    this.events = wider;
  }

  #growKeys(more: number): void {
    const wider = new Uint8Array(this.#allocate(2 * (this.keyBytes + more)));
    wider.set(this.events.keyBytes.subarray(0, this.keyBytes));
    this.events.keyBytes = wider;
  }
}

function appendEvents(into: EventColumns, from: EventColumns, keyBytes: number): void {
  const at = into.count,
    n = from.count;
  into.record.set(from.record.subarray(0, n), at);
  into.id.set(from.id.subarray(0, 4 * n), 4 * at);
  into.time.set(from.time.subarray(0, n), at);
  into.fingerprint.set(from.fingerprint.subarray(0, n), at);
  into.keyHash.set(from.keyHash.subarray(0, n), at);
  into.where.set(from.where.subarray(0, n), at);
  for (let j = 0; j < from.lo.length; j++) {
    into.lo[j]!.set(from.lo[j]!.subarray(0, n), at);
    into.hi[j]!.set(from.hi[j]!.subarray(0, n), at);
  }
  into.keyBytes.set(from.keyBytes.subarray(0, from.keyEnd[n - 1]!), keyBytes);
  const { keyEnd } = into;
  for (let i = 0; i < n; i++) keyEnd[at + i] = from.keyEnd[i]! + keyBytes;
  into.count = at + n;
}
