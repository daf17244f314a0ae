/**
 * What stands in an internal topic. Each record is one of two, told apart by its only header, which nothing of a source can have, for no
 * header of a source is copied:
 *
 *   'tally-source'  a source's record: key and value untouched; the header's value is partition i32, offset i64, record time i64, big-endian
 *   'tally-marker'  how far a writer is; the value is JSON, format 1 (`Marker`)
 *
 * What a writer keeps, and readers rest on: in each partition of the hop, before a record of source offset n, and before a marker that says
 * `next: n`, stands every record below n of that source partition which belongs there. A record may stand there more than once.
 */
import { BatchError } from '../consume/batch-error.ts';
import { int32At, int64At, putInt32, putInt64 } from '../consume/batch-header.ts';
import type { Records } from '../consume/records.ts';

/** Who wrote it; the readers of another job, plan or number of shards refuse it. */
export interface Stamp {
  readonly plan: string;
  readonly generation: number;
  readonly shards: number;
  /** Where its source began to be read at the first start. */
  readonly from: string;
}
export interface SourceMark {
  readonly partition: number;
  /** Every record below it has been sent. */
  readonly next: number;
  /** Highest event time below `next` of events that the contract lets through; -1: none. */
  readonly high: number;
  /** At the marker's time the log held nothing from `next` on. */
  readonly caughtUp: boolean;
  /** Where the log ends, as far as it is known. */
  readonly end: number;
  /** Offsets [from, to) that were never read. */
  readonly skipped: readonly (readonly [number, number])[];
  /** Of the batch before `next`, and of the topic: by them a log that was cut, or made anew, is found. */
  readonly leaderEpoch: number;
  readonly topicId: string;
}
export interface Marker extends Stamp {
  readonly format: 1;
  /** Of which shard's slice of the sources it speaks. */
  readonly slice: number;
  /** The writer's clock, before it looked. */
  readonly atMs: number;
  /** No record that is still to be sent is older: the time of the next one, or that clock when there is none. */
  readonly time: number;
  readonly sources: readonly SourceMark[];
}

/** One header, a key of 12 bytes, a value of 20 or 0. */
const head = (key: string, valueBytes: number): Uint8Array => Uint8Array.from([2, 24, ...Buffer.from(key), 2 * valueBytes]);
const SOURCE_BYTES = 20,
  SOURCE_HEAD = head('tally-source', SOURCE_BYTES);
export const MARKER_HEADERS: Uint8Array = head('tally-marker', 0);
const HEAD_BYTES = SOURCE_HEAD.length;

/** The headers of a source's record: one buffer, filled again for each. */
export class SourceHeader {
  readonly bytes: Uint8Array = new Uint8Array(HEAD_BYTES + SOURCE_BYTES);

  constructor() {
    this.bytes.set(SOURCE_HEAD);
  }

  fill(partition: number, offset: number, timestamp: number): Uint8Array {
    putInt32(this.bytes, HEAD_BYTES, partition);
    putInt64(this.bytes, HEAD_BYTES + 4, offset);
    putInt64(this.bytes, HEAD_BYTES + 12, timestamp);
    return this.bytes;
  }
}

/** The source partition of a record of the hop, whose offset and time become those of the source; -1: a marker. */
export function unwrap(records: Records, i: number): number {
  const at = records.headers![i]!,
    { bytes } = records;
  if (startsWith(bytes, at, MARKER_HEADERS)) return -1;
  if (!startsWith(bytes, at, SOURCE_HEAD))
    throw new BatchError('malformed', `the record at offset ${records.offset[i]} was not written by tally, whose internal topic this is`);
  const value = at + HEAD_BYTES;
  records.offset[i] = int64At(bytes, value + 4);
  records.timestamp[i] = int64At(bytes, value + 12);
  return int32At(bytes, value);
}

export const isMarker = (records: Records, i: number): boolean => startsWith(records.bytes, records.headers![i]!, MARKER_HEADERS);

export const encodeMarker = (marker: Marker): Uint8Array => Buffer.from(JSON.stringify(marker));

export function decodeMarker(records: Records, i: number): Marker {
  const { bytes } = records,
    start = records.valueStart[i]!;
  const marker = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + start, records.valueEnd[i]! - start).toString()) as Marker;
  if ((marker.format as number) !== 1) throw new Error(`marker format ${marker.format} is not known`);
  return marker;
}

function startsWith(bytes: Uint8Array, at: number, what: Uint8Array): boolean {
  for (let i = 0; i < HEAD_BYTES; i++) if (bytes[at + i] !== what[i]) return false;
  return true;
}
