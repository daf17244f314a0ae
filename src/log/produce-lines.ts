/**
 * Lines in, records out: the bytes between newlines, whatever they are, each one record's value. A carriage return before the newline
 * belongs to it; empty lines are nothing. Memory is bounded by the longest line, which has a bound itself.
 */
import { TallyError } from '../errors.ts';
import { keyOf } from './line-key.ts';
import { RECORD_BYTES_MAX } from './writer.ts';

const NEWLINE = 10,
  RETURN = 13;

/** What records are appended to: a topic of segment files, or one on Kafka. */
export interface RecordSink {
  partitionFor(key: Uint8Array | null): number;
  append(partition: number, key: Uint8Array | null, value: Uint8Array | null, timestampMs: number, start?: number, end?: number): void;
}

export class LineProducer {
  readonly #writer: RecordSink;
  readonly #keyField: string | undefined;
  /** The begin of a line whose end has not come yet. */
  #carry = Buffer.alloc(0);
  #carried = 0;
  #line = 1;
  bytes = 0;
  /** Lines that were empty: no record is made of them. */
  empty = 0;

  constructor(writer: RecordSink, keyField?: string) {
    this.#writer = writer;
    this.#keyField = keyField;
  }

  /** The number of the line at hand, from 1. */
  get line(): number {
    return this.#line;
  }

  push(chunk: Buffer, nowMs: number): void {
    this.bytes += chunk.length;
    let from = 0;
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
      if (this.#carried > 0) {
        this.#keep(chunk, from, to);
        this.#take(this.#carry, 0, this.#carried, nowMs);
        this.#carried = 0;
        if (this.#carry.length > RECORD_BYTES_MAX / 16) this.#carry = Buffer.alloc(0);
      } else this.#take(chunk, from, to, nowMs);
      this.#line++;
      from = to + 1;
    }
    if (from < chunk.length) this.#keep(chunk, from, chunk.length);
  }

  /** What follows the last newline is a line too. */
  end(nowMs: number): void {
    if (this.#carried > 0) this.#take(this.#carry, 0, this.#carried, nowMs);
    this.#carried = 0;
  }

  #take(bytes: Buffer, from: number, to: number, nowMs: number): void {
    if (to > from && bytes[to - 1] === RETURN) to--;
    if (to === from) {
      this.empty++;
      return;
    }
    const key = this.#keyField === undefined ? null : keyOf(bytes.subarray(from, to), this.#keyField);
    this.#writer.append(this.#writer.partitionFor(key), key, bytes, nowMs, from, to);
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const need = this.#carried + to - from;
    if (need > RECORD_BYTES_MAX) {
      throw new TallyError(
        'E_RECORD_TOO_LARGE',
        `Line ${this.#line} has more than the ${RECORD_BYTES_MAX} bytes that a record may have.`,
        'The lines before it are in the log. Split it, or leave it out.',
      );
    }
    if (need > this.#carry.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(RECORD_BYTES_MAX, Math.max(64 * 1024, need * 2)));
      this.#carry.copy(grown, 0, 0, this.#carried);
      this.#carry = grown;
    }
    chunk.copy(this.#carry, this.#carried, from, to);
    this.#carried = need;
  }
}
