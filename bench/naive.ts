/**
 * The naive way over the same log, in a process of its own: an object a record (JSON.parse, zod), one RocksDB key an id with a get and a
 * put for each event, Maps by strings for hours and days, everything fsynced each 100,000 events. It writes no rows to ClickHouse: what it saves
 * there is in its favour. `node bench/naive.ts LOG EVENTS STATE` prints one JSON object.
 */
import { createRequire } from 'node:module';
import { z } from 'zod';
import { decodeBatch } from '../topology/consume/cursor.ts';
import { Records } from '../topology/consume/records.ts';
import { monotonicMs } from '../src/clock.ts';
import { codecs } from '../src/log/codecs.ts';
import { TOPICS } from './data.ts';
import { readInStep } from '../src/log/in-step.ts';
import { openLog } from '../src/log/segments.ts';

const COMMIT_EVENTS = 100_000,
  HOUR = 3_600_000;

interface Batch {
  _put(key: Buffer, value: Buffer): void;
  _writeSync(options: { sync: boolean }): void;
}
interface Database {
  open(options: object): Promise<void>;
  close(): Promise<void>;
  _chainedBatch(): Batch;
  _getManySync(keys: readonly Buffer[]): (Buffer | undefined)[];
}
const event = z.object({
  event_id: z.string().min(16).max(64),
  event_time: z.union([z.number().int(), z.string()]),
  advertiser_id: z.string().min(1).max(64),
  campaign_id: z.string().min(1).max(64),
  ad_id: z.string().min(1).max(64),
  country: z.string().regex(/^[A-Z]{2}$/),
  placement: z.enum(['feed', 'story', 'search', 'video', 'banner']),
  cost_micros: z.number().int().min(0).optional(),
  value_micros: z.number().int().optional(),
});
interface Sums {
  impressions: number;
  clicks: number;
  conversions: number;
  spend: bigint;
  value: bigint;
}

async function main(): Promise<void> {
  const [dir, events, state] = [process.argv[2]!, Number(process.argv[3]), process.argv[4]!];
  const { RocksLevel } = createRequire(import.meta.url)('@nxtedition/rocksdb') as { RocksLevel: new (dir: string) => Database };
  const db = new RocksLevel(state),
    log = openLog(dir),
    records = new Records(),
    windows = new Map<string, Sums>();
  await db.open({ createIfMissing: true });
  const source = readInStep(
    log,
    TOPICS.map((topic) => ({ topic, partition: 0, offset: 0 })),
    { untilEnd: true },
  );
  let batch = db._chainedBatch(),
    pending = new Set<string>(),
    seen = 0,
    valid = 0,
    counted = 0;
  const began = monotonicMs();
  for (let step = source.next(); step !== undefined && seen < events; step = source.next()) {
    decodeBatch(step.batch.bytes, records, codecs);
    for (let i = 0; i < records.count && seen < events; i++, seen++) {
      const text = Buffer.from(records.bytes.buffer, records.bytes.byteOffset).toString('utf8', records.valueStart[i], records.valueEnd[i]);
      const parsed = event.safeParse(JSON.parse(text));
      if (!parsed.success) continue;
      valid++;
      const e = parsed.data,
        id = Buffer.from(e.event_id.toLowerCase());
      if (pending.has(e.event_id) || db._getManySync([id])[0] !== undefined) continue;
      pending.add(e.event_id);
      batch._put(id, Buffer.from(text.length.toString()));
      const time = typeof e.event_time === 'number' ? e.event_time : Date.parse(e.event_time);
      for (const size of [HOUR, 24 * HOUR]) {
        const key = `${size}|${Math.floor(time / size)}|${e.advertiser_id}|${e.campaign_id}|${e.ad_id}|${e.country}|${e.placement}`;
        let sums = windows.get(key);
        if (sums === undefined) windows.set(key, (sums = { impressions: 0, clicks: 0, conversions: 0, spend: 0n, value: 0n }));
        if (step.index === 0) sums.impressions++;
        else if (step.index === 1) sums.clicks++;
        else sums.conversions++;
        sums.spend += BigInt(e.cost_micros ?? 0);
        sums.value += BigInt(e.value_micros ?? 0);
      }
      if (++counted % COMMIT_EVENTS !== 0) continue;
      batch._writeSync({ sync: true });
      batch = db._chainedBatch();
      pending = new Set();
    }
    source.advance(step);
  }
  batch._writeSync({ sync: true });
  const seconds = (monotonicMs() - began) / 1000,
    cpu = process.cpuUsage();
  if (valid !== seen) throw new Error(`the naive way turned away ${seen - valid} of ${seen} events`);
  await db.close();
  process.stdout.write(
    `${JSON.stringify({ events: seen, counted, rows: windows.size, seconds, cpuSeconds: (cpu.user + cpu.system) / 1e6, peakBytes: process.resourceUsage().maxRSS * 1024 })}\n`,
  );
  process.exit(0);
}

await main();
