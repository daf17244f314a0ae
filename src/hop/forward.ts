/**
 * Sends the records of a slice of the sources' partitions into the internal topics, each to the partition of its shard, untouched but for
 * the header that says where it came from. In each partition of the hop the records of a source's partition stand in their order, and a
 * marker never stands before what it speaks of: a lane has one batch on its way, and what cannot be delivered ends the writer.
 */
import { decodeBatch } from '../../topology/consume/cursor.ts';
import { Records } from '../../topology/consume/records.ts';
import type { Rejection } from '../../topology/batch.ts';
import { compileGate } from '../../topology/contract/gate.ts';
import type { CompiledGate } from '../../topology/contract/gate.ts';
import type { Contract } from '../../topology/contract/model.ts';
import { encodeMarker, MARKER_HEADERS, SourceHeader } from '../../topology/hop/format.ts';
import type { SourceMark, Stamp } from '../../topology/hop/format.ts';
import { shardOfRejected } from '../../topology/hop/route.ts';
import type { Plan } from '../../topology/plan.ts';
import { nowMs } from '../clock.ts';
import type { KafkaProducer } from '../kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../kafka/produce/topic-writer.ts';
import { codecs } from '../log/codecs.ts';
import type { RawBatch } from '../log/port.ts';
import type { Source } from '../run/source.ts';

export interface ForwardOrder {
  readonly plan: Plan;
  /** In the order of plan.sources. */
  readonly contracts: readonly Contract[];
  readonly stamp: Stamp;
  readonly slice: number;
  /** The internal topics, in the order of plan.sources. */
  readonly topics: readonly string[];
  /** The slice, in the order of the source's places. */
  readonly places: readonly { readonly source: number; readonly partition: number }[];
}
type Mark = { -readonly [K in keyof SourceMark]: SourceMark[K] };

export class Forwarder {
  private readonly o: ForwardOrder;
  private readonly source: Source;
  private readonly producer: KafkaProducer;
  private readonly writers: readonly KafkaTopicWriter[];
  private readonly gates: readonly CompiledGate[];
  private readonly marks: readonly Mark[];
  private readonly records = new Records(undefined);
  private readonly rejected: Rejection[] = [];
  private readonly header = new SourceHeader();
  private told = '';
  /** Of the batch that was sent last, which no later one in step is older than. */
  private time = -1;

  constructor(o: ForwardOrder, source: Source, producer: KafkaProducer, marks: readonly SourceMark[]) {
    this.o = o;
    this.source = source;
    this.producer = producer;
    this.marks = marks.map((mark) => ({ ...mark }));
    this.writers = o.topics.map((topic) => new KafkaTopicWriter(producer, topic));
    const { shards } = o.stamp;
    this.gates = o.contracts.map((contract, source) =>
      compileGate(contract, o.plan, source, [0, 0], { route: { field: o.plan.repartition!.by, shards } }),
    );
  }

  /** One whole record batch of the source; records below the place's offset have been sent before. */
  forward(place: number, batch: RawBatch): void {
    const { records, rejected } = this,
      mark = this.marks[place]!,
      { source } = this.o.places[place]!,
      gate = this.gates[source]!,
      now = nowMs();
    decodeBatch(batch.bytes, records, codecs);
    let from = 0;
    while (from < records.count && records.offset[from]! < mark.next) from++;
    for (let at = from; at < records.count; at += gate.out.capacity) {
      rejected.length = 0;
      const to = Math.min(records.count, at + gate.out.capacity),
        { time, count } = gate.scan(records, at, to, rejected);
      for (let i = 0; i < count; i++) if (time[i]! > mark.high) mark.high = time[i]!;
      this.send(this.writers[source]!, gate, mark.partition, at, to, now);
    }
    this.time = batch.firstTimestamp;
    mark.next = batch.lastOffset + 1;
    mark.leaderEpoch = batch.leaderEpoch ?? -1;
  }

  private send(writer: KafkaTopicWriter, gate: CompiledGate, partition: number, from: number, to: number, now: number): void {
    const { records, header } = this,
      { bytes, offset, timestamp, keyStart, keyEnd, valueStart, valueEnd } = records,
      { record, count } = gate.out,
      { shardOf } = gate.router!,
      whenRejected = shardOfRejected(partition, this.o.stamp.shards);
    for (let i = from, event = 0; i < to; i++) {
      const isEvent = event < count && record[event] === i,
        shard = isEvent ? shardOf[event++]! : whenRejected,
        key = keyStart[i]! < 0 ? null : bytes.subarray(keyStart[i], keyEnd[i]),
        isNull = valueStart[i]! < 0;
      const headers = header.fill(partition, offset[i]!, timestamp[i]!);
      writer.append(shard, key, isNull ? null : bytes, now, isNull ? 0 : valueStart[i], isNull ? 0 : valueEnd[i], headers);
    }
  }

  /** Records are gone, and the source is read on behind them, as was asked for. */
  passed(place: number, offset: number, topicId: string): void {
    const mark = this.marks[place]!;
    if (mark.next < offset) mark.skipped = [...mark.skipped, [mark.next, offset]];
    mark.next = offset;
    mark.topicId = topicId;
    mark.leaderEpoch = -1;
  }

  /** Hands over what is pending, and behind it how far each partition is: when that has changed, or `anyway`. False: it was not due.
   * `next`: the time of the next record that is to be sent; null: not known. */
  mark(next: number | null, anyway: boolean): boolean {
    // The time first: what the look finds is true of it.
    const atMs = nowMs(),
      { step } = this.source,
      caughtUp = step.caughtUp(),
      time = next ?? (caughtUp.includes(false) ? this.time : atMs),
      ends = this.source.ends();
    for (const [place, mark] of this.marks.entries()) {
      mark.caughtUp = caughtUp[place]!;
      this.passOver(mark, step.position(place));
      mark.end = Math.max(mark.next, ends[place]!);
    }
    const text = JSON.stringify([time === atMs, this.marks]);
    if (!anyway && text === this.told) return false;
    this.told = text;
    for (const [source, writer] of this.writers.entries()) {
      const sources = this.marks.filter((_, place) => this.o.places[place]!.source === source);
      if (sources.length === 0) continue;
      const value = encodeMarker({ format: 1, ...this.o.stamp, slice: this.o.slice, atMs, time, sources });
      for (let p = 0; p < writer.partitions; p++) writer.append(p, null, value, atMs, 0, value.length, MARKER_HEADERS);
      writer.send();
    }
    return true;
  }

  /** Markers of transactions, and what was aborted, use up offsets up to the end. Of which epoch they were is not known here. */
  private passOver(mark: Mark, position: number): void {
    if (position <= mark.next) return;
    mark.next = position;
    mark.leaderEpoch = -1;
  }

  /** Waits while too much is on its way. */
  room(): Promise<void> {
    return this.producer.room();
  }

  /** Until everything has been acknowledged. */
  flush(): Promise<void> {
    return this.producer.flush();
  }
}
