/**
 * The oracle's own reader of a log on disk: LOG/TOPIC-PARTITION/<20 digits>.log, files of Kafka record batches (v2). In goes a
 * partition and an offset to stop before; out come its records in order, a batch at a time. It shares nothing with the log
 * port, so that a fault there shows here. A torn last batch ends the log; a whole batch with a wrong CRC is an error (P6).
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { decompressFrameSync } from 'lz4-napi';
import { unsnap } from './snappy.ts';
import { TallyError } from '../errors.ts';

export interface LoggedRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

interface Header {
  readonly base: number;
  readonly attributes: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producer: number;
  readonly count: number;
}

const HEADER_BYTES = 61;
const COMPRESSION = 7,
  APPEND_TIME = 8,
  TRANSACTIONAL = 16,
  CONTROL = 32;

/** The partitions of a topic that the log holds, ascending. */
export function loggedPartitions(log: string, topic: string): number[] {
  const found: number[] = [];
  if (!existsSync(log)) return found;
  for (const name of readdirSync(log)) {
    const cut = name.lastIndexOf('-');
    if (name.slice(0, cut) === topic && /^\d+$/.test(name.slice(cut + 1))) found.push(Number(name.slice(cut + 1)));
  }
  return found.sort((a, b) => a - b);
}

function segmentFiles(log: string, topic: string, partition: number): string[] {
  const dir = join(log, `${topic}-${partition}`);
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => /^\d{20}\.log$/.test(name))
    .sort()
    .map((name) => join(dir, name));
}

/** The whole batches of a partition, as bytes, in order. */
function* batchesOf(log: string, topic: string, partition: number): Generator<{ bytes: Buffer; header: Header }> {
  for (const file of segmentFiles(log, topic, partition)) {
    const fd = openSync(file, 'r');
    try {
      const size = fstatSync(fd).size,
        head = Buffer.alloc(HEADER_BYTES);
      for (let at = 0; at + HEADER_BYTES <= size;) {
        readSync(fd, head, 0, HEADER_BYTES, at);
        const length = 12 + head.readInt32BE(8);
        // Zeros, or a batch that reaches beyond the file: a producer was killed here, and the log ends before it.
        if (head[16] !== 2 || length < HEADER_BYTES || at + length > size) return;
        const bytes = Buffer.allocUnsafe(length);
        readSync(fd, bytes, 0, length, at);
        const header = readHeader(bytes);
        if (crc32c(bytes.subarray(21)) !== bytes.readUInt32BE(17)) throw corrupt(topic, partition, header.base);
        yield { bytes, header };
        at += length;
      }
    } finally {
      closeSync(fd);
    }
  }
}

function readHeader(b: Buffer): Header {
  const base = Number(b.readBigInt64BE(0));
  return {
    base,
    attributes: b.readInt16BE(21),
    lastOffset: base + b.readInt32BE(23),
    baseTimestamp: Number(b.readBigInt64BE(27)),
    maxTimestamp: Number(b.readBigInt64BE(35)),
    producer: Number(b.readBigInt64BE(43)),
    count: b.readInt32BE(57),
  };
}

function corrupt(topic: string, partition: number, offset: number): TallyError {
  return new TallyError(
    'E_LOG_CORRUPT',
    `${topic}/${partition}@${offset}: the record batch does not match its checksum`,
    'The log was changed or the disk is faulty; nothing can be recounted beyond this batch.',
  );
}

/**
 * Where each producer's transactions ended, from the control batches: a transactional batch shares the fate of the first marker
 * of its producer after it. Only logs with transactions are read for it.
 */
function abortedBatches(log: string, topic: string, partition: number): Set<number> {
  const open = new Map<number, number[]>(),
    aborted = new Set<number>();
  for (const { bytes, header } of batchesOf(log, topic, partition)) {
    if ((header.attributes & TRANSACTIONAL) === 0) continue;
    const mine = open.get(header.producer) ?? [];
    if ((header.attributes & CONTROL) === 0) {
      open.set(header.producer, [...mine, header.base]);
      continue;
    }
    // A control record: length, attributes, two deltas and the key's length, one byte each; then version and type, two each.
    if (bytes.readInt16BE(HEADER_BYTES + 7) === 0) for (const base of mine) aborted.add(base);
    open.delete(header.producer);
  }
  return aborted;
}

export interface LoggedBatch {
  readonly lastOffset: number;
  /** Empty for control batches and aborted transactions. */
  readonly records: readonly LoggedRecord[];
}

/** The partition below `before`, batch by batch. */
export function* readPartition(log: string, topic: string, partition: number, before: number): Generator<LoggedBatch> {
  let aborted: Set<number> | null = null;
  for (const { bytes, header } of batchesOf(log, topic, partition)) {
    if (header.base >= before) return;
    const { attributes, lastOffset } = header;
    if ((attributes & TRANSACTIONAL) !== 0) aborted ??= abortedBatches(log, topic, partition);
    const unread = (attributes & CONTROL) !== 0 || aborted?.has(header.base) === true;
    const records = unread ? [] : readRecords(bytes, header, topic, partition);
    yield { lastOffset, records: lastOffset < before ? records : records.filter((r) => r.offset < before) };
  }
}

function decompress(kind: number, packed: Buffer, where: string): Buffer {
  if (kind === 0) return packed;
  if (kind === 1) return gunzipSync(packed);
  if (kind === 3) return decompressFrameSync(packed);
  if (kind === 4) return zstdDecompressSync(packed);
  if (kind !== 2)
    throw new TallyError(
      'E_LOG_CODEC',
      `${where}: no compression of record batches has number ${kind}`,
      'Use none, gzip, snappy, lz4 or zstd.',
    );
  const plain = unsnap(packed);
  if (plain !== null) return plain;
  throw new TallyError(
    'E_LOG_CORRUPT',
    `${where}: the checksum of the record batch fits, but its Snappy blocks are damaged`,
    'Its producer is faulty; nothing can be recounted beyond this batch.',
  );
}

function readRecords(batch: Buffer, header: Header, topic: string, partition: number): LoggedRecord[] {
  const bytes = decompress(header.attributes & COMPRESSION, batch.subarray(HEADER_BYTES), `${topic}/${partition}@${header.base}`);
  const out: LoggedRecord[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0,
      unit = 1,
      byte: number;
    do {
      byte = bytes[at++]!;
      value += (byte & 127) * unit;
      unit *= 128;
    } while (byte >= 128);
    // ZigZag, in doubles: a timestamp's delta may need more than 32 bits.
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  };
  const blob = (): Buffer | null => {
    const length = varint();
    if (length < 0) return null;
    at += length;
    return bytes.subarray(at - length, at);
  };
  for (let i = 0; i < header.count; i++) {
    const length = varint(),
      end = at + length;
    at++;
    const timestamp = header.baseTimestamp + varint();
    const offset = header.base + varint(),
      key = blob(),
      value = blob();
    out.push({ offset, timestamp: (header.attributes & APPEND_TIME) === 0 ? timestamp : header.maxTimestamp, key, value });
    at = end;
  }
  return out;
}
