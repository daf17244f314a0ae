/** Builds record batches the long way, independent of the product's writer, and reads logs whole. */
import { crc32c } from '@node-rs/crc32';
import { decodeBatch } from '../topology/consume/cursor.ts';
import { Records } from '../topology/consume/records.ts';
import { codecs } from '../src/log/codecs.ts';
import { placedFault } from '../src/log/faults.ts';
import type { SegmentLog } from '../src/log/segments.ts';

export interface Given {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly timestamp: number;
  readonly offset?: number;
  readonly headers?: readonly (readonly [string, string | null])[];
}
export interface Got {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
}

export function varint(n: number): number[] {
  let z = BigInt.asUintN(64, (BigInt(n) << 1n) ^ (BigInt(n) >> 63n));
  const out: number[] = [];
  while (z >= 128n) {
    out.push(Number(z & 127n) | 128);
    z >>= 7n;
  }
  return [...out, Number(z)];
}

const blob = (b: Uint8Array | null): number[] => (b === null ? varint(-1) : [...varint(b.length), ...b]);

export function encodeRecords(records: readonly Given[], baseTimestamp: number): Buffer<ArrayBuffer> {
  const parts = records.map((r, i) => {
    const headers = (r.headers ?? []).flatMap(([k, v]) => [...blob(Buffer.from(k)), ...blob(v === null ? null : Buffer.from(v))]);
    const body = [
      0,
      ...varint(r.timestamp - baseTimestamp),
      ...varint(r.offset ?? i),
      ...blob(r.key),
      ...blob(r.value),
      ...varint(r.headers?.length ?? 0),
      ...headers,
    ];
    return Buffer.from([...varint(body.length), ...body]);
  });
  return Buffer.concat(parts);
}

export interface Frame {
  readonly base?: number;
  readonly attributes?: number;
  readonly baseTimestamp?: number;
  readonly maxTimestamp?: number;
  readonly producer?: number;
  readonly count: number;
  readonly lastDelta?: number;
}

/** A batch around bytes that are compressed already. */
export function frame(payload: Uint8Array, f: Frame): Buffer {
  const b = Buffer.concat([Buffer.alloc(61), payload]);
  b.writeBigInt64BE(BigInt(f.base ?? 0), 0);
  b.writeInt32BE(b.length - 12, 8);
  b.writeInt32BE(7, 12);
  b[16] = 2;
  b.writeInt16BE(f.attributes ?? 0, 21);
  b.writeInt32BE(f.lastDelta ?? f.count - 1, 23);
  b.writeBigInt64BE(BigInt(f.baseTimestamp ?? 1000), 27);
  b.writeBigInt64BE(BigInt(f.maxTimestamp ?? 2000), 35);
  b.writeBigInt64BE(BigInt(f.producer ?? -1), 43);
  b.writeInt16BE(-1, 51);
  b.writeInt32BE(-1, 53);
  b.writeInt32BE(f.count, 57);
  return seal(b);
}

export function seal(b: Buffer): Buffer {
  b.writeUInt32BE(crc32c(b.subarray(21)), 17);
  return b;
}

export const text = (s: string): Given => ({ key: null, value: Buffer.from(s), timestamp: 1000 });

export function listed(r: Records): Got[] {
  const cut = (from: number, to: number): string | null => (from < 0 ? null : Buffer.from(r.bytes.subarray(from, to)).toString('latin1'));
  return Array.from({ length: r.count }, (_, i) => ({
    offset: r.offset[i]!,
    timestamp: r.timestamp[i]!,
    key: cut(r.keyStart[i]!, r.keyEnd[i]!),
    value: cut(r.valueStart[i]!, r.valueEnd[i]!),
  }));
}

export function decoded(raw: Uint8Array): Got[] {
  const records = new Records();
  decodeBatch(raw, records, codecs);
  return listed(records);
}

export function readAll(log: SegmentLog, topic: string, partition: number, offset: number = 0): Got[] {
  const reader = log.reader(topic, partition, offset),
    out: Got[] = [];
  try {
    for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
      try {
        out.push(...decoded(batch.bytes));
      } catch (error) {
        throw placedFault(error, topic, partition, batch.baseOffset);
      }
      reader.advance();
    }
  } finally {
    reader.close();
  }
  return out.filter((r) => r.offset >= offset);
}
