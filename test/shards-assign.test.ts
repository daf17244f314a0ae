/** Who ought to run which shard: whatever members there are and whatever they have. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assignShards } from '../src/kafka/shards/assign-shards.ts';
import type { ShardMember } from '../src/kafka/shards/assign-shards.ts';

const SHARDS_MOST = 20;
const shard = fc.nat(SHARDS_MOST - 1),
  member = fc.record({
    states: fc.array(fc.tuple(shard, fc.nat(4)), { maxLength: 12 }).map((pairs) => new Map(pairs)),
    assigned: fc.array(shard, { maxLength: 8 }).map((shards) => new Set(shards)),
  }),
  members = fc
    .array(member, { minLength: 1, maxLength: 8 })
    .map((all) => all.map((m, i): ShardMember => ({ ...m, id: `id-${(i * 7) % 8}`, instance: `i${i >> 1}` })));

const names = (all: ReadonlyMap<string, readonly number[]>): [string, readonly number[]][] => [...all].sort(([a], [b]) => (a < b ? -1 : 1));

test('every shard has one member, loads differ by at most one, and the order of the members says nothing', () => {
  fc.assert(
    fc.property(members, fc.nat(SHARDS_MOST), fc.infiniteStream(fc.nat()), (all, shards, order) => {
      const given = assignShards(all, shards),
        loads = [...given.values()].map(({ length }) => length);
      expect([...given.keys()].sort()).toEqual(all.map(({ id }) => id).sort());
      expect([...given.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: shards }, (_, i) => i));
      expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
      const shuffled = all.map((m) => ({ m, at: order.next().value })).sort((a, b) => a.at - b.at);
      expect(
        names(
          assignShards(
            shuffled.map(({ m }) => m),
            shards,
          ),
        ),
      ).toEqual(names(given));
    }),
  );
});

test('as many shards stay with who has their newest state as even loads allow', () => {
  fc.assert(
    fc.property(members, fc.nat(SHARDS_MOST), (all, shards) => {
      // Without ties: of each shard one member's state is newer than all others.
      const distinct = all.map((m, i) => ({ ...m, states: new Map([...m.states].map(([s, version]) => [s, version * 8 + i])) })),
        newest = (s: number): ShardMember | undefined =>
          distinct.filter((m) => m.states.has(s)).sort((a, b) => b.states.get(s)! - a.states.get(s)!)[0];
      const given = assignShards(distinct, shards),
        all_ = Array.from({ length: shards }, (_, s) => s),
        least = Math.floor(shards / all.length),
        bests = distinct.map((m) => all_.filter((s) => newest(s) === m).length),
        kept = all_.filter((s) => newest(s) !== undefined && given.get(newest(s)!.id)!.includes(s)).length;
      const extra = Math.min(shards % all.length, bests.filter((n) => n > least).length);
      // Shards that nobody has a state of may go by whom they were assigned to, never in place of these.
      expect(kept).toBe(bests.reduce((sum, n) => sum + Math.min(n, least), 0) + extra);
    }),
  );
});

test('without any state, shards stay where they are assigned when others come and go', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(SHARDS_MOST), (count, shards) => {
      const fresh = (n: number): ShardMember => ({ id: `m${n}`, instance: `i${9 - n}`, states: new Map(), assigned: new Set() }),
        before = assignShards(
          Array.from({ length: count }, (_, n) => fresh(n)),
          shards,
        ),
        now = Array.from({ length: count + 1 }, (_, n) => ({ ...fresh(n), assigned: new Set(before.get(`m${n}`)) })),
        after = assignShards(now, shards),
        stayed = [...before].flatMap(([id, its]) => its.filter((s) => after.get(id)!.includes(s))).length;
      expect(stayed).toBe(shards - Math.floor(shards / (count + 1)));
    }),
  );
});

test('of two whose states are equally new, the one that is assigned the shard keeps it', () => {
  const states = new Map([
      [0, 7],
      [1, 7],
    ]),
    member = (id: string, ...assigned: number[]): ShardMember => ({ id, instance: id, states, assigned: new Set(assigned) });
  expect(assignShards([member('a', 1), member('b', 0)], 2)).toEqual(
    new Map([
      ['a', [1]],
      ['b', [0]],
    ]),
  );
});
