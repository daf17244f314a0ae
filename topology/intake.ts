/**
 * The first two stages, which need nothing of what was counted before: raw record batches in, parcels of gated events out. Pure and
 * synchronous, so that it may run in a thread of its own, ahead of the shard. Which batches share a parcel changes nothing.
 */
import type { Gate } from './batch.ts';
import { CRC_AT, int32At, LEADER_EPOCH_AT, uint32At } from './consume/batch-header.ts';
import { appendBatch } from './consume/cursor.ts';
import type { Codecs } from './consume/cursor.ts';
import { compileGate } from './contract/gate.ts';
import type { Contract } from './contract/model.ts';
import { KeyIsId } from './contract/record-key.ts';
import { sourceInputs } from './inputs.ts';
import type { Plan } from './plan.ts';
import type { OpenParcel } from './parcel.ts';

export interface IntakeOptions {
  readonly plan: Plan;
  /** In the order of plan.sources. */
  readonly contracts: readonly Contract[];
  readonly shards: number;
  readonly hashKey: readonly [number, number];
  readonly codecs: Codecs;
  /** The shard's partitions, in the position's order. */
  readonly places: readonly { readonly source: number; readonly offset: number }[];
}

/** Columns that a parcel of this plan needs for the measures' inputs. */
export const inputsOf = (plan: Plan): number => Math.max(...plan.sources.map((_, source) => sourceInputs(plan, source).fields.length));

export class Intake {
  private readonly o: IntakeOptions;
  private readonly gates: readonly Gate[];
  /** Asked with several shards: a resend must reach the shard of its original. */
  private readonly keyIsId: KeyIsId | null;
  /** Where each partition is read on from. */
  private readonly offsets: number[];

  constructor(o: IntakeOptions) {
    this.o = o;
    this.gates = o.contracts.map((contract, source) =>
      compileGate(contract, o.plan, source, o.hashKey, { keyField: o.shards > 1 ? o.plan.producerKey : null }),
    );
    this.keyIsId = o.shards > 1 && o.plan.producerKey === null ? new KeyIsId(o.hashKey) : null;
    this.offsets = o.places.map((p) => p.offset);
  }

  /** Puts one whole record batch into the parcel, or nothing of it; records below the place's offset have been read before and are skipped. */
  take(parcel: OpenParcel, place: number, raw: Uint8Array, lastOffset: number): void {
    const { records, rejected } = parcel,
      begin = records.count,
      bytes = records.used,
      events = parcel.events.count,
      turnedAway = rejected.length;
    try {
      appendBatch(raw, records, this.o.codecs);
      this.add(parcel, place, begin, lastOffset, int32At(raw, LEADER_EPOCH_AT), uint32At(raw, CRC_AT));
    } catch (error) {
      records.count = begin;
      records.used = bytes;
      parcel.events.count = events;
      rejected.length = turnedAway;
      throw error;
    }
  }

  private add(parcel: OpenParcel, place: number, begin: number, lastOffset: number, leaderEpoch: number, crc: number): void {
    const { records, pieces } = parcel,
      to = records.count,
      offset = this.offsets[place]!,
      first = parcel.events.count;
    let from = begin;
    while (from < to && records.offset[from]! < offset) from++;
    parcel.gate(this.gates[this.o.places[place]!.source]!, from, to);
    this.keyIsId?.check(parcel.events, first, records);
    this.offsets[place] = lastOffset + 1;
    pieces.push({ place, from, to, events: parcel.events.count, nextOffset: lastOffset + 1, leaderEpoch, crc });
  }

  /** The partition is read on from here, whatever was read before. */
  moveTo(place: number, offset: number): void {
    this.offsets[place] = offset;
  }
}
