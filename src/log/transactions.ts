/**
 * How the transactions of a partition ended: for a batch of a producer's transaction, the next marker (control batch) of that producer
 * decides. A second reader runs ahead over the headers, only for logs that have transactions, and only as far as needed.
 */
import { CONTROL, HEADER_BYTES, int16At, TRANSACTIONAL } from '../../topology/consume/batch-header.ts';
import type { SegmentReader } from './partition-reader.ts';

/** A control record's key, after its length, attributes, two deltas and key length of a byte each: version i16, type i16. */
const TYPE_AT = HEADER_BYTES + 7,
  ABORT = 0,
  COMMIT = 1;

interface Marker {
  readonly producerId: number;
  readonly offset: number;
  readonly aborted: boolean;
}

export class Transactions {
  #ahead: SegmentReader | undefined;
  /** Beyond the last batch that was asked about, ascending. */
  #markers: Marker[] = [];

  fate(producerId: number, offset: number, start: () => SegmentReader): 'committed' | 'aborted' | 'open' {
    this.#markers = this.#markers.filter((m) => m.offset > offset);
    const known = this.#markers.find((m) => m.producerId === producerId);
    if (known !== undefined) return known.aborted ? 'aborted' : 'committed';
    this.#ahead ??= start();
    for (let batch = this.#ahead.peek(); batch !== undefined; batch = this.#ahead.peek()) {
      const isMarker = (batch.attributes & (CONTROL | TRANSACTIONAL)) === (CONTROL | TRANSACTIONAL) && batch.baseOffset > offset;
      const type = isMarker && batch.length > TYPE_AT + 1 ? int16At(batch.bytes, TYPE_AT) : -1;
      const marker = { producerId: batch.producerId, offset: batch.baseOffset, aborted: type === ABORT };
      this.#ahead.advance();
      if (type !== ABORT && type !== COMMIT) continue;
      this.#markers.push(marker);
      if (marker.producerId === producerId) return marker.aborted ? 'aborted' : 'committed';
    }
    return 'open';
  }

  close(): void {
    this.#ahead?.close();
    this.#ahead = undefined;
  }
}
