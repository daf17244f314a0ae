import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { GIVEN, rightTables, T0, verifySpoilt } from './verify-fixture.ts';
import type { Row, Tables } from './verify-fixture.ts';

const row = (t: Tables, view: string, where: Row): Row => {
  const found = t[view]!.find((r) => Object.entries(where).every(([k, v]) => r[k] === v));
  if (found === undefined) throw new Error(`the fixture has no such row in ${view}`);
  return found;
};
const remove = (t: Tables, view: string, where: Row): void => void t[view]!.splice(t[view]!.indexOf(row(t, view, where)), 1);
const H0 = { start_s: T0 / 1000, d0: 'DE' };

describe('the oracle', () => {
  test('has nothing to say of right tables', async () => {
    const result = await verifySpoilt(() => {});
    expect(result.differences.map((d) => d.sentence)).toEqual([]);
    expect(result).toMatchObject({ ok: true, total: 0, records: 21, counted: 9, duplicate: 2, conflict: 2, quarantined: 8 });
    expect(result.rows).toMatchObject({ shop_hourly: 4, shop_hourly_live: 6, shop_hourly_changes: 6 });
  });

  const wrong: [string, string, (t: Tables) => void][] = [
    ['a missing row of the live view', 'live', (t) => remove(t, 'shop_hourly_live', H0)],
    ['a missing row of the final view', 'final', (t) => remove(t, 'shop_daily', { d0: 'DE' })],
    ['a row of a key that no event has', 'live', (t) => t.shop_hourly_live!.push({ ...row(t, 'shop_hourly_live', H0), d0: 'XX' })],
    ['a row of a window that no event has', 'live', (t) => t.shop_hourly_live!.push({ ...row(t, 'shop_hourly_live', H0), start_s: 0 })],
    ['a row twice', 'live', (t) => t.shop_hourly_live!.push({ ...row(t, 'shop_hourly_live', H0) })],
    ['a wrong count', 'live', (t) => (row(t, 'shop_hourly_live', H0).m0 = '4')],
    ['a wrong conditional count', 'live', (t) => (row(t, 'shop_hourly_live', H0).m1 = '2')],
    ['a sum that is one hundredth off', 'final', (t) => (row(t, 'shop_hourly', H0).m2 = '8.51')],
    ['a wrong maximum', 'live', (t) => (row(t, 'shop_hourly_live', { m3: '7' }).m3 = '8')],
    ['a maximum of nothing that is not NULL', 'live', (t) => (row(t, 'shop_hourly_live', { m3: null }).m3 = '0')],
    [
      'a window that ends too late',
      'live',
      (t) => (row(t, 'shop_daily_live', { d0: 'FR' }).end_s = Number(row(t, 'shop_daily_live', { d0: 'FR' }).end_s) + 3600),
    ],
    ['a final row that calls itself provisional', 'live', (t) => (row(t, 'shop_hourly_live', { state: 'final' }).state = 'provisional')],
    ['a provisional row that calls itself final', 'live', (t) => (row(t, 'shop_hourly_live', { state: 'provisional' }).state = 'final')],
    ['a corrected row that calls itself final', 'live', (t) => (row(t, 'shop_hourly_live', { state: 'corrected' }).state = 'final')],
    [
      'a row in the final view before its window is final',
      'final',
      (t) => t.shop_hourly!.push({ ...row(t, 'shop_hourly_live', { state: 'provisional' }) }),
    ],
    ['a change that is missing', 'changes', (t) => remove(t, 'shop_hourly_changes', { op_text: '+I', d0: 'FR' })],
    ['a -U that is missing', 'changes', (t) => remove(t, 'shop_hourly_changes', { op_text: '-U' })],
    ['a +U that is missing', 'changes', (t) => remove(t, 'shop_hourly_changes', { op_text: '+U' })],
    ['a -U that takes back another number', 'changes', (t) => (row(t, 'shop_hourly_changes', { op_text: '-U' }).m2 = '3.51')],
    ['a +U with another number', 'changes', (t) => (row(t, 'shop_hourly_changes', { op_text: '+U' }).m2 = '8.51')],
    ['a wrong sign', 'changes', (t) => (row(t, 'shop_hourly_changes', { op_text: '-U' }).sign = 1)],
    ['a correction without a cause', 'changes', (t) => (row(t, 'shop_hourly_changes', { op_text: '+U' }).cause = '')],
    [
      'a +I twice',
      'changes',
      (t) => t.shop_hourly_changes!.push({ ...row(t, 'shop_hourly_changes', { op_text: '+I', d0: 'FR' }), version_text: '1099511627779' }),
    ],
    [
      'a change of an open window',
      'changes',
      (t) =>
        t.shop_hourly_changes!.push({
          ...row(t, 'shop_hourly_changes', { op_text: '+I' }),
          start_s: Number(row(t, 'shop_hourly_live', { state: 'provisional' }).start_s),
        }),
    ],
    [
      'a change of a key that no event has',
      'changes',
      (t) => t.shop_hourly_changes!.push({ ...row(t, 'shop_hourly_changes', { op_text: '+I' }), d0: 'XX' }),
    ],
    ['books that read one more', 'books', (t) => (row(t, 'tally_books', { class: 'read', topic: 'sales' }).n = '5')],
    ['books that count one too many', 'books', (t) => (row(t, 'tally_books', { class: 'counted', topic: 'sales' }).n = '4')],
    [
      'books that take a duplicate for counted',
      'books',
      (t) => {
        row(t, 'tally_books', { class: 'counted', topic: 'views', partition: 0 }).n = '4';
        row(t, 'tally_books', { class: 'duplicate', topic: 'views', partition: 0 }).n = '0';
      },
    ],
    ['books that quarantine under another code', 'books', (t) => (row(t, 'tally_books', { code: 'OVERSIZE' }).code = 'TYPE_MISMATCH')],
    ['books without the conflict', 'books', (t) => remove(t, 'tally_books', { class: 'conflict' })],
    [
      'books of a partition that nobody read',
      'books',
      (t) => t.tally_books!.push({ ...row(t, 'tally_books', { class: 'read' }), partition: 9 }),
    ],
    ['a missing quarantine row', 'quarantine', (t) => remove(t, 'tally_quarantine', { code: 'INVALID_VALUE' })],
    [
      'a quarantine row with another code',
      'quarantine',
      (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).code = 'TYPE_MISMATCH'),
    ],
    ['a quarantine row with another field', 'quarantine', (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).field = 'cost')],
    ['a quarantine row with other bytes', 'quarantine', (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).raw_sha256 = '00')],
    ['a quarantine row with another time', 'quarantine', (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).at_ms = '1')],
    [
      'a quarantine row with a key that the record lacks',
      'quarantine',
      (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).key_hex = '00'),
    ],
    [
      'a quarantine row of another contract version',
      'quarantine',
      (t) => (row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }).contract_version = '0'),
    ],
    ['an oversize row that hides the size', 'quarantine', (t) => (row(t, 'tally_quarantine', { code: 'OVERSIZE' }).detail = 'large')],
    [
      'a quarantine row of a valid record',
      'quarantine',
      (t) => t.tally_quarantine!.push({ ...row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }), offset: 0 }),
    ],
    ['a quarantine row twice', 'quarantine', (t) => t.tally_quarantine!.push({ ...row(t, 'tally_quarantine', { code: 'INVALID_VALUE' }) })],
    [
      'an EXPIRED row of an hour that cannot be forgotten',
      'quarantine',
      (t) => {
        const raw = GIVEN.find((g) => String(g.raw).includes('"s4"'))!.raw as string;
        const of = { raw_bytes: String(raw.length), raw_sha256: createHash('sha256').update(raw).digest('hex') };
        t.tally_quarantine!.push({ ...row(t, 'tally_quarantine', { code: 'EXPIRED', topic: 'sales' }), offset: 3, ...of });
      },
    ],
    [
      'an EXPIRED row that is missing although its own partition forces it',
      'quarantine',
      (t) => remove(t, 'tally_quarantine', { code: 'EXPIRED', topic: 'views' }),
    ],
    [
      'an ID_CONFLICT with nothing',
      'conflict',
      (t) =>
        t.tally_quarantine!.push({
          ...row(t, 'tally_quarantine', { code: 'ID_CONFLICT' }),
          topic: 'sales',
          offset: 1,
          contract: 'sales',
          contract_version: '2.0.0',
        }),
    ],
    [
      'an ID_CONFLICT with an equal record',
      'conflict',
      (t) => t.tally_quarantine!.push({ ...row(t, 'tally_quarantine', { code: 'ID_CONFLICT' }), offset: 2 }),
    ],
    [
      'an ID_CONFLICT with what came only after it',
      'conflict',
      (t) => {
        const conflict = row(t, 'tally_quarantine', { code: 'ID_CONFLICT' });
        t.tally_quarantine!.push({ ...conflict, offset: 1 }, { ...conflict, offset: 2 });
        remove(t, 'tally_quarantine', { code: 'ID_CONFLICT', offset: 3 });
      },
    ],
    ['an ID_CONFLICT row that is missing', 'conflict', (t) => remove(t, 'tally_quarantine', { code: 'ID_CONFLICT', partition: 1 })],
    [
      'a partition that stands with the wrong shard',
      'progress',
      (t) => {
        t.tally_progress = [
          { ...t.tally_progress![0]!, shards: 2 },
          { ...t.tally_progress![0]!, shard: 1, shards: 2, offsets: '[]' },
        ];
      },
    ],
  ];
  test.each(wrong)('finds %s', async (_, check, spoil) => {
    const result = await verifySpoilt((t) => spoil(t));
    expect(result.ok).toBe(false);
    expect(result.differences.map((d) => d.check)).toContain(check);
    for (const d of result.differences) expect(d.sentence).toMatch(/^\w+: .+: expected .+, found .+/);
  });

  test('says table, window, key, expected and found', async () => {
    const { differences } = await verifySpoilt((t) => (row(t, 'shop_hourly', H0).m2 = '8.51'));
    expect(differences[0]).toMatchObject({
      where: 'shop_hourly',
      window: '2026-01-10T00:00:00Z',
      key: 'country=DE',
      expected: 'cost=8.50',
      found: 'cost=8.51',
    });
  });

  test('refuses tables that stand beyond the end of the log', async () => {
    const further = verifySpoilt((t) => (t.tally_progress![0]!.offsets = '[["views",0,12]]'));
    await expect(further).rejects.toMatchObject({ code: 'E_LOG_TRUNCATED' });
  });

  test('refuses a job that has not run', async () => {
    await expect(verifySpoilt((t) => (t.tally_progress = []))).rejects.toMatchObject({ code: 'E_NO_PROGRESS' });
  });

  test('keeps the first differences and counts all', async () => {
    const result = await verifySpoilt((t) => (t.tally_books = []));
    expect(result.total).toBeGreaterThan(10);
    expect(rightTables().tally_books!.length).toBeGreaterThan(10);
  });
});

describe('gaps on the record', () => {
  const gap = (kind: string, from: number, to: number): Record<string, string> => ({
    instance: 'i',
    kind: 'log.gap',
    entry: JSON.stringify({ at: '2026-01-01T00:00:00.000Z', topic: 'views', partition: 1, gap: kind, from, to, what: `${kind} it was` }),
  });
  const spoilOneRow = (t: Tables): void => {
    row(t, 'shop_hourly_live', { state: 'provisional' }).m0 = '77';
  };

  test('are listed in the order of the audit log, since the last drop, and explain no difference', async () => {
    const result = await verifySpoilt((t) => {
      t.tally_audit = [gap('removed', 0, 3), { ...gap('removed', 0, 0), kind: 'job.dropped' }, gap('removed', 3, 7), gap('removed', 9, 11)];
      spoilOneRow(t);
    });
    expect(result).toMatchObject({ ok: false, total: 1, uncheckable: [] });
    expect(result.gaps.map(({ topic, partition, from, to, kind, why }) => [topic, partition, from, to, kind, why])).toEqual([
      ['views', 1, 3, 7, 'removed', 'removed it was'],
      ['views', 1, 9, 11, 'removed', 'removed it was'],
    ]);
    expect(await verifySpoilt((t) => (t.tally_audit = [gap('removed', 3, 7)]))).toMatchObject({ ok: true, total: 0 });
  });

  test('of records that were counted and then lost leave the windows that differ unchecked, by name, and nothing passes', async () => {
    const lost = await verifySpoilt((t) => {
      t.tally_audit = [gap('diverged', 3, 7)];
      spoilOneRow(t);
    });
    expect(lost).toMatchObject({ ok: false, total: 1, uncheckable: [expect.stringMatching(/^shop_hourly_live \d{4}-/)] });
    expect(await verifySpoilt((t) => (t.tally_audit = [gap('truncated', 3, 7)]))).toMatchObject({ ok: false, total: 0, uncheckable: [] });
  });
});
