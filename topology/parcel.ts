/**
 * What the intake hands to the shard: the records of one or more whole batches in the order in which they count, the events that the gates
 * made of them, and what the gates turned away. A parcel is filled, taken and filled again; its memory may be shared, so that one thread
 * fills while another takes. It is full at some thousand records or two MiB; a batch that is larger makes it grow.
 */
import { EventColumns } from './batch.ts';
import type { Gate, Rejection } from './batch.ts';
import { Records } from './consume/records.ts';
import { onHeap } from './memory.ts';
import type { Allocate } from './memory.ts';

/** Half as many records cost 6 % more CPU a record, twice as many 5 %. */
const FULL_RECORDS = 8192;
const FULL_BYTES = 2 << 20;
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
    this.events.count = 0;
  }

  /** Puts the events of its records from..to behind those that are there, a slice at a time: many records need not be many events. */
  gate(gate: Gate, from: number, to: number): void {
    for (let at = from; at < to; at += FULL_RECORDS) {
      const end = Math.min(to, at + FULL_RECORDS);
      this.#reserve(end - at);
      gate.add(this.records, at, end, this.events, this.rejected);
    }
  }

  #reserve(more: number): void {
    const { events } = this,
      n = events.count;
    if (n + more <= events.capacity) return;
    const wider = new EventColumns(2 * (n + more), this.#inputs, this.#allocate),
      keys = n === 0 ? 0 : events.keyEnd[n - 1]!;
    if (wider.keyBytes.length < keys) wider.growKeys(keys);
    wider.record.set(events.record.subarray(0, n));
    wider.id.set(events.id.subarray(0, 4 * n));
    wider.time.set(events.time.subarray(0, n));
    wider.fingerprint.set(events.fingerprint.subarray(0, n));
    wider.keyHash.set(events.keyHash.subarray(0, n));
    wider.keyEnd.set(events.keyEnd.subarray(0, n));
    wider.keyBytes.set(events.keyBytes.subarray(0, keys));
    wider.where.set(events.where.subarray(0, n));
    for (let j = 0; j < this.#inputs; j++) {
      wider.lo[j]!.set(events.lo[j]!.subarray(0, n));
      wider.hi[j]!.set(events.hi[j]!.subarray(0, n));
    }
    wider.count = n;
    this.events = wider;
  }
}
