/** The intake: batches of any size into parcels, whole or not at all. */
import { expect, test } from 'vitest';
import { codecs } from '../src/log/codecs.ts';
import { inputsOf, Intake } from '../topology/intake.ts';
import { OpenParcel } from '../topology/parcel.ts';
import { ADS, ADS_PLAN, ARRIVAL, eventsOf, HASH_KEY } from './gate-fixtures.ts';
import { encodeRecords, frame } from './log-fixture.ts';

const PLAN = { ...ADS_PLAN, producerKey: 'event_id' };
const rest = { event_time: ARRIVAL - 1000, advertiser_id: 'adv_0001', campaign_id: 'c', ad_id: 'a', country: 'DE', placement: 'feed' };
const json = (id: string, extra: object = {}): string => JSON.stringify({ event_id: id, ...rest, cost_micros: 5, ...extra });

function batch(base: number, records: readonly (readonly [key: string, value: string])[]): Buffer {
  const given = records.map(([key, value]) => ({ key: Buffer.from(key), value: Buffer.from(value), timestamp: ARRIVAL }));
  return frame(encodeRecords(given, ARRIVAL), { base, count: records.length, baseTimestamp: ARRIVAL, maxTimestamp: ARRIVAL });
}
const intakeOf = (plan: typeof PLAN | typeof ADS_PLAN): Intake =>
  new Intake({ plan, contracts: [ADS], shards: 2, hashKey: HASH_KEY, codecs, places: [{ source: 0, offset: 0 }] });

test.each([
  ['the id', ADS_PLAN],
  ['a field that the job names', PLAN],
])('a batch with a key that is not %s leaves the parcel as it was', (_, plan) => {
  const intake = intakeOf(plan),
    parcel = new OpenParcel(inputsOf(plan)),
    good = ['1', '2', '3'].map((id) => [id, json(id)] as const);
  intake.take(parcel, 0, batch(0, [...good, ['4', '{']]), 3);
  const before = structuredClone({ events: eventsOf(parcel.events), pieces: parcel.pieces, rejected: parcel.rejected });
  expect(before).toMatchObject({ pieces: [{ from: 0, to: 4, events: 3, nextOffset: 4 }], rejected: [{ record: 3, code: 'UNPARSEABLE' }] });
  const many = Array.from({ length: 9000 }, (__, i) => [`x${i}`, i % 100 === 7 ? '[]' : json(`x${i}`)] as const);
  expect(() => intake.take(parcel, 0, batch(4, [...many, ['other', json('y')]]), 9004)).toThrow('"other"');
  expect({ events: eventsOf(parcel.events), pieces: parcel.pieces, rejected: parcel.rejected }).toEqual(before);
  expect(parcel.records.count).toBe(4);
  // The same once more without it: all of it is taken, behind what was there, and numbered on.
  intake.take(parcel, 0, batch(4, many), 9003);
  expect(parcel.pieces[1]).toMatchObject({ from: 4, to: 9004, events: 3 + 8910, nextOffset: 9004 });
  expect(parcel.rejected.length).toBe(91);
  expect(parcel.events.record[3 + 8909]).toBe(9003);
});

test('events of batches that outgrow a parcel, with keys that outgrow it too, are those that come one by one', () => {
  const long = 'c'.repeat(64),
    values = Array.from({ length: 40_000 }, (_, i) =>
      json(`id-${i}`, { campaign_id: i % 3 === 0 ? long : `c${i % 50}`, ad_id: long.slice(i % 60) }),
    ),
    records = values.map((value, i) => [`id-${i}`, value] as const),
    intake = intakeOf(ADS_PLAN),
    grown = new OpenParcel(inputsOf(ADS_PLAN));
  for (const [from, to] of [
    [0, 5000],
    [5000, 6000],
    [6000, 40_000],
  ] as const)
    intake.take(grown, 0, batch(from, records.slice(from, to)), to - 1);
  const seen = eventsOf(grown.events).map(({ record: __, ...event }) => event);
  expect(seen.length).toBe(40_000);
  const single = intakeOf(ADS_PLAN),
    parcel = new OpenParcel(inputsOf(ADS_PLAN));
  for (let at = 0; at < 40_000; at += 999) {
    parcel.clear();
    single.take(parcel, 0, batch(at, [records[at]!]), at);
    expect(eventsOf(parcel.events).map(({ record: __, ...event }) => event)).toEqual([seen[at]]);
  }
});
