/**
 * The oracle's own decoder of Kafka record batches (v2), and of whose transaction each belongs to: bytes as they stand in a log file or come
 * from a broker go in, records come out. It shares nothing with the pipeline's. A whole batch with a wrong CRC is an error (P6).
 */
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

export interface Header {
  readonly base: number;
  readonly attributes: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producer: number;
  readonly count: number;
}

export const HEADER_BYTES = 61;
const PREFIX_BYTES = 12,
  MAGIC_AT = 16,
  MAGIC = 2;
const COMPRESSION = 7,
  APPEND_TIME = 8,
  TRANSACTIONAL = 16,
  CONTROL = 32;

export interface LoggedBatch {
  readonly lastOffset: number;
  /** Empty for control batches and aborted transactions. */
  readonly records: readonly LoggedRecord[];
}

/** How long the batch at the begin of `head` (its header at least) is; 0 when there is none. */
export function batchBytes(head: Buffer): number {
  const length = PREFIX_BYTES + head.readInt32BE(8);
  return head[MAGIC_AT] === MAGIC && length >= HEADER_BYTES ? length : 0;
}

/** The header of a whole batch, whose checksum is asked. */
export function checkedHeader(bytes: Buffer, topic: string, partition: number): Header {
  const header = readHeader(bytes);
  if (crc32c(bytes.subarray(21)) !== bytes.readUInt32BE(17)) throw corrupt(topic, partition, header.base);
  return header;
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
 * of its producer after it. Who reads a log notes its batches in order; only logs with transactions are read for it.
 */
export class Transactions {
  readonly aborted = new Set<number>();
  private readonly open = new Map<number, number[]>();

  note(bytes: Buffer, header: Header): void {
    if ((header.attributes & TRANSACTIONAL) === 0) return;
    const mine = this.open.get(header.producer) ?? [];
    if ((header.attributes & CONTROL) === 0) {
      mine.push(header.base);
      this.open.set(header.producer, mine);
      return;
    }
    // A control record: length, attributes, two deltas and the key's length, one byte each; then version and type, two each.
    if (bytes.readInt16BE(HEADER_BYTES + 7) === 0) for (const base of mine) this.aborted.add(base);
    this.open.delete(header.producer);
  }

  /** The first batch whose transaction has no end yet; Infinity when there is none. */
  undecided(): number {
    let first = Infinity;
    for (const [base] of this.open.values()) first = Math.min(first, base!);
    return first;
  }
}

export const isTransactional = (header: Header): boolean => (header.attributes & TRANSACTIONAL) !== 0;

/** What of a batch counts: nothing of a control batch or an aborted transaction, and only offsets in [from, before). */
export function loggedBatch(
  batch: { readonly bytes: Buffer; readonly header: Header },
  where: { readonly topic: string; readonly partition: number },
  aborted: ReadonlySet<number> | null,
  from: number,
  before: number,
): LoggedBatch {
  const { bytes, header } = batch,
    { attributes, lastOffset, base } = header;
  const unread = (attributes & CONTROL) !== 0 || aborted?.has(base) === true;
  const records = unread ? [] : readRecords(bytes, header, where.topic, where.partition);
  const isInside = base >= from && lastOffset < before;
  return { lastOffset, records: isInside ? records : records.filter((r) => r.offset >= from && r.offset < before) };
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
