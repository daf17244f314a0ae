/** The parts of the hop by themselves: what a job may say, the topic's name, which shard a record belongs to, and what is refused of a topic. */
import { describe, expect, test } from 'vitest';
import { BatchBuilder } from '../src/log/batch-builder.ts';
import { codecs } from '../src/log/codecs.ts';
import { drawPlan } from '../src/cli/draw-plan.ts';
import { loadContracts } from '../src/contracts/read.ts';
import { makeJudge } from '../src/verify/judge.ts';
import { router } from '../src/verify/route.ts';
import { buildPlan } from '../topology/build-plan.ts';
import { putInt64 } from '../topology/consume/batch-header.ts';
import { planDigest } from '../topology/digest.ts';
import { encodeMarker, MARKER_HEADERS, SourceHeader } from '../topology/hop/format.ts';
import type { Marker } from '../topology/hop/format.ts';
import { HopIntake } from '../topology/hop/intake.ts';
import { hopTopic } from '../topology/hop/topic.ts';
import { compileGate } from '../topology/contract/gate.ts';
import { contract, count, hour, minutes, topology, tumbling } from '../topology/job.ts';
import { OpenParcel } from '../topology/parcel.ts';
import { decodePosition, encodePosition, freshPosition } from '../topology/position.ts';
import { ALL, ALL_EVENT, ALL_PLAN, HASH_KEY, see } from './gate-fixtures.ts';
import { PLAN, SALES, T0, VIEWS } from './verify-fixture.ts';

const { contracts } = loadContracts('contracts');

describe('a job that is repartitioned', () => {
  const click = contract('ads-click'),
    read = topology('mine').read(click, contract('ads-delivery'));
  const rest = (from: Pick<typeof read, 'dedupe'>, producerKey?: string) =>
    from
      .dedupe({ by: 'event_id', ...(producerKey === undefined ? {} : { producerKey }) })
      .watermark({ by: 'event_time', outOfOrder: minutes(5) })
      .keyBy('country')
      .aggregate({ clicks: count(click) })
      .window(tumbling(hour).into('mine_hourly'));
  const plain = buildPlan(rest(read), contracts),
    plan = buildPlan(rest(read.repartition({ by: 'event_id' })), contracts);

  test('has a plan of its own, and leaves the digests of all other jobs as they were', () => {
    expect(plan.repartition).toEqual({ by: 'event_id' });
    expect('repartition' in plain).toBe(false);
    expect(planDigest(plan)).not.toBe(planDigest(plain));
    expect(planDigest(buildPlan(rest(read.repartition({ by: 'campaign_id' })), contracts))).not.toBe(planDigest(plan));
  });

  test('goes by a field that each contract has, and does not ask for the key of producers', () => {
    const by = (field: string) => () => buildPlan(rest(read.repartition({ by: field })), contracts);
    expect(by('event_ident')).toThrow('repartition by: contract "ads-click" has no field "event_ident"; did you mean "event_id"?');
    expect(by('user_id')).toThrow('repartition by: field "user_id" of contract "ads-click" is not required');
    expect(by('event_time')).toThrow('is of type timestamp, not string or integer');
    expect(() => buildPlan(rest(read.repartition({ by: 'event_id' }), 'campaign_id'), contracts)).toThrow(
      'both repartition and producerKey',
    );
  });

  test('is drawn with the topics that it goes through', () => {
    const text = drawPlan(
      plan,
      plan.sources.map((s) => contracts.get(s.contract)!),
      planDigest(plan),
    );
    expect(text).toMatch(/ hop {2}\+- with several shards, each record to the shard of its event_id, through\n/);
    expect(text).toContain('-> tally-mine-ads.click-by-event_id\n');
  });

  test('has internal topics with legal names that differ', () => {
    expect(hopTopic(plan, 1)).toBe('tally-mine-ads.delivery-by-event_id');
    const long = (topic: string) => hopTopic({ ...plan, sources: [{ ...plan.sources[0]!, topic }] }, 0),
      names = [long('t'.repeat(249)), long('t'.repeat(248)), long('a/b'), long('a_b'), long('a b')];
    for (const name of names) expect(name).toMatch(/^[A-Za-z0-9._-]{1,249}$/);
    expect(new Set(names).size).toBe(names.length);
  });
});

test('gate and oracle say of each value the same shard, on either path, whatever its letter case', () => {
  const shards = 7,
    judge = makeJudge(ALL, ALL_PLAN.maxRecordBytes),
    seen = new Map<string, number>();
  for (const [by, values] of Object.entries({
    event_id: [
      'a',
      'ab',
      'abc',
      'abcd',
      'é',
      'x\u0001"',
      ALL_EVENT.event_id,
      ALL_EVENT.event_id.toUpperCase(),
      '018f3c1e-7a2b-7c4d-9e5f-0123456789aG',
    ],
    count: [0, 7, -7, 2 ** 31, -(2 ** 40), Number.MAX_SAFE_INTEGER, '9223372036854775807', '-9223372036854775808', '9007199254740993'],
  })) {
    const plan = { ...ALL_PLAN, repartition: { by } },
      shardOf = router(plan, [ALL], shards);
    for (const path of ['both', 'slow'] as const) {
      const gate = compileGate(ALL, plan, 0, HASH_KEY, { path, route: { field: by, shards } });
      for (const value of values) {
        const text = JSON.stringify({ ...ALL_EVENT, [by]: '@' }).replace('"@"', by === 'count' ? String(value) : JSON.stringify(value));
        expect(see(gate, [text]).rejected, text).toEqual([]);
        expect(gate.router!.shardOf[0], text).toBe(shardOf(0, 0, judge(Buffer.from(text))));
        seen.set(String(value), gate.router!.shardOf[0]!);
      }
    }
    // What the contract turns away has nothing to go by but its partition.
    expect(shardOf(0, 9, judge(Buffer.from('{')))).toBe(2);
  }
  expect(seen.get(ALL_EVENT.event_id)).toBe(seen.get(ALL_EVENT.event_id.toUpperCase()));
  expect(new Set(seen.values()).size).toBeGreaterThan(3);
});

test('a position keeps how far the hop was read, and one without a hop reads as before', () => {
  const topics = [{ source: 0, topic: 'views', partitions: [0, 1] }],
    with1 = freshPosition(topics, [{ source: 0, topic: 'hop', partition: 3 }]);
  with1.hops[0]!.offset = 17;
  with1.partitions[1]!.heard = 5;
  expect(decodePosition(encodePosition(with1))).toEqual(with1);
  const without = encodePosition(freshPosition(topics));
  expect(Buffer.from(without).toString()).not.toContain('hops');
  expect(decodePosition(without).hops).toEqual([]);
});

describe('what is read of an internal topic', () => {
  const PARTITIONS = 2,
    STAMP = { plan: 'p', generation: 1, shards: 2, from: 'earliest' };
  const sources = ['views', 'sales'].flatMap((_, source) =>
    Array.from({ length: PARTITIONS }, (__, partition) => ({ source, partition, offset: 0 })),
  );
  const opened = (from: string | null = null) =>
    new HopIntake({
      plan: { ...PLAN, repartition: { by: 'event_id' } },
      contracts: [VIEWS, SALES],
      hashKey: [1, 2],
      codecs,
      stamp: { ...STAMP, from },
      hops: [{ source: 0, topic: 'hop', offset: 0 }],
      sources,
      times: new SharedArrayBuffer(16),
    });
  const view = (id: string): Buffer => Buffer.from(`{"event_id":"${id}","event_time":${T0},"country":"DE","cost":1}`);
  const marker = (more: object): Uint8Array => {
    const mark = { next: 5, high: T0, caughtUp: true, end: 5, skipped: [[0, 2]], leaderEpoch: -1, topicId: '', partition: 1 };
    return encodeMarker({
      format: 1,
      ...STAMP,
      slice: 1,
      atMs: T0,
      time: T0,
      sources: [{ ...mark, ...more }],
      ...more,
    } as unknown as Marker);
  };
  let at = 0;
  const took = (intake: HopIntake, ...records: readonly (readonly [Uint8Array, Uint8Array | undefined])[]): OpenParcel => {
    const builder = new BatchBuilder(1 << 20),
      parcel = new OpenParcel(3, undefined, undefined, true);
    for (const [value, headers] of records) builder.add(null, value, 0, value.length, T0, headers);
    const raw = Buffer.concat(builder.seal('lz4').parts as Uint8Array[]);
    putInt64(raw, 0, at);
    at += records.length;
    intake.take(parcel, 0, raw, at - 1, 1);
    return parcel;
  };
  const from = (partition: number, offset: number): Uint8Array => new SourceHeader().fill(partition, offset, T0 + offset).slice();

  test('has the places, offsets and times of the source, each record once, and a word of the writer in its place', () => {
    const intake = opened(),
      parcel = took(
        intake,
        [view('a'), from(1, 3)],
        [view('b'), from(0, 9)],
        [view('a'), from(1, 3)],
        [view('c'), from(1, 4)],
        [marker({}), MARKER_HEADERS],
        [view('c'), from(1, 4)],
      );
    expect(parcel.pieces.map(({ place, from, to, events, nextOffset }) => [place, from, to, events, nextOffset])).toEqual([
      [1, 0, 1, 1, 4],
      [0, 1, 2, 2, 10],
      [1, 3, 4, 3, 5],
      [1, 4, 4, 3, 5],
    ]);
    expect(parcel.pieces[3]!.says).toEqual({ high: T0, skipped: [[0, 2]] });
    expect([...parcel.records.offset.subarray(0, 2), ...parcel.records.timestamp.subarray(0, 2)]).toEqual([3, 9, T0 + 3, T0 + 9]);
    expect(parcel.hops).toMatchObject([{ place: 0, offset: at }]);
    expect(intake.caughtUpSince(0)).toEqual([false, true, false, false]);
    // Who is silent for too long may have anything to send.
    expect(intake.caughtUpSince(2)).toEqual([false, false, false, false]);
    took(intake, [view('d'), from(1, 5)]);
    expect(intake.caughtUpSince(0)[1]).toBe(false);
  });

  test('must have been written by tally, for this plan, these shards and from the same beginning', () => {
    expect(() => took(opened(), [view('a'), undefined])).toThrow('was not written by tally');
    for (const other of [{ plan: 'q' }, { generation: 2 }, { shards: 3 }])
      expect(() => took(opened(), [marker(other), MARKER_HEADERS])).toThrow('was written for another');
    expect(() => took(opened('latest'), [marker({}), MARKER_HEADERS])).toThrow('was written for another from');
    expect(took(opened('earliest'), [marker({}), MARKER_HEADERS]).pieces).toHaveLength(1);
  });
});
