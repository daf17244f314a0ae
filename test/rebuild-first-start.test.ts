/** From when on windows can be counted again: where one of every table begins. */
import { expect, test } from 'vitest';
import { firstStart, planRebuild } from '../src/run/rebuild.ts';
import type { Plan } from '../topology/plan.ts';

const plan = (...tables: readonly (readonly ['hour' | 'day', string])[]): Plan =>
  ({ job: 'j', tables: tables.map(([size, zone]) => ({ name: 't', size, zone })) }) as unknown as Plan;
const at = (text: string): number => Date.parse(text);

test('the next hour, the next midnight of its zone, or the instant itself', () => {
  expect(firstStart(plan(['hour', 'UTC']), at('2026-03-28T10:00:00.001Z'))).toBe(at('2026-03-28T11:00:00Z'));
  expect(firstStart(plan(['hour', 'UTC'], ['day', 'Europe/Berlin']), at('2026-03-28T22:30:00Z'))).toBe(at('2026-03-28T23:00:00Z'));
  expect(firstStart(plan(['day', 'Europe/Berlin'], ['hour', 'UTC']), at('2026-03-28T23:00:01Z'))).toBe(at('2026-03-29T22:00:00Z'));
  expect(firstStart(plan(['day', 'UTC'], ['hour', 'UTC']), at('2026-03-28T00:00:00Z'))).toBe(at('2026-03-28T00:00:00Z'));
  expect(firstStart(plan(['day', 'Asia/Kolkata']), at('2026-03-28T00:00:00Z'))).toBe(at('2026-03-28T18:30:00Z'));
  expect(firstStart(plan(['day', 'UTC'], ['day', 'Europe/London']), at('2026-01-10T07:00:00Z'))).toBe(at('2026-01-11T00:00:00Z'));
});

test('windows that never begin together are refused, not cut', () => {
  for (const p of [plan(['day', 'UTC'], ['day', 'Europe/Berlin']), plan(['hour', 'UTC'], ['hour', 'Asia/Kolkata'])])
    expect(() => firstStart(p, at('2026-03-28T10:00:00Z'))).toThrow(expect.objectContaining({ code: 'E_REBUILD' }));
});

test('a job whose records come over topics between is refused', async () => {
  const from = { plan: { ...plan(['hour', 'UTC']), repartition: { by: 'id' } }, shards: 2, log: '/nowhere' };
  await expect(planRebuild(from as Parameters<typeof planRebuild>[0], { told: [], claims: [] })).rejects.toMatchObject({
    code: 'E_REBUILD',
  });
});
