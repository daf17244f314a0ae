/**
 * The 61 bytes before the records of a Kafka record batch (format v2), big-endian:
 *   0 baseOffset i64 | 8 length i32 (of what follows it) | 12 leaderEpoch i32 | 16 magic i8 = 2 | 17 crc u32 (CRC32C of 21..end)
 *   21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64 | 43 producerId i64
 *   51 producerEpoch i16 | 53 baseSequence i32 | 57 records i32
 * Attributes: 0-2 compression, 8 append time, 16 transactional, 32 control. Offsets and times are exact up to 2^53.
 */
export const HEADER_BYTES = 61;
/** baseOffset and length: what `length` does not count. */
export const PREFIX_BYTES = 12;
export const BASE_OFFSET_AT = 0,
  LENGTH_AT = 8,
  LEADER_EPOCH_AT = 12,
  MAGIC_AT = 16,
  CRC_AT = 17,
  ATTRIBUTES_AT = 21;
export const LAST_OFFSET_DELTA_AT = 23,
  BASE_TIMESTAMP_AT = 27,
  MAX_TIMESTAMP_AT = 35,
  PRODUCER_ID_AT = 43;
export const COUNT_AT = 57;
export const MAGIC = 2;
export const COMPRESSION_MASK = 7,
  APPEND_TIME = 8,
  TRANSACTIONAL = 16,
  CONTROL = 32;
export const NONE = 0,
  GZIP = 1,
  SNAPPY = 2,
  LZ4 = 3,
  ZSTD = 4;

export function int16At(b: Uint8Array, at: number): number {
  return ((b[at]! << 24) >> 16) | b[at + 1]!;
}

export function int32At(b: Uint8Array, at: number): number {
  return (b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!;
}

export function uint32At(b: Uint8Array, at: number): number {
  return int32At(b, at) >>> 0;
}

export function int64At(b: Uint8Array, at: number): number {
  return int32At(b, at) * 4294967296 + uint32At(b, at + 4);
}

export function putInt32(b: Uint8Array, at: number, value: number): void {
  b[at] = value >>> 24;
  b[at + 1] = value >>> 16;
  b[at + 2] = value >>> 8;
  b[at + 3] = value;
}

export function putInt64(b: Uint8Array, at: number, value: number): void {
  putInt32(b, at, Math.floor(value / 4294967296));
  putInt32(b, at + 4, value - Math.floor(value / 4294967296) * 4294967296);
}
