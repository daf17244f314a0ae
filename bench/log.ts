/**
 * The log's share of an event's cost: read, checksum, inflate and cursor over lz4 segment files of JSON records of 267 bytes, each part
 * alone and all together. `node bench/log.ts [records] [codec]`.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ATTRIBUTES_AT, HEADER_BYTES } from '../topology/consume/batch-header.ts';
import { decodeBatch } from '../topology/consume/cursor.ts';
import { Records } from '../topology/consume/records.ts';
import { codecs } from '../src/log/codecs.ts';
import type { Compression } from '../src/log/codecs.ts';
import { InStep } from '../src/log/in-step.ts';
import { openLog } from '../src/log/segments.ts';
import { TopicWriter } from '../src/log/writer.ts';

const RECORD_BYTES = 267, POOL = 1 << 16;

let seed = 7;
function random(below: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 4294967296) * below);
}

const hex = (digits: number): string => Array.from({ length: digits }, () => random(16).toString(16)).join('');

function sample(i: number): Buffer {
  const event = {
    event_id: `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`, event_time: new Date(1767225600000 + i * 86).toISOString(),
    advertiser_id: `adv-${random(200)}`, campaign_id: `cmp-${random(2000)}`, ad_id: `ad-${random(10000)}`, country: ['US', 'DE', 'FR', 'BR'][random(4)],
    placement: ['feed', 'story', 'search'][random(3)], cost_micros: random(9000),
  };
  const text = JSON.stringify(event);
  return Buffer.from(`${text.slice(0, -1)},"note":"${'x'.repeat(Math.max(0, RECORD_BYTES - text.length - 10))}"}`);
}

interface Figure {
  readonly name: string;
  readonly ns: number;
}

function measure(name: string, records: number, rounds: number, work: () => void): Figure {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const from = process.cpuUsage();
    work();
    const used = process.cpuUsage(from);
    best = Math.min(best, ((used.user + used.system) * 1000) / records);
  }
  return { name, ns: best };
}

function main(): void {
  const records = Number(process.argv[2] ?? 1_000_000), codec = (process.argv[3] ?? 'lz4') as Compression;
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-bench-log-'));
  try {
    const pool = Array.from({ length: POOL }, (_, i) => sample(i)), figures: Figure[] = [];
    const writer = new TopicWriter(dir, 'bench', { compression: codec });
    figures.push(measure('write (encode, deflate, append)', records, 1, () => {
      for (let i = 0; i < records; i++) writer.append(0, null, pool[i & (POOL - 1)]!, 1767225600000 + i);
      writer.close();
    }));
    const log = openLog(dir), out = new Records();
    const each = (work: (raw: Uint8Array) => void): void => {
      const source = new InStep(log, [{ topic: 'bench', partition: 0, offset: 0 }], { untilEnd: true });
      for (let step = source.next(); step !== undefined; step = source.next()) {
        work(step.batch.bytes);
        source.advance(step);
      }
      source.close();
    };
    const batches: Uint8Array[] = [];
    each((raw) => batches.length < 200 && batches.push(Buffer.from(raw)));
    let held = 0;
    for (const raw of batches) {
      decodeBatch(raw, out, codecs);
      held += out.count;
    }
    const inflated = batches.map((raw) => codecs.inflate(raw[ATTRIBUTES_AT + 1]! & 7, raw.subarray(HEADER_BYTES), 1 << 28));
    let at = 0;
    const plain = { crc32c: codecs.crc32c, inflate: () => inflated[at++]! };
    figures.push(
      measure('read (pread, headers, in step)', records, 5, () => each(() => {})),
      measure('crc32c', held, 9, () => { for (const raw of batches) codecs.crc32c(raw.subarray(ATTRIBUTES_AT)); }),
      measure('inflate', held, 9, () => { for (const raw of batches) codecs.inflate(raw[ATTRIBUTES_AT + 1]! & 7, raw.subarray(HEADER_BYTES), 1 << 28); }),
      measure('cursor (with crc32c)', held, 9, () => {
        at = 0;
        for (const raw of batches) decodeBatch(raw, out, plain);
      }),
      measure('all: read, crc32c, inflate, cursor', records, 5, () => each((raw) => decodeBatch(raw, out, codecs))),
    );
    log.close();
    process.stdout.write(`${records} records of ${pool[0]!.length} bytes, ${codec}, ${(fs.statSync(path.join(dir, 'bench-0/00000000000000000000.log')).size / records).toFixed(0)} bytes a record on disk\n`);
    for (const f of figures) process.stdout.write(`${f.name.padEnd(36)} ${f.ns.toFixed(1).padStart(7)} ns cpu a record\n`);
    process.stdout.write(`peak rss ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB\n`);
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

main();
