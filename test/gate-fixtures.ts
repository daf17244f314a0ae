/**
 * Contracts, plans and records for the gate's tests: one contract as the shipped ads delivery, one that has every kind of field
 * and rule. Records are laid out with other bytes around them, as in a decoded batch.
 */
import type { EventColumns, Rejection } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import type { Contract, Field, FieldType } from '../topology/contract/model.ts';
import type { CompiledGate } from '../topology/contract/gate.ts';
import type { Plan, PlanMeasure } from '../topology/plan.ts';

export const HASH_KEY = [0x12345678, 0x9abcdef0] as const;
export const ARRIVAL = 1760000000000 + 60000;

export function field(name: string, type: FieldType, rules: Partial<Field> = {}): Field {
  return {
    name,
    type,
    required: true,
    time: type === 'timestamp' ? 'epoch_millis' : null,
    minLength: null,
    maxLength: null,
    pattern: null,
    format: null,
    minimum: null,
    maximum: null,
    exclusiveMinimum: null,
    exclusiveMaximum: null,
    multipleOf: null,
    notBefore: null,
    notAfter: null,
    scale: type === 'integer' ? 0 : null,
    validValues: null,
    validPattern: null,
    ...rules,
  };
}

export function contract(fields: readonly Field[]): Contract {
  return { id: 'test', version: '1.0.0', topic: 'test', digest: '', fields };
}

export function measure(name: string, rules: Partial<PlanMeasure>): PlanMeasure {
  return { name, kind: 'sum', source: 0, field: name, where: [], type: 'int64', scale: 0, ...rules };
}

export function plan(dimensions: Plan['dimensions'], measures: readonly PlanMeasure[]): Plan {
  return {
    format: 1,
    job: 'test',
    sources: [{ contract: 'test', version: '1.0.0', digest: '', topic: 'test' }],
    id: 'event_id',
    time: 'event_time',
    horizonMs: 30 * 86400000,
    outOfOrderMs: 300000,
    fenceMs: 3600000,
    maxRecordBytes: 1048576,
    producerKey: null,
    dimensions,
    measures,
    tables: [],
  };
}

export const ADS = contract([
  field('event_id', 'string', { minLength: 1, maxLength: 64 }),
  field('event_time', 'timestamp'),
  field('advertiser_id', 'string', { pattern: '^adv_[0-9]{4}$' }),
  field('campaign_id', 'string', { minLength: 1, maxLength: 64 }),
  field('ad_id', 'string', { minLength: 1, maxLength: 64 }),
  field('country', 'string', { pattern: '^[A-Z]{2}$' }),
  field('placement', 'string', { validValues: ['feed', 'story', 'search', 'video'] }),
  field('device', 'string', { required: false, validValues: ['ios', 'android', 'web', 'tv'] }),
  field('cost_micros', 'integer', { minimum: '0', maximum: '1000000000' }),
  field('auction_id', 'string', { required: false, maxLength: 64 }),
]);
const text = (name: string) => ({ name, type: 'string' as const });
export const ADS_PLAN = plan(['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement'].map(text), [
  measure('impressions', { kind: 'count', field: null }),
  measure('cost_micros', {}),
]);

/** Every type, every rule, every way that a job reads a field. */
export const ALL = contract([
  field('hint', 'string', { required: false, maxLength: 5 }),
  field('event_id', 'string', { minLength: 1, maxLength: 40 }),
  field('event_time', 'timestamp'),
  field('name', 'string', { minLength: 2, maxLength: 8 }),
  field('country', 'string', { pattern: '^[A-Z]{2}$' }),
  field('place', 'string', { validValues: ['feed', 'story', 'é'] }),
  field('mail', 'string', { required: false, format: 'email' }),
  field('trace', 'string', { required: false, format: 'uuid' }),
  field('count', 'integer'),
  field('small', 'integer', { required: false, minimum: '-5', exclusiveMaximum: '100', multipleOf: '5' }),
  field('paid', 'boolean'),
  field('opt_flag', 'boolean', { required: false, validValues: [true] }),
  field('price', 'number', { scale: 2, multipleOf: '0.01', minimum: '-10.5', maximum: '1000000' }),
  field('score', 'number', { required: false, minimum: '-1.5', exclusiveMaximum: '1000' }),
  field('ratio', 'number', { required: false, multipleOf: '0.25' }),
  field('seen_at', 'timestamp', { required: false, time: 'iso8601', notBefore: 1577836800000 }),
  field('day', 'date', { required: false }),
  field('level', 'integer', { required: false, validValues: [1, 2, 3] }),
  field('tag', 'string', { required: false, pattern: '(foo|b.r)', validPattern: '^[^x]*$' }),
]);
export const ALL_PLAN = plan(
  [text('name'), { name: 'count', type: 'integer' }, { name: 'paid', type: 'boolean' }, text('country')],
  [
    measure('n', { kind: 'count', field: null }),
    measure('small', {}),
    measure('price', { type: 'decimal', scale: 2 }),
    measure('score', { kind: 'max', type: 'float64' }),
    measure('ratio', { kind: 'min', type: 'float64' }),
    measure('seen_at', { kind: 'max', type: 'timestamp' }),
    measure('level', { where: [{ field: 'place', equals: 'feed' }] }),
    measure('a', {
      kind: 'count',
      field: null,
      where: [
        { field: 'place', equals: 'é' },
        { field: 'opt_flag', equals: true },
      ],
    }),
    measure('b', { kind: 'count', field: null, where: [{ field: 'hint', equals: '' }] }),
    measure('c', { kind: 'count', field: null, where: [{ field: 'price', equals: 1.5 }] }),
    measure('d', { kind: 'count', field: null, where: [{ field: 'count', equals: -7 }] }),
    measure('e', { kind: 'count', field: null, where: [{ field: 'day', equals: '2024-02-29' }] }),
    measure('f', { kind: 'count', field: null, where: [{ field: 'score', equals: 0.5 }] }),
    measure('g', { kind: 'count', field: null, where: [{ field: 'tag', equals: 'foobar' }] }),
  ],
);
export const ALL_EVENT = {
  hint: 'abc',
  event_id: '018f3c1e-7a2b-7c4d-9e5f-0123456789ab',
  event_time: 1760000000000,
  name: 'Zoë',
  country: 'DE',
  place: 'feed',
  mail: 'a.b@example.com',
  trace: '018F3C1E-7a2b-7c4d-9e5f-0123456789ab',
  count: 12,
  small: 10,
  paid: true,
  opt_flag: true,
  price: 12.34,
  score: 0.5,
  ratio: 1.75,
  seen_at: '2025-10-09T08:53:20.123Z',
  day: '2024-02-29',
  level: 2,
  tag: 'foobar',
};

/** Records as they lie in a batch: seven bytes of something else between them. */
export function records(values: readonly (string | Uint8Array | null)[], timestamp = ARRIVAL): Records {
  const parts = values.map((v) => (v === null ? Buffer.alloc(0) : Buffer.from(v as string)));
  const all = new Records();
  all.reserve(values.length);
  all.count = values.length;
  let at = 7;
  for (const [i, part] of parts.entries()) {
    all.timestamp[i] = timestamp;
    all.valueStart[i] = values[i] === null ? -1 : at;
    all.valueEnd[i] = values[i] === null ? -1 : at + part.length;
    at += part.length + 7;
  }
  const bytes = Buffer.alloc(at - 7, '"}0,:a[');
  for (const [i, part] of parts.entries()) if (values[i] !== null) part.copy(bytes, all.valueStart[i]!);
  all.bytes = bytes;
  return all;
}

export interface Seen {
  readonly rejected: readonly Rejection[];
  readonly events: readonly Record<string, unknown>[];
}

/** Copies of the columns, event by event. */
export function eventsOf(out: EventColumns): Record<string, unknown>[] {
  return Array.from({ length: out.count }, (_, i) => ({
    record: out.record[i],
    id: [...out.id.subarray(4 * i, 4 * i + 4)],
    time: out.time[i],
    fingerprint: out.fingerprint[i],
    keyHash: out.keyHash[i],
    key: Buffer.from(out.keyBytes.subarray(i === 0 ? 0 : out.keyEnd[i - 1]!, out.keyEnd[i]!)).toString('latin1'),
    where: out.where[i],
    lo: out.lo.map((c) => c[i]),
    hi: out.hi.map((c) => c[i]),
  }));
}

export function see(gate: CompiledGate, values: readonly (string | Uint8Array | null)[], timestamp = ARRIVAL): Seen {
  const rejected: Rejection[] = [];
  const out = gate.scan(records(values, timestamp), 0, values.length, rejected);
  return { rejected, events: eventsOf(out) };
}
