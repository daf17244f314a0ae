/**
 * Collects records of one partition and turns them into the bytes of one Kafka record batch (v2), all but its base offset, which only
 * the log's end knows (the checksum does not cover it). The buffer grows with what comes and is used again.
 */
import { crc32c } from '@node-rs/crc32';
import {
  ATTRIBUTES_AT,
  BASE_TIMESTAMP_AT,
  COUNT_AT,
  CRC_AT,
  HEADER_BYTES,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAGIC,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  PREFIX_BYTES,
  PRODUCER_ID_AT,
  putInt32,
  putInt64,
} from '../../topology/consume/batch-header.ts';
import { deflate } from './codecs.ts';
import type { Compression } from './codecs.ts';

/** Length, attributes, deltas of time and offset, and two lengths, each as long as it can be. */
const OVERHEAD_BYTES_MAX = 5 + 1 + 10 + 5 + 5 + 5;
const FIRST_BYTES = 64 * 1024;

/** Headers as they stand in a record: their number, then each. */
export const NO_HEADERS: Uint8Array = new Uint8Array(1);

export interface SealedBatch {
  /** Written one after the other; the first holds the header. */
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  readonly count: number;
  readonly maxTimestamp: number;
}

export class BatchBuilder {
  count = 0;
  /** Encoded bytes of the records so far. */
  size = 0;
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  readonly #keepBytes: number;
  #baseTimestamp = 0;
  #maxTimestamp = 0;

  /** A buffer beyond `keepBytes` is given back when the batch is sealed. */
  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes + OVERHEAD_BYTES_MAX;
  }

  add(
    key: Uint8Array | null,
    value: Uint8Array | null,
    start: number,
    end: number,
    timestampMs: number,
    headers: Uint8Array = NO_HEADERS,
  ): void {
    const keyBytes = key === null ? 0 : key.length,
      valueBytes = value === null ? 0 : end - start;
    this.#reserve(keyBytes + valueBytes + headers.length + OVERHEAD_BYTES_MAX);
    if (this.count === 0) {
      this.#baseTimestamp = timestampMs;
      this.#maxTimestamp = timestampMs;
    }
    if (timestampMs > this.#maxTimestamp) this.#maxTimestamp = timestampMs;
    const timeDelta = timestampMs - this.#baseTimestamp,
      offsetDelta = this.count;
    const keyLength = key === null ? -1 : keyBytes,
      valueLength = value === null ? -1 : valueBytes;
    const body =
      1 +
      varintBytes(timeDelta) +
      varintBytes(offsetDelta) +
      varintBytes(keyLength) +
      keyBytes +
      varintBytes(valueLength) +
      valueBytes +
      headers.length;
    const b = this.#bytes;
    let at = putVarint(b, this.size, body);
    b[at++] = 0;
    at = putVarint(b, at, timeDelta);
    at = putVarint(b, at, offsetDelta);
    at = putVarint(b, at, keyLength);
    if (key !== null) {
      b.set(key, at);
      at += keyBytes;
    }
    at = putVarint(b, at, valueLength);
    if (value !== null) {
      b.set(start === 0 && end === value.length ? value : value.subarray(start, end), at);
      at += valueBytes;
    }
    if (headers.length === 1) b[at++] = 0;
    else {
      b.set(headers, at);
      at += headers.length;
    }
    this.size = at;
    this.count++;
  }

  /** The batch, whose parts may alias this buffer until the next `add`; empty again after. */
  seal(compression: Compression): SealedBatch {
    const { code, parts } = deflate(compression, this.#bytes.subarray(0, this.size));
    let length = HEADER_BYTES - PREFIX_BYTES;
    for (const part of parts) length += part.length;
    const head = Buffer.alloc(HEADER_BYTES);
    putInt32(head, LENGTH_AT, length);
    putInt32(head, LEADER_EPOCH_AT, 0);
    head[MAGIC_AT] = MAGIC;
    head[ATTRIBUTES_AT + 1] = code;
    putInt32(head, LAST_OFFSET_DELTA_AT, this.count - 1);
    putInt64(head, BASE_TIMESTAMP_AT, this.#baseTimestamp);
    putInt64(head, MAX_TIMESTAMP_AT, this.#maxTimestamp);
    // No producer id, epoch, sequence: -1 each.
    head.fill(0xff, PRODUCER_ID_AT, COUNT_AT);
    putInt32(head, COUNT_AT, this.count);
    let crc = crc32c(head.subarray(ATTRIBUTES_AT));
    for (const part of parts) crc = crc32c(part, crc);
    putInt32(head, CRC_AT, crc);
    const sealed = { parts: [head, ...parts], bytes: length + PREFIX_BYTES, count: this.count, maxTimestamp: this.#maxTimestamp };
    this.count = 0;
    this.size = 0;
    if (this.#bytes.length > this.#keepBytes * 2) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
    return sealed;
  }

  #reserve(more: number): void {
    const need = this.size + more;
    if (need <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(this.size === 0 ? Math.max(need, FIRST_BYTES) : Math.max(need, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.size);
    this.#bytes = grown;
  }
}

/** ZigZag; in doubles, for a time's delta may need more than 32 bits. */
const zigzag = (n: number): number => (n < 0 ? -n * 2 - 1 : n * 2);

function varintBytes(n: number): number {
  let z = zigzag(n),
    bytes = 1;
  while (z >= 128) {
    z = Math.floor(z / 128);
    bytes++;
  }
  return bytes;
}

function putVarint(b: Uint8Array, at: number, n: number): number {
  let z = zigzag(n);
  while (z >= 128) {
    b[at++] = (z % 128) | 128;
    z = Math.floor(z / 128);
  }
  b[at++] = z;
  return at;
}
