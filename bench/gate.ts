/**
 * The gate against the naive way, interleaved in one run: JSON bytes of ads events into columns (fingerprint and group key
 * included), against toString + JSON.parse + zod; nanoseconds an event. The same events are also sent as other producers write
 * them: in another order, with fields that the contract does not know. `node bench/gate.ts [--quick]`.
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

function event(): Record<string, unknown> {
  return {
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
  };
}

/** Another order, the same for all events. */
function turned(event: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(event).sort(([a], [b]) => (a < b ? 1 : -1)));
}

/** Five fields more, one of them nested. */
function widened({ event_id, ...event }: Record<string, unknown>): Record<string, unknown> {
  const user = { language: 'de', consent: [1, 3, 7], region: null };
  return {
    schema_version: 3,
    event_id,
    producer: 'edge-eu-west-1',
    ...event,
    is_test: false,
    user_agent: 'Mozilla/5.0 (X11; Linux)',
    user,
  };
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

function makeRecords(events: readonly Record<string, unknown>[]): Records {
  const texts = events.map((e) => JSON.stringify(e)),
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

/** A gate of its own for each: what one has learned would help the next. */
const gate = (path: 'both' | 'slow' = 'both'): CompiledGate => compileGate(ADS, ADS_PLAN, 0, HASH_KEY, { capacity: SLICE, path });

export async function benchGate(quick: boolean): Promise<Row[]> {
  const events = Array.from({ length: EVENTS }, event),
    rejected: Rejection[] = [],
    rounds = quick ? 5 : 15;
  const plain = makeRecords(events),
    other = makeRecords(events.map(turned)),
    wide = makeRecords(events.map(widened));
  const ways: readonly { what: string; gate: CompiledGate; records: Records }[] = [
    {
      what: `scanner, events of ${Math.round(plain.bytes.length / EVENTS)} bytes, against JSON.parse and zod`,
      gate: gate(),
      records: plain,
    },
    { what: 'the same events in another order of keys', gate: gate(), records: other },
    { what: 'the same events with five fields that the contract does not know', gate: gate(), records: wide },
    { what: 'the same events on the slow path', gate: gate('slow'), records: plain },
  ];
  const times = ways.map(() => ({ ours: [] as number[], naive: [] as number[] }));
  const timed = (run: () => number): number => {
    const began = performance.now();
    if (run() !== EVENTS) throw new Error(`events were turned away: ${JSON.stringify(rejected[0])}`);
    return ((performance.now() - began) * 1e6) / EVENTS;
  };
  for (let round = 0; round < rounds; round++) {
    for (const [w, way] of ways.entries()) {
      times[w]!.ours.push(timed(() => throughGate(way.gate, way.records, rejected)));
      times[w]!.naive.push(timed(() => naively(way.records)));
    }
  }
  return ways.map(({ what }, w) => row('gate', what, median(times[w]!.ours), median(times[w]!.naive), 'ns'));
}

if (import.meta.main) print(await benchGate(process.argv.includes('--quick')));
