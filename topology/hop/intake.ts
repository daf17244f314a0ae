/**
 * The intake of a shard whose records come over a hop: batches of internal topics in, into the parcel the records of the sources, under
 * their own partitions, offsets and times. A source record that was had before is dropped here, so that each counts as read once however
 * often it was sent; what writers say of themselves (markers) becomes pieces in its place among the records.
 */
import type { Gate } from '../batch.ts';
import { CRC_AT, int32At, LEADER_EPOCH_AT, uint32At } from '../consume/batch-header.ts';
import { appendBatch } from '../consume/cursor.ts';
import type { Codecs } from '../consume/cursor.ts';
import { compileGate } from '../contract/gate.ts';
import type { Contract } from '../contract/model.ts';
import type { OpenParcel } from '../parcel.ts';
import type { Plan } from '../plan.ts';
import type { PartitionPosition } from '../position.ts';
import { decodeMarker, unwrap } from './format.ts';
import type { Marker, Stamp } from './format.ts';

export interface HopIntakeOptions {
  readonly plan: Plan;
  /** In the order of plan.sources. */
  readonly contracts: readonly Contract[];
  readonly hashKey: readonly [number, number];
  readonly codecs: Codecs;
  /** Who must have written what is read. `from` is asked of a state that is new, else null. */
  readonly stamp: Omit<Stamp, 'from'> & { readonly from: string | null };
  /** The partitions of the hop, in the order of the position's. */
  readonly hops: readonly { readonly source: number; readonly topic: string; readonly offset: number }[];
  /** The sources' partitions, in the position's order: all of them. */
  readonly sources: readonly Pick<PartitionPosition, 'source' | 'partition' | 'offset' | 'heard'>[];
  /** For others to see: by slice, no record that is still to come is older; 0: nothing was heard. */
  readonly times: SharedArrayBuffer;
}

/** The internal topic was written for something else. */
export class StampError extends Error {
  readonly what: keyof Stamp;
  readonly topic: string;
  readonly found: string;
  constructor(topic: string, what: keyof Stamp, found: string) {
    super(`the internal topic ${topic} was written for another ${what}: ${found}`);
    this.name = 'StampError';
    this.what = what;
    this.topic = topic;
    this.found = found;
  }
}

const HAD = -1;

export class HopIntake {
  /** By source partition: every record below it that belongs here was taken. */
  readonly next: Float64Array;
  /** The same, as a writer last said: what stands below it was sent here or elsewhere. */
  readonly heard: Float64Array;
  /** Where it ends, as its writer last knew. */
  readonly ends: Float64Array;
  /** Writer's and reader's clocks when the last marker was written and taken; -Infinity: none was. */
  readonly saidAt: Float64Array;
  readonly heardAt: Float64Array;
  /** By slice: what it says of the records that are still to come (`Marker.time`). */
  private readonly times: Float64Array;
  private readonly o: HopIntakeOptions;
  private readonly gates: readonly Gate[];
  /** By hop: where it is read on from. */
  private readonly offsets: number[];
  /** Of each source: where its partitions stand among `sources`. */
  private readonly placesOf: readonly Int32Array[];
  private readonly caughtUp: Uint8Array;
  private readonly heardHigh: Float64Array;
  /** By record of the batch at hand: the place of its source partition, or HAD. */
  private place = new Int32Array(0);

  constructor(o: HopIntakeOptions) {
    this.o = o;
    this.gates = o.contracts.map((contract, source) => compileGate(contract, o.plan, source, o.hashKey));
    this.offsets = o.hops.map((h) => h.offset);
    this.next = Float64Array.from(o.sources, (p) => p.offset);
    this.ends = Float64Array.from(this.next);
    this.times = new Float64Array(o.times);
    this.saidAt = new Float64Array(o.sources.length).fill(-Infinity);
    this.heardAt = Float64Array.from(this.saidAt);
    this.heard = Float64Array.from(o.sources, (p) => p.heard ?? -Infinity);
    this.heardHigh = Float64Array.from(this.saidAt);
    this.caughtUp = new Uint8Array(o.sources.length);
    this.placesOf = o.plan.sources.map((_, source) => {
      const partitions = o.sources.filter((p) => p.source === source).length,
        places = new Int32Array(partitions);
      for (const [place, p] of o.sources.entries()) if (p.source === source) places[p.partition] = place;
      return places;
    });
  }

  /** Puts one whole batch of the hop into the parcel. */
  take(parcel: OpenParcel, hop: number, raw: Uint8Array, lastOffset: number, now: number): void {
    const { records } = parcel,
      { source, topic } = this.o.hops[hop]!,
      begin = records.count;
    appendBatch(raw, records, this.o.codecs);
    const to = records.count;
    let from = begin;
    while (from < to && records.offset[from]! < this.offsets[hop]!) from++;
    if (this.place.length < to) this.place = new Int32Array(2 * to);
    for (let at = from; at < to; at++) {
      const marker = this.unwrapTo(parcel, source, at, to);
      while (at < marker) at = this.place[at]! < 0 ? at + 1 : this.gated(parcel, source, at, marker);
      if (marker < to) this.hear(parcel, source, topic, decodeMarker(records, marker), marker, now);
    }
    this.offsets[hop] = lastOffset + 1;
    parcel.hops.push({ place: hop, offset: lastOffset + 1, leaderEpoch: int32At(raw, LEADER_EPOCH_AT), crc: uint32At(raw, CRC_AT) });
  }

  /** By source partition: its writer, heard of since `since`, found nothing more, and all that it had sent before was taken. */
  caughtUpSince(since: number): boolean[] {
    return Array.from(this.caughtUp, (is, place) => is === 1 && this.heardAt[place]! >= since);
  }

  /** Records up to the next marker, whose index comes back. */
  private unwrapTo({ records }: OpenParcel, source: number, from: number, to: number): number {
    const places = this.placesOf[source]!,
      { place, next } = this;
    for (let i = from; i < to; i++) {
      const partition = unwrap(records, i);
      if (partition < 0) return i;
      const p = places[partition];
      if (p === undefined) throw new Error(`a record of partition ${partition}, which the source does not have`);
      const offset = records.offset[i]!;
      if (offset < next[p]!) place[i] = HAD;
      else {
        place[i] = p;
        next[p] = offset + 1;
        this.caughtUp[p] = 0;
      }
    }
    return to;
  }

  /** A stretch of records that are new, through the gate; a piece for each run of one source partition. */
  private gated(parcel: OpenParcel, source: number, from: number, to: number): number {
    const { place } = this,
      { records, pieces } = parcel,
      gate = this.gates[source]!;
    let end = from;
    while (end < to && place[end]! >= 0) end++;
    let event = parcel.events.count;
    parcel.gate(gate, from, end);
    const { record, count } = parcel.events;
    for (let at = from; at < end;) {
      const p = place[at]!,
        begin = at;
      while (at < end && place[at] === p) at++;
      while (event < count && record[event]! < at) event++;
      pieces.push({ place: p, from: begin, to: at, events: event, nextOffset: records.offset[at - 1]! + 1, leaderEpoch: -1, crc: -1 });
    }
    return end;
  }

  private hear(parcel: OpenParcel, source: number, topic: string, marker: Marker, at: number, now: number): void {
    this.check(topic, marker);
    this.times[marker.slice] = Math.max(this.times[marker.slice]!, marker.time);
    for (const { partition, next, high, caughtUp, end, skipped } of marker.sources) {
      const p = this.placesOf[source]![partition];
      if (p === undefined) throw new Error(`a marker of partition ${partition}, which the source does not have`);
      this.heard[p] = Math.max(this.heard[p]!, next);
      // A writer that goes on, or an older one, repeats what is known.
      if (next < this.next[p]!) continue;
      this.saidAt[p] = marker.atMs;
      this.heardAt[p] = now;
      this.caughtUp[p] = caughtUp ? 1 : 0;
      this.ends[p] = Math.max(this.ends[p]!, end, next);
      if (next === this.next[p] && high === this.heardHigh[p]) continue;
      this.next[p] = next;
      this.heardHigh[p] = high;
      const events = parcel.events.count;
      parcel.pieces.push({ place: p, from: at, to: at, events, nextOffset: next, leaderEpoch: -1, crc: -1, says: { high, skipped } });
    }
  }

  private check(topic: string, marker: Marker): void {
    const { plan, generation, shards, from } = this.o.stamp;
    if (marker.plan !== plan) throw new StampError(topic, 'plan', marker.plan.slice(0, 12));
    if (marker.generation !== generation) throw new StampError(topic, 'generation', String(marker.generation));
    if (marker.shards !== shards) throw new StampError(topic, 'shards', String(marker.shards));
    if (from !== null && marker.from !== from) throw new StampError(topic, 'from', marker.from);
  }
}
