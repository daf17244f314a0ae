/**
 * The log's share of an event's cost: read, checksum, inflate and cursor over lz4 segment files of JSON records of 267 bytes, each part
 * alone and all together; CPU nanoseconds. `node bench/log.ts [--quick]`.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { decompressFrameSync } from 'lz4-napi';
import { ATTRIBUTES_AT, HEADER_BYTES } from '../topology/consume/batch-header.ts';
import { decodeBatch } from '../topology/consume/cursor.ts';
import { Records } from '../topology/consume/records.ts';
import { codecs } from '../src/log/codecs.ts';
import { readInStep } from '../src/log/in-step.ts';
import { openLog } from '../src/log/segments.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { print, row } from './table.ts';
import type { Row } from './table.ts';

const RECORD_BYTES = 267,
  POOL = 1 << 16;

let seed = 7;
function random(below: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 4294967296) * below);
}

const hex = (digits: number): string => Array.from({ length: digits }, () => random(16).toString(16)).join('');

function sample(i: number): Buffer {
  const event = {
    event_id: `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`,
    event_time: new Date(1767225600000 + i * 86).toISOString(),
    advertiser_id: `adv-${random(200)}`,
    campaign_id: `cmp-${random(2000)}`,
    ad_id: `ad-${random(10000)}`,
    country: ['US', 'DE', 'FR', 'BR'][random(4)],
    placement: ['feed', 'story', 'search'][random(3)],
    cost_micros: random(9000),
  };
  const text = JSON.stringify(event);
  return Buffer.from(`${text.slice(0, -1)},"note":"${'x'.repeat(Math.max(0, RECORD_BYTES - text.length - 10))}"}`);
}

/** CPU nanoseconds a record, the best of the rounds. */
function measure(records: number, rounds: number, work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const from = process.cpuUsage();
    work();
    const used = process.cpuUsage(from);
    best = Math.min(best, ((used.user + used.system) * 1000) / records);
  }
  return best;
}

/** As clients do it: the library's own frame reader, an object a record, offsets in BigInt. */
function naively(raw: Uint8Array): number {
  const bytes = decompressFrameSync(Buffer.from(raw.subarray(HEADER_BYTES))),
    base = Buffer.from(raw.buffer, raw.byteOffset).readBigInt64BE(0),
    out: { offset: bigint; timestamp: bigint; key: Buffer | null; value: Buffer | null }[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = bytes[at++]!;
      value |= BigInt(b & 127) << shift;
      if (b < 128) return (value >> 1n) ^ -(value & 1n);
    }
  };
  const field = (): Buffer | null => {
    const length = Number(varint());
    return length < 0 ? null : bytes.subarray(at, (at += length));
  };
  while (at < bytes.length) {
    varint();
    at++;
    const timestamp = varint(),
      offset = base + varint(),
      key = field(),
      value = field();
    at++;
    out.push({ offset, timestamp, key, value });
  }
  return out.length;
}

export async function benchLog(quick: boolean): Promise<Row[]> {
  const records = quick ? 300_000 : 1_000_000,
    rounds = quick ? 3 : 5,
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-bench-log-'));
  try {
    const pool = Array.from({ length: POOL }, (_, i) => sample(i)),
      writer = new TopicWriter(dir, 'bench', { compression: 'lz4' }),
      rows: Row[] = [];
    rows.push(
      row(
        'log',
        `write: encode, deflate, append, records of ${pool[0]!.length} bytes`,
        measure(records, 1, () => {
          for (let i = 0; i < records; i++) writer.append(0, null, pool[i & (POOL - 1)]!, 1767225600000 + i);
          writer.close();
        }),
        null,
        'ns',
      ),
    );
    const log = openLog(dir),
      out = new Records();
    const each = (work: (raw: Uint8Array) => void): void => {
      const source = readInStep(log, [{ topic: 'bench', partition: 0, offset: 0 }], { untilEnd: true });
      for (let step = source.next(); step !== undefined; step = source.next()) {
        work(step.batch.bytes);
        source.advance(step);
      }
      source.close();
    };
    const batches: Uint8Array[] = [];
    each((raw) => batches.length < 100 && batches.push(Buffer.from(raw)));
    let held = 0,
      alike = 0;
    for (const raw of batches) {
      decodeBatch(raw, out, codecs);
      held += out.count;
    }
    const all = (): void => {
      for (const raw of batches) decodeBatch(raw, out, codecs);
    };
    const naive = (): void => {
      alike = 0;
      for (const raw of batches) alike += naively(raw);
    };
    let ours = Number.POSITIVE_INFINITY,
      other = ours;
    for (let round = 0; round < rounds; round++) {
      ours = Math.min(ours, measure(held, 1, all));
      other = Math.min(other, measure(held, 1, naive));
    }
    if (alike !== held) throw new Error(`the naive way read ${alike} of ${held} records`);
    rows.push(
      row(
        'log',
        'read: pread, headers, in step',
        measure(records, rounds, () => each(() => {})),
        null,
        'ns',
      ),
      row(
        'log',
        'crc32c',
        measure(held, rounds, () => {
          for (const raw of batches) codecs.crc32c(raw.subarray(ATTRIBUTES_AT));
        }),
        null,
        'ns',
      ),
      row(
        'log',
        'inflate (lz4)',
        measure(held, rounds, () => {
          for (const raw of batches) {
            out.clear();
            codecs.inflate(raw[ATTRIBUTES_AT + 1]! & 7, raw.subarray(HEADER_BYTES), out, 1 << 28);
          }
        }),
        null,
        'ns',
      ),
      row('log', 'crc32c, inflate and cursor, against an object a record', ours, other, 'ns'),
      row('log', 'on disk, a record', fs.statSync(path.join(dir, 'bench-0/00000000000000000000.log')).size / records, null, 'bytes'),
    );
    log.close();
    return rows;
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

if (import.meta.main) print(await benchLog(process.argv.includes('--quick')));
