/**
 * The gate against the naive way, interleaved in one run: JSON bytes of ads events into columns (fingerprint and group key
 * included), against toString + JSON.parse + zod; nanoseconds an event. `node bench/gate.ts [--quick]`.
 */
import { z } from 'zod';
import type { Rejection } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import { compileGate } from '../topology/contract/gate.ts';
import type { CompiledGate } from '../topology/contract/gate.ts';
import { ADS, ADS_PLAN, HASH_KEY } from '../test/gate-fixtures.ts';
import { median, print, row } from './table.ts';
import type { Row } from './table.ts';

const EVENTS = 40000,
  SLICE = 4096;

/** A small generator with a fixed seed, so that all runs see the same bytes. */
let state = 42;
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 4294967296) * below);
}
const hex = (n: number): string => Array.from({ length: n }, () => '0123456789abcdef'[random(16)]).join('');
const digits = (n: number, below: number): string => String(random(below)).padStart(n, '0');

function event(): string {
  return JSON.stringify({
    event_id: `${hex(8)}-${hex(4)}-7${hex(3)}-a${hex(3)}-${hex(12)}`,
    event_time: 1760000000000 + random(86400000),
    advertiser_id: `adv_${digits(4, 200)}`,
    campaign_id: `cmp_${digits(6, 2000)}`,
    ad_id: `ad_${digits(7, 10000)}`,
    country: ['DE', 'US', 'FR', 'GB', 'IN'][random(5)],
    placement: ['feed', 'story', 'search', 'video'][random(4)],
    device: ['ios', 'android', 'web', 'tv'][random(4)],
    cost_micros: random(50000),
    auction_id: `auc_${hex(16)}`,
  });
}

const schema = z.object({
  event_id: z.string().min(1).max(64),
  event_time: z.number().int().min(0),
  advertiser_id: z.string().regex(/^adv_[0-9]{4}$/),
  campaign_id: z.string().min(1).max(64),
  ad_id: z.string().min(1).max(64),
  country: z.string().regex(/^[A-Z]{2}$/),
  placement: z.enum(['feed', 'story', 'search', 'video']),
  device: z.enum(['ios', 'android', 'web', 'tv']).optional(),
  cost_micros: z.number().int().min(0).max(1e9),
  auction_id: z.string().max(64).optional(),
});

function makeRecords(): Records {
  const texts = Array.from({ length: EVENTS }, event),
    records = new Records();
  records.reserve(EVENTS);
  records.count = EVENTS;
  records.bytes = Buffer.from(texts.join('\n'));
  let at = 0;
  for (let i = 0; i < EVENTS; i++) {
    records.timestamp[i] = 1760100000000;
    records.valueStart[i] = at;
    records.valueEnd[i] = at += texts[i]!.length;
    at++;
  }
  return records;
}

function throughGate(gate: CompiledGate, records: Records, rejected: Rejection[]): number {
  let count = 0;
  for (let from = 0; from < EVENTS; from += SLICE) count += gate.scan(records, from, Math.min(EVENTS, from + SLICE), rejected).count;
  return count;
}

function naively(records: Records): number {
  let count = 0;
  for (let i = 0; i < EVENTS; i++) {
    const text = (records.bytes as Buffer).toString('utf8', records.valueStart[i], records.valueEnd[i]);
    if (schema.safeParse(JSON.parse(text)).success) count++;
  }
  return count;
}

export async function benchGate(quick: boolean): Promise<Row[]> {
  const records = makeRecords(),
    rejected: Rejection[] = [],
    rounds = quick ? 5 : 15;
  const fast = compileGate(ADS, ADS_PLAN, 0, HASH_KEY, { capacity: SLICE }),
    slow = compileGate(ADS, ADS_PLAN, 0, HASH_KEY, { capacity: SLICE, path: 'slow' });
  const ways: (() => number)[] = [
    () => throughGate(fast, records, rejected),
    () => throughGate(slow, records, rejected),
    () => naively(records),
  ];
  const times = ways.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [w, run] of ways.entries()) {
      const began = performance.now();
      if (run() !== EVENTS) throw new Error(`events were turned away: ${JSON.stringify(rejected[0])}`);
      times[w]!.push(((performance.now() - began) * 1e6) / EVENTS);
    }
  }
  const naive = median(times[2]!),
    bytes = Math.round(records.bytes.length / EVENTS);
  return [
    row('gate', `scanner, events of ${bytes} bytes, against JSON.parse and zod`, median(times[0]!), naive, 'ns'),
    row('gate', 'the same events on the slow path', median(times[1]!), naive, 'ns'),
  ];
}

if (import.meta.main) print(await benchGate(process.argv.includes('--quick')));
