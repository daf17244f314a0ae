/** The plan from a topology and contracts at run time: nothing here leans on the compiler (handles are untyped). */
import { describe, expect, test } from 'vitest';
import { loadContracts } from '../src/contracts/read.ts';
import { buildPlan } from '../topology/build-plan.ts';
import type { Contract } from '../topology/contract/model.ts';
import { planDigest } from '../topology/digest.ts';
import { JobError } from '../topology/job-error.ts';
import { contract, count, day, days, hour, hours, max, min, minutes, seconds, sum, topology, tumbling } from '../topology/job.ts';
import type { JobSpec, TopologyValue } from '../topology/job.ts';
import adsInsights from '../topology/jobs/ads-insights.ts';
import telemetryJob from '../topology/jobs/telemetry.ts';

const { contracts } = loadContracts('contracts');
const click = contract('ads-click'),
  delivery = contract('ads-delivery'),
  telemetry = contract('telemetry');

const base: JobSpec = topology('mine')
  .read(click, delivery)
  .dedupe({ by: 'event_id' })
  .watermark({ by: 'event_time', outOfOrder: minutes(5) })
  .keyBy('country')
  .aggregate({ clicks: count(click) })
  .window(tumbling(hour).into('mine_hourly')).spec;
const job = (change: object): TopologyValue => ({ kind: 'tally.topology', spec: { ...base, ...change } });
const plan = (change: object) => buildPlan(job(change), contracts);

function refusal(change: object, known: ReadonlyMap<string, Contract> = contracts): string {
  try {
    buildPlan(job(change), known);
  } catch (error) {
    if (error instanceof JobError) return error.message;
    throw error;
  }
  return 'planned';
}
const measured = (name: string, measure: unknown): string => refusal({ measures: { [name]: measure } });
const written = (...windows: unknown[]): string => refusal({ windows });

describe('a plan', () => {
  test('holds what the shipped ads job says, in its order, with the defaults filled in', () => {
    const p = buildPlan(adsInsights, contracts);
    expect(p.sources.map((s) => s.topic)).toEqual(['ads.delivery', 'ads.click', 'ads.conversion']);
    expect(p.sources.map((s) => s.digest)).toEqual(['ads-delivery', 'ads-click', 'ads-conversion'].map((id) => contracts.get(id)!.digest));
    expect(p.dimensions.map((d) => d.name)).toEqual(['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement']);
    expect(p.measures[3]).toEqual({
      name: 'spend_micros',
      kind: 'sum',
      source: 0,
      field: 'cost_micros',
      where: [],
      type: 'int64',
      scale: 0,
    });
    expect(p).toMatchObject({
      id: 'event_id',
      time: 'event_time',
      horizonMs: 30 * 86_400_000,
      outOfOrderMs: 300_000,
      fenceMs: 3_600_000,
      maxRecordBytes: 1 << 20,
      producerKey: null,
    });
    expect(p.tables).toEqual([
      { name: 'ads_hourly', size: 'hour', zone: 'UTC' },
      { name: 'ads_daily', size: 'day', zone: 'UTC' },
    ]);
  });

  test('types each measure by the field that it reads', () => {
    const byName = Object.fromEntries(buildPlan(telemetryJob, contracts).measures.map((m) => [m.name, [m.type, m.scale]]));
    expect(byName).toMatchObject({
      events: ['int64', 0],
      stall_seconds: ['decimal', 3],
      fastest_start_seconds: ['decimal', 3],
      bytes: ['int64', 0],
      best_bitrate_mbps: ['float64', 0],
      last_at: ['timestamp', 0],
    });
  });

  test('is the same through JSON, and so is its digest', () => {
    const p = buildPlan(telemetryJob, contracts);
    expect(JSON.parse(JSON.stringify(p))).toEqual(p);
    expect(planDigest(JSON.parse(JSON.stringify(p)))).toBe(planDigest(p));
    expect(planDigest({ ...p })).toBe(planDigest(Object.fromEntries(Object.entries(p).reverse()) as typeof p));
  });

  test('has another digest when anything in it, or a contract under it, is another', () => {
    const digests = [
      {},
      { name: 'yours' },
      { dimensions: ['country', 'device'] },
      { measures: { clicks: count(click, { paid_by: 'card' }) } },
      { windows: [tumbling(day).into('mine_hourly')] },
      { windows: [tumbling(hour, { zone: 'Asia/Kolkata' }).into('mine_hourly')] },
      { limits: { maxRecordBytes: 1000 } },
      { dedupe: { by: 'event_id', horizon: days(2) } },
      { dedupe: { by: 'event_id', producerKey: 'ad_id' } },
      { watermark: { by: 'event_time', outOfOrder: minutes(5), fence: hours(2) } },
    ].map((change) => planDigest(plan(change)));
    const other = new Map(contracts).set('ads-click', { ...contracts.get('ads-click')!, digest: '0'.repeat(64) });
    expect(new Set([...digests, planDigest(buildPlan(job({}), other))]).size).toBe(11);
  });

  test('does not depend on the order in which a condition is written', () => {
    const one = plan({ measures: { n: count(click, { country: 'DE', paid_by: 'card' }) } }),
      two = plan({ measures: { n: count(click, { paid_by: 'card', country: 'DE' }) } });
    expect(one).toEqual(two);
    expect(one.measures[0]!.where).toEqual([
      { field: 'country', equals: 'DE' },
      { field: 'paid_by', equals: 'card' },
    ]);
  });

  test('may have no dimension: one row a window', () => {
    expect(plan({ dimensions: [] }).dimensions).toEqual([]);
  });
});

describe('a job is refused', () => {
  test.each([
    ['sources', 'the topology says no read'],
    ['dedupe', 'the topology says no dedupe'],
    ['watermark', 'the topology says no watermark'],
    ['dimensions', 'the topology says no keyBy'],
    ['measures', 'the topology says no aggregate'],
    ['windows', 'the topology says no window'],
  ])('when it says no %s', (part, sentence) => {
    expect(refusal({ [part]: undefined })).toBe(sentence);
  });

  test('when it says a part twice', () => {
    const once = topology('a').limits({ maxRecordBytes: 1000 });
    expect(() => once.limits({})).toThrow('the job says its limits twice');
  });

  test.each(['Ads', '', 'a_b', '1a', '../x', 'a'.repeat(65), undefined])('when it is named %j', (name) => {
    expect(refusal({ name })).toMatch(/^the job's name .* must be lower case letters, digits and hyphens, a letter first, 64 at most$/);
  });

  test('when it reads what is no contract, or one twice', () => {
    expect(refusal({ sources: ['ads-clik'] })).toBe('there is no contract "ads-clik"; did you mean "ads-click"?');
    expect(refusal({ sources: ['zzz'] })).toBe('there is no contract "zzz"');
    expect(refusal({ sources: ['ads-click', 'ads-click'] })).toBe('contract "ads-click" is read twice');
    expect(refusal({ sources: [undefined] })).toBe('read() was given something that is no contract');
    expect(refusal({ sources: [] })).toBe('read() has 0 contracts: it takes 1 to 32');
  });

  test('when a field of id, time or key is not there, not required or of a wrong type', () => {
    expect(refusal({ dedupe: { by: 'event_ident' } })).toBe(
      'dedupe by: contract "ads-click" has no field "event_ident"; did you mean "event_id"?',
    );
    expect(refusal({ dedupe: { by: 'user_id' } })).toBe('dedupe by: field "user_id" of contract "ads-click" is not required');
    expect(refusal({ dedupe: { by: 'event_time' } })).toBe(
      'dedupe by: field "event_time" of contract "ads-click" is of type timestamp, not string or integer',
    );
    expect(refusal({ dedupe: { by: 'event_id', producerKey: 'paid_by' } })).toBe(
      'producerKey: contract "ads-delivery" has no field "paid_by"',
    );
    expect(refusal({ watermark: { by: 'country', outOfOrder: minutes(5) } })).toBe(
      'watermark by: field "country" of contract "ads-click" is of type string, not timestamp',
    );
    expect(refusal({ dimensions: ['plcement'] })).toBe('keyBy: contract "ads-click" has no field "plcement"; did you mean "placement"?');
    expect(refusal({ dimensions: ['paid_by'] })).toBe('keyBy: contract "ads-delivery" has no field "paid_by"');
    expect(refusal({ dimensions: ['user_id'] })).toBe('keyBy: field "user_id" of contract "ads-click" is not required');
    expect(refusal({ dimensions: ['event_time'] })).toBe(
      'keyBy: field "event_time" of contract "ads-click" is of type timestamp, not string or integer or boolean',
    );
    expect(refusal({ dimensions: [7] })).toBe('keyBy: contract "ads-click" has no field 7');
  });

  test('when a field is of another type in another contract', () => {
    const other = contracts.get('ads-delivery')!;
    const fields = other.fields.map((f) => (f.name === 'country' ? { ...f, type: 'integer' as const } : f));
    expect(refusal({}, new Map(contracts).set('ads-delivery', { ...other, fields }))).toBe(
      'keyBy: field "country" is of type string in contract "ads-click", but integer in "ads-delivery"',
    );
  });

  test('when a measure cannot be made of its field', () => {
    expect(measured('n', sum(delivery, 'cost_micro'))).toBe(
      'measure "n": contract "ads-delivery" has no field "cost_micro"; did you mean "cost_micros"?',
    );
    expect(measured('n', sum(delivery, 'country'))).toBe(
      'measure "n": field "country" of contract "ads-delivery" is of type string, which cannot be summed',
    );
    expect(measured('n', min(delivery, 'country'))).toBe(
      'measure "n": field "country" of contract "ads-delivery" is of type string, which has no min',
    );
    expect(measured('n', count(telemetry))).toBe('measure "n" is over contract "telemetry", which the job does not read');
    expect(measured('n', count(contract('ads-clicks')))).toBe(
      'measure "n" is over contract "ads-clicks", which the job does not read; did you mean "ads-click"?',
    );
    expect(measured('n', 'count')).toBe('measure "n" is no measure');
    expect(measured('n', null)).toBe('measure "n" is no measure');
    const overTelemetry = (measure: unknown) => refusal({ sources: ['telemetry'], dimensions: ['region'], measures: { n: measure } });
    expect(overTelemetry(sum(telemetry, 'bitrate_mbps'))).toBe(
      'measure "n": field "bitrate_mbps" of contract "telemetry" is a number without decimal places of its own, so its sum would not be exact',
    );
    expect(overTelemetry(sum(telemetry, 'event_time'))).toBe(
      'measure "n": field "event_time" of contract "telemetry" is of type timestamp, which cannot be summed',
    );
    expect(overTelemetry(max(telemetry, 'live'))).toBe(
      'measure "n": field "live" of contract "telemetry" is of type boolean, which has no max',
    );
    expect(overTelemetry(max(telemetry, 'released'))).toBe(
      'measure "n": field "released" of contract "telemetry" is of type date, which has no max',
    );
  });

  test('when a condition can not be asked, or can never hold', () => {
    expect(measured('n', count(click, { payed_by: 'card' }))).toBe(
      'measure "n", condition: contract "ads-click" has no field "payed_by"; did you mean "paid_by"?',
    );
    expect(measured('n', count(click, { paid_by: 'crd' }))).toBe(
      'measure "n": condition on field "paid_by" of contract "ads-click" can never hold: "crd" is not among its valid values; did you mean "card"?',
    );
    expect(measured('n', count(click, { country: 1 }))).toBe(
      'measure "n": condition on field "country" of contract "ads-click" compares it with 1, but it is of type string',
    );
    expect(measured('n', count(click, { price_micros: 1.5 }))).toBe(
      'measure "n": condition on field "price_micros" of contract "ads-click" compares it with 1.5, but it is of type integer',
    );
    expect(measured('n', count(click, { event_time: 1 }))).toBe(
      'measure "n": condition on field "event_time" of contract "ads-click" is on a timestamp',
    );
    const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`n${i}`, count(click, { price_micros: i })]));
    expect(refusal({ measures: many })).toBe('the measures over contract "ads-click" have 33 different conditions: 32 at most');
  });

  test.each(['window_start', 'window_end', 'shard', 'version', 'state', 'op', 'sign', 'cause', 'changed_at', 'corrected'])(
    'when a measure is named %s',
    (name) => {
      expect(measured(name, count(click))).toBe(`measure "${name}" has the name of a column that every table has`);
    },
  );

  test('when names are not plain, or are there twice', () => {
    expect(measured('Clicks', count(click))).toBe(
      'measure "Clicks" is not a plain SQL name: lower case letters, digits and _, a letter first, 64 at most',
    );
    expect(measured('a b', count(click))).toContain('is not a plain SQL name');
    expect(measured('country', count(click))).toBe('measure "country" is named twice');
    expect(refusal({ dimensions: ['country', 'country'] })).toBe('dimension "country" is named twice');
    expect(written(tumbling(hour).into('a'), tumbling(day).into('a'))).toBe('table "a" is named twice');
    expect(written(tumbling(hour).into('a;drop'))).toContain('table "a;drop" is not a plain SQL name');
    expect(written(tumbling(hour).into('tally_books'))).toBe('table "tally_books" begins with tally_');
    expect(written(tumbling(hour).into('ads_hourly'), tumbling(day).into('ads_hourly_live'))).toBe(
      'table "ads_hourly_live" ends in _live, which could be the name of a table made beside another',
    );
    expect(written(tumbling(hour).into('ads_changes'))).toContain('ends in _changes');
    expect(written(tumbling(hour).into('ads_g1_rows'))).toContain('ends in _rows');
  });

  test('when a window is of no known size, zone or table', () => {
    expect(written(tumbling('week' as 'day').into('a'))).toBe('table "a": a window is tumbling(hour) or tumbling(day), not "week"');
    expect(written(tumbling(day, { zone: 'Europe/Berln' }).into('a'))).toBe(
      'table "a": there is no zone "Europe/Berln"; did you mean "Europe/Berlin"?',
    );
    expect(written(tumbling(day, { zone: 'europe/berlin' }).into('a'))).toBe(
      'table "a": there is no zone "europe/berlin"; did you mean "Europe/Berlin"?',
    );
    expect(written(tumbling(day, { zone: '+02:00' }).into('a'))).toBe('table "a": there is no zone "+02:00"');
    expect(written(tumbling(day))).toBe('a window says no table');
  });

  test('when a length of time or a limit is out of bounds', () => {
    expect(refusal({ dedupe: { by: 'event_id', horizon: days(43) } })).toBe(
      'horizon is 3715200000: it must be from 1 hour to 42 days, such as days(30)',
    );
    expect(refusal({ dedupe: { by: 'event_id', horizon: 30 } })).toContain('horizon is 30: it must be');
    expect(refusal({ dedupe: { by: 'event_id', horizon: seconds(3600) } })).toBe('planned');
    expect(refusal({ dedupe: { by: 'event_id', horizon: days(42) } })).toBe('planned');
    expect(refusal({ watermark: { by: 'event_time' } })).toBe(
      'outOfOrder is missing: it must be from 0 to the horizon, such as minutes(5)',
    );
    expect(refusal({ watermark: { by: 'event_time', outOfOrder: -1 } })).toContain('outOfOrder is -1');
    expect(refusal({ watermark: { by: 'event_time', outOfOrder: days(31) } })).toContain('from 0 to the horizon');
    expect(refusal({ watermark: { by: 'event_time', outOfOrder: 0, fence: Number.NaN } })).toContain('fence is null');
    expect(refusal({ limits: { maxRecordBytes: 0 } })).toBe('maxRecordBytes is 0: it must be bytes from 1 to 64 MiB');
    expect(refusal({ limits: { maxRecordBytes: 1.5 } })).toContain('maxRecordBytes is 1.5');
  });
});
