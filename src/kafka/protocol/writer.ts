/**
 * Writes the primitives of Kafka's protocol, big-endian, into a buffer that grows. "Compact" forms (lengths as unsigned varints, plus
 * one, zero for null) are those of flexible versions; the plain ones serve the few requests that are not flexible.
 */
import { putInt32, putInt64 } from '../../../topology/consume/batch-header.ts';

const FIRST_BYTES = 1024;

export class Writer {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = 0;

  int8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  bool(value: boolean): void {
    this.int8(value ? 1 : 0);
  }

  int16(value: number): void {
    this.#reserve(2);
    this.#bytes[this.#at++] = value >> 8;
    this.#bytes[this.#at++] = value;
  }

  int32(value: number): void {
    this.#reserve(4);
    putInt32(this.#bytes, this.#at, value);
    this.#at += 4;
  }

  /** Exact for integers up to 2^53. */
  int64(value: number): void {
    this.#reserve(8);
    putInt64(this.#bytes, this.#at, value);
    this.#at += 8;
  }

  uvarint(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Length as int16, -1 for null. */
  string(value: string | null): void {
    if (value === null) return this.int16(-1);
    const bytes = Buffer.from(value);
    if (bytes.length > 0x7fff) throw new Error('a string of the protocol is longer than 32 KiB');
    this.int16(bytes.length);
    this.raw(bytes);
  }

  compactString(value: string | null): void {
    if (value === null) return this.uvarint(0);
    this.compactBytes(Buffer.from(value));
  }

  compactBytes(bytes: Uint8Array): void {
    this.uvarint(bytes.length + 1);
    this.raw(bytes);
  }

  /** As it is written for people: 22 characters of base64url for 16 bytes. */
  uuid(value: string): void {
    const bytes = Buffer.from(value, 'base64url');
    if (bytes.length !== 16) throw new Error(`'${value}' is no id of 16 bytes`);
    this.raw(bytes);
  }

  compactArray<T>(items: readonly T[], write: (item: T) => void): void {
    this.uvarint(items.length + 1);
    for (const item of items) write(item);
  }

  /** No tagged field: we send none. */
  noTags(): void {
    this.uvarint(0);
  }

  /** The request as it goes over the wire: its length, then what was written. The bytes are the caller's own. */
  framed(): Buffer {
    const out = Buffer.allocUnsafe(4 + this.#at);
    putInt32(out, 0, this.#at);
    this.#bytes.copy(out, 4, 0, this.#at);
    return out;
  }

  #reserve(more: number): void {
    const need = this.#at + more;
    if (need <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(need, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}
