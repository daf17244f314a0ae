/**
 * Reads the primitives of Kafka's protocol out of one answer. Every length is asked against what is left before it is believed; an answer
 * that contradicts itself is a MalformedAnswer, and ends the connection that it came from.
 */
import { int16At, int32At, int64At } from '../../../topology/consume/batch-header.ts';

export class MalformedAnswer extends Error {
  override readonly name = 'MalformedAnswer';
}

/** Sixteen zero bytes, as `uuid` reads them: no id. */
export const NO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA';

export class Reader {
  readonly bytes: Buffer;
  readonly end: number;
  at: number;

  /** Reads from `at` up to `end`; the buffer may be longer. */
  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  int8(): number {
    return (this.bytes[this.#take(1)]! << 24) >> 24;
  }

  bool(): boolean {
    return this.int8() !== 0;
  }

  int16(): number {
    return int16At(this.bytes, this.#take(2));
  }

  int32(): number {
    return int32At(this.bytes, this.#take(4));
  }

  int64(): number {
    return int64At(this.bytes, this.#take(8));
  }

  uvarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes[this.#take(1)]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new MalformedAnswer('a length in the answer has no end');
  }

  string(): string {
    const length = this.int16();
    if (length < 0) throw new MalformedAnswer('a string in the answer is missing');
    return this.#text(length);
  }

  compactString(): string {
    return this.compactNullableString() ?? '';
  }

  compactNullableString(): string | null {
    const length = this.uvarint() - 1;
    return length < 0 ? null : this.#text(length);
  }

  /** A view into the answer; empty for null. */
  compactBytes(): Buffer {
    const length = Math.max(0, this.uvarint() - 1),
      from = this.#take(length);
    return this.bytes.subarray(from, from + length);
  }

  uuid(): string {
    const from = this.#take(16);
    return this.bytes.toString('base64url', from, from + 16);
  }

  /** Plain array: an int32 says how many. */
  array<T>(read: () => T): T[] {
    return this.#items(this.int32(), read);
  }

  /** A null array reads as an empty one. */
  compactArray<T>(read: () => T): T[] {
    return this.#items(this.uvarint() - 1, read);
  }

  /** Topics of partitions, as nearly all answers have them, one after the other. */
  partitions<T>(read: (topic: string) => T): T[] {
    const topics = this.compactArray(() => {
      const topic = this.compactString();
      const found = this.compactArray(() => {
        const of = read(topic);
        this.skipTags();
        return of;
      });
      this.skipTags();
      return found;
    });
    return topics.flat();
  }

  skip(length: number): void {
    this.#take(length);
  }

  skipTags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint();
      this.skip(this.uvarint());
    }
  }

  #items<T>(count: number, read: () => T): T[] {
    // Every item takes a byte at least: a count beyond that is a lie, and must not become an allocation.
    if (count > this.end - this.at) throw new MalformedAnswer('a list in the answer is longer than the answer');
    const items: T[] = [];
    for (let i = 0; i < count; i++) items.push(read());
    return items;
  }

  #text(length: number): string {
    const from = this.#take(length);
    return this.bytes.toString('utf8', from, from + length);
  }

  #take(length: number): number {
    const from = this.at;
    if (length < 0 || from + length > this.end) throw new MalformedAnswer('the answer is cut short');
    this.at = from + length;
    return from;
  }
}
