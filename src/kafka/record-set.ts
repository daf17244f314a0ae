/**
 * Walks the headers of a record set as a broker sent it, once, before any of it is believed: whole batches of format v2 in ascending order;
 * a cut tail is left out. Checksums stay with the decoder.
 */
import {
  HEADER_BYTES,
  int32At,
  int64At,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAGIC,
  MAGIC_AT,
  PREFIX_BYTES,
} from '../../topology/consume/batch-header.ts';

export interface RecordSet {
  /** Where whole batches that reach the wanted offset begin and end. */
  readonly from: number;
  readonly to: number;
  /** Offset after the last whole batch; the wanted one when there is none. */
  readonly nextOffset: number;
  /** Of the last whole batch; -1 when there is none. */
  readonly lastEpoch: number;
}

/** What a broker must not send; `offset` is the batch that it begins with. */
export class RecordSetFault extends Error {
  override readonly name = 'RecordSetFault';
  readonly offset: number;
  constructor(offset: number, what: string) {
    super(what);
    this.offset = offset;
  }
}

export function walkRecordSet(bytes: Uint8Array, start: number, end: number, wanted: number): RecordSet {
  let from = start,
    at = start,
    nextOffset = wanted,
    lastEpoch = -1;
  while (end - at > MAGIC_AT) {
    const base = int64At(bytes, at);
    if (bytes[at + MAGIC_AT] !== MAGIC)
      throw new RecordSetFault(base, `the records are of the old format v${bytes[at + MAGIC_AT]!}, only v2 is read`);
    const length = int32At(bytes, at + LENGTH_AT) + PREFIX_BYTES;
    if (length < HEADER_BYTES) throw new RecordSetFault(base, `the header speaks of ${length} bytes, which is less than a header`);
    if (length > end - at) break;
    const last = base + int32At(bytes, at + LAST_OFFSET_DELTA_AT);
    if (last < base) throw new RecordSetFault(base, `the header counts ${last - base + 1} offsets`);
    if (last < wanted) from = at + length;
    else {
      // Only the first batch may begin below what was asked for.
      if (base < nextOffset && nextOffset > wanted)
        throw new RecordSetFault(base, `it begins below offset ${nextOffset}, which follows the batch before it`);
      nextOffset = last + 1;
      lastEpoch = int32At(bytes, at + LEADER_EPOCH_AT);
    }
    at += length;
  }
  return { from, to: at, nextOffset, lastEpoch };
}
