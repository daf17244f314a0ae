/**
 * Decodes Kafka record batches (v2), one a call: raw bytes in, columns of its records out, in one pass without an object per record.
 * The checksum is asked before anything behind it is believed; every length is checked against what holds it; a batch that
 * contradicts itself is a BatchError, never a guess, and leaves what was there before as it was. Headers are skipped; where they begin is kept for who asks.
 */
import { BatchError } from './batch-error.ts';
import {
  APPEND_TIME,
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  BASE_TIMESTAMP_AT,
  COMPRESSION_MASK,
  CONTROL,
  COUNT_AT,
  CRC_AT,
  HEADER_BYTES,
  int16At,
  int32At,
  int64At,
  LAST_OFFSET_DELTA_AT,
  LENGTH_AT,
  MAGIC,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  PREFIX_BYTES,
  uint32At,
  ZSTD,
} from './batch-header.ts';
import type { Records } from './records.ts';

export { BatchError } from './batch-error.ts';

/** What a batch needs from outside; `inflate` throws a BatchError when the bytes are damaged or become more than `maxBytes`. */
export interface Codecs {
  crc32c(bytes: Uint8Array): number;
  /** Appends what the bytes hold. */
  inflate(compression: number, bytes: Uint8Array, into: Records, maxBytes: number): void;
}
export interface BatchLimits {
  readonly inflatedBytesMax: number;
}
export type BatchKind = 'data' | 'control';

export const DEFAULT_LIMITS: BatchLimits = { inflatedBytesMax: 256 * 1024 * 1024 };
/** Length, attributes, two deltas, key length, value length, header count: a byte each. */
const RECORD_BYTES_MIN = 7;

/** The batch's records alone. */
export function decodeBatch(raw: Uint8Array, out: Records, codecs: Codecs, limits: BatchLimits = DEFAULT_LIMITS): BatchKind {
  out.clear();
  return appendBatch(raw, out, codecs, limits);
}

/** The batch's records behind those that are there: none of a control batch, which uses up its offsets all the same. */
export function appendBatch(raw: Uint8Array, out: Records, codecs: Codecs, limits: BatchLimits = DEFAULT_LIMITS): BatchKind {
  const base = checkHeader(raw, codecs);
  const attributes = int16At(raw, ATTRIBUTES_AT);
  if ((attributes & CONTROL) !== 0) return 'control';
  const count = int32At(raw, COUNT_AT),
    lastDelta = int32At(raw, LAST_OFFSET_DELTA_AT);
  if (count < 0 || lastDelta < 0 || count > lastDelta + 1)
    throw new BatchError('malformed', `the header counts ${count} records over ${lastDelta + 1} offsets`, base);
  const from = out.used;
  try {
    const compression = attributes & COMPRESSION_MASK;
    if (compression > ZSTD) throw new BatchError('unsupported', `compression ${compression} is unknown`);
    codecs.inflate(compression, raw.subarray(HEADER_BYTES), out, limits.inflatedBytesMax);
    if (count * RECORD_BYTES_MIN > out.used - from) throw malformed(`${count} records do not fit into ${out.used - from} bytes`);
    out.reserve(count);
    const time = (attributes & APPEND_TIME) === 0 ? int64At(raw, BASE_TIMESTAMP_AT) : int64At(raw, MAX_TIMESTAMP_AT);
    fill(out, from, count, base, lastDelta, time, (attributes & APPEND_TIME) === 0 ? 1 : 0);
  } catch (error) {
    out.used = from;
    if (error instanceof BatchError) error.offset = base;
    throw error;
  }
  out.count += count;
  return 'data';
}

/** The base offset, of a batch that is whole. */
function checkHeader(raw: Uint8Array, codecs: Codecs): number {
  if (raw.length < HEADER_BYTES) throw new BatchError('malformed', `${raw.length} bytes are no record batch`);
  const base = int64At(raw, BASE_OFFSET_AT);
  if (raw[MAGIC_AT] !== MAGIC) throw new BatchError('unsupported', `record format v${raw[MAGIC_AT]!} is not read, only v2`, base);
  if (int32At(raw, LENGTH_AT) + PREFIX_BYTES !== raw.length)
    throw new BatchError(
      'malformed',
      `the header speaks of ${int32At(raw, LENGTH_AT) + PREFIX_BYTES} bytes, there are ${raw.length}`,
      base,
    );
  const crc = codecs.crc32c(raw.subarray(ATTRIBUTES_AT));
  if (crc !== uint32At(raw, CRC_AT)) throw new BatchError('crc', 'its checksum (CRC32C) does not fit its bytes', base);
  return base;
}

function malformed(what: string): BatchError {
  return new BatchError('malformed', `its checksum fits, but its contents are malformed: ${what}`);
}

/**
 * The one loop over every record of the log, whose bytes are those from `from` on. Varints of one and two bytes are read in place (nearly
 * all); a longer one leaves its end in `cursor`. `scaleTime` 0: the log's append time stands for every record.
 */
// oxlint-disable-next-line max-lines-per-function -- one pass in one loop: what is called per record is felt in every figure
function fill(out: Records, from: number, count: number, base: number, lastDelta: number, time: number, scaleTime: number): void {
  const { bytes, offset, timestamp, keyStart, keyEnd, valueStart, valueEnd, headers } = out,
    first = out.count,
    size = out.used;
  let at = from,
    before = -1,
    b = 0,
    c = 0;
  for (let i = first; i < first + count; i++) {
    let length: number, delta: number, timeDelta: number;
    b = bytes[at]!;
    if (b < 128) {
      length = (b >>> 1) ^ -(b & 1);
      at++;
    } else if ((c = bytes[at + 1]!) < 128) {
      b = (b & 127) | (c << 7);
      length = (b >>> 1) ^ -(b & 1);
      at += 2;
    } else {
      length = varint(bytes, at);
      at = cursor;
    }
    const end = at + length;
    if (length < RECORD_BYTES_MIN - 1 || end > size) throw malformed(`record ${i - first} claims ${length} bytes`);
    at++;
    b = bytes[at]!;
    if (b < 128) {
      timeDelta = (b >>> 1) ^ -(b & 1);
      at++;
    } else if ((c = bytes[at + 1]!) < 128) {
      b = (b & 127) | (c << 7);
      timeDelta = (b >>> 1) ^ -(b & 1);
      at += 2;
    } else {
      timeDelta = varint(bytes, at);
      at = cursor;
    }
    b = bytes[at]!;
    if (b < 128) {
      delta = (b >>> 1) ^ -(b & 1);
      at++;
    } else if ((c = bytes[at + 1]!) < 128) {
      b = (b & 127) | (c << 7);
      delta = (b >>> 1) ^ -(b & 1);
      at += 2;
    } else {
      delta = varint(bytes, at);
      at = cursor;
    }
    if (delta <= before || delta > lastDelta) throw malformed(`record ${i - first} has offset ${base + delta}, out of order`);
    before = delta;
    offset[i] = base + delta;
    timestamp[i] = time + timeDelta * scaleTime;

    b = bytes[at]!;
    if (b < 128) {
      length = (b >>> 1) ^ -(b & 1);
      at++;
    } else if ((c = bytes[at + 1]!) < 128) {
      b = (b & 127) | (c << 7);
      length = (b >>> 1) ^ -(b & 1);
      at += 2;
    } else {
      length = varint(bytes, at);
      at = cursor;
    }
    if (length < -1 || at + length > end) throw malformed(`the key of record ${i - first} has ${length} bytes`);
    if (length < 0) {
      keyStart[i] = -1;
      keyEnd[i] = -1;
    } else {
      keyStart[i] = at;
      at += length;
      keyEnd[i] = at;
    }

    b = bytes[at]!;
    if (b < 128) {
      length = (b >>> 1) ^ -(b & 1);
      at++;
    } else if ((c = bytes[at + 1]!) < 128) {
      b = (b & 127) | (c << 7);
      length = (b >>> 1) ^ -(b & 1);
      at += 2;
    } else {
      length = varint(bytes, at);
      at = cursor;
    }
    if (length < -1 || at + length >= end) throw malformed(`the value of record ${i - first} has ${length} bytes`);
    if (length < 0) {
      valueStart[i] = -1;
      valueEnd[i] = -1;
    } else {
      valueStart[i] = at;
      at += length;
      valueEnd[i] = at;
    }

    if (headers !== null) headers[i] = at;
    if (bytes[at] !== 0) at = skipHeaders(bytes, at, end, i - first);
    else at++;
    if (at !== end) throw malformed(`record ${i - first} ends ${Math.abs(end - at)} bytes ${at < end ? 'early' : 'late'}`);
  }
  if (at !== size) throw malformed(`${size - at} bytes follow the last record`);
}

/** Where `varint` stopped. */
let cursor = 0;

/** ZigZag in doubles: a time's delta may need more than 32 bits. Beyond 2^53 it is no length, offset or time of a log. */
function varint(bytes: Uint8Array, at: number): number {
  const size = bytes.length;
  let value = 0,
    unit = 1;
  for (let i = at; i < size && i < at + 10; i++) {
    const b = bytes[i]!;
    value += (b & 127) * unit;
    if (b < 128) {
      cursor = i + 1;
      if (value > Number.MAX_SAFE_INTEGER) throw malformed('a number beyond 2^53');
      return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    unit *= 128;
  }
  throw malformed('a number that does not end');
}

function skipHeaders(bytes: Uint8Array, from: number, end: number, record: number): number {
  const headers = varint(bytes, from);
  let at = cursor;
  if (headers < 0 || headers > end - at) throw malformed(`record ${record} counts ${headers} headers`);
  for (let i = 0; i < headers * 2; i++) {
    const length = varint(bytes, at);
    at = cursor + Math.max(0, length);
    if (at > end || length < (i % 2 === 0 ? 0 : -1)) throw malformed(`a header of record ${record} has ${length} bytes`);
  }
  return at;
}
