import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generate } from '../src/cli/generate.ts';
import { loadContracts } from '../src/contracts/read.ts';
import { generateEvents } from '../src/generate/event-source.ts';
import type { GenerateOptions } from '../src/generate/event-source.ts';
import { patternTexts } from '../src/generate/pattern-text.ts';
import { sendAgain } from '../src/generate/send-again.ts';
import { generateLog } from '../src/generate/to-log.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { loadJob, shippedContracts } from '../src/run/load-job.ts';
import { makeJudge } from '../src/verify/judge.ts';
import { readPartition } from '../src/verify/read-log.ts';
import type { LoggedRecord } from '../src/verify/record-batch.ts';
import type { Contract } from '../topology/contract/model.ts';

const { contracts } = loadContracts(shippedContracts());
const clicks = contracts.get('ads-click')!;
const CLEAN = { duplicates: 0, late: 0, malformed: 0 };
const lines = (contract: Contract, o: Partial<GenerateOptions>): string[] =>
  [...generateEvents(contract, o)].map((b) => Buffer.from(b).toString('latin1'));
const parsed = (contract: Contract, o: Partial<GenerateOptions>): Record<string, unknown>[] =>
  lines(contract, o).map((l) => JSON.parse(l) as Record<string, unknown>);

describe('generated events', () => {
  test('are the same for the same seed, and others for another', () => {
    const o = { events: 500, seed: 3 };
    expect(lines(clicks, o)).toEqual(lines(clicks, o));
    expect(lines(clicks, { ...o, seed: 4 })).not.toEqual(lines(clicks, o));
  });

  test.each([...contracts.values()].map((c) => [c.id, c] as const))(
    'of %s are valid unless they are malformed, and then they are not',
    (_, contract) => {
      const judge = makeJudge(contract, 1 << 20),
        codes = new Set<string>();
      for (const value of generateEvents(contract, { events: 1000, seed: 9, malformed: 0 }))
        expect(judge(Buffer.from(value))).toBeInstanceOf(Array);
      for (const value of [...generateEvents(contract, { events: 2000, seed: 9, malformed: 1, duplicates: 0 })].slice(1)) {
        const verdict = judge(Buffer.from(value));
        if (Array.isArray(verdict)) expect.fail(`valid: ${Buffer.from(value).toString()}`);
        codes.add(verdict.code);
      }
      expect([...codes].sort()).toEqual(['INVALID_VALUE', 'MISSING_FIELD', 'TYPE_MISMATCH', 'UNPARSEABLE', 'VALUE_OUT_OF_RANGE']);
    },
  );

  test('are sent again byte for byte, at about the share asked', () => {
    const all = lines(clicks, { events: 20_000, seed: 1, duplicates: 0.1, malformed: 0.02 }),
      seen = new Set<string>();
    let again = 0;
    for (const line of all) {
      if (seen.has(line)) again++;
      seen.add(line);
    }
    expect(again / all.length).toBeGreaterThan(0.09);
    expect(again / all.length).toBeLessThan(0.11);
    expect(new Set(all.filter((l) => l.startsWith('{"event_id":"')).map((l) => l.slice(13, 49))).size).toBeGreaterThan(17_000);
  });

  test('contradict an earlier one when that is asked', () => {
    const events = parsed(clicks, { ...CLEAN, events: 5000, seed: 2, conflicts: 0.1 }),
      times = new Map<unknown, Set<unknown>>();
    for (const e of events) times.set(e['event_id'], (times.get(e['event_id']) ?? new Set()).add(e['event_time']));
    expect([...times.values()].filter((t) => t.size > 1).length).toBeGreaterThan(350);
  });

  test('have as many keys as asked, the first much more often than the last, each ad in one campaign', () => {
    const events = parsed(clicks, { ...CLEAN, events: 20_000, seed: 1, keys: 150 }),
      counts = new Map<string, number>(),
      parents = new Map<unknown, Set<unknown>>();
    for (const e of events) {
      const key = ['advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement', 'device', 'paid_by'].map((f) => e[f]).join(' ');
      counts.set(key, (counts.get(key) ?? 0) + 1);
      parents.set(e['ad_id'], (parents.get(e['ad_id']) ?? new Set()).add(`${String(e['campaign_id'])} ${String(e['advertiser_id'])}`));
    }
    const sorted = [...counts.values()].sort((a, b) => b - a);
    expect(sorted).toHaveLength(150);
    expect(sorted[0]! / sorted[99]!).toBeGreaterThan(40);
    expect([...parents.values()].every((p) => p.size === 1)).toBe(true);
  });

  test('lie in the span, a little before they arrive, late ones by hours', () => {
    const start = Date.UTC(2026, 4, 1),
      events = 10_000,
      spanMs = 6 * 3_600_000;
    const lag = parsed(clicks, { events, seed: 5, duplicates: 0, malformed: 0, late: 0.05, startMs: start, spanMs }).map(
      (e, n) => start + Math.floor((n * spanMs) / events) - (e['event_time'] as number),
    );
    expect(Math.min(...lag)).toBeGreaterThanOrEqual(0);
    const late = lag.filter((ms) => ms >= 600_000).length;
    expect(late).toBeGreaterThan(400);
    expect(late).toBeLessThan(600);
    expect(lag.filter((ms) => ms > 180_000 && ms < 600_000)).toEqual([]);
    expect(Math.max(...lag)).toBeLessThanOrEqual(48 * 3_600_000);
  });

  test('leave an optional field out, more often than they say null', () => {
    const events = parsed(clicks, { ...CLEAN, events: 5000 });
    const absent = events.filter((e) => !('user_id' in e)).length,
      none = events.filter((e) => e['user_id'] === null).length;
    expect(absent).toBeGreaterThan(1000);
    expect(none).toBeGreaterThan(5);
    expect(none).toBeLessThan(200);
  });
});

describe('texts of a pattern', () => {
  test.each([
    '^[A-Z]{2}$',
    '^[a-z]{2}-[a-z]{2,12}-[1-9]$',
    '^adv_[0-9]{4}$',
    '^(foo|bar)-\\d+$',
    '^v\\.[^]$',
    '^x?[a-c]*\\w{3,}$',
    '^\\d{4}/[A-F0-9]{8}$',
  ])('%s', (pattern) => {
    const texts = patternTexts(pattern);
    if (pattern.includes('[^')) return expect(texts).toBeNull();
    const some = Array.from({ length: Math.min(texts!.count, 500) }, (_, n) => texts!.text(n));
    for (const text of some) expect(text).toMatch(new RegExp(pattern, 'u'));
    expect(new Set(some).size).toBe(some.length);
  });
});

describe('a generated log', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'tally-generate-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const recordsOf = (log: string, topic: string, partition: number): LoggedRecord[] =>
    [...readPartition(log, topic, partition, Infinity)].flatMap((b) => [...b.records]);

  test('has all topics of the job, keyed by id, stamped with the arrival, and is the same each time', async () => {
    const { plan, contracts: read } = await loadJob('ads-insights', undefined),
      log = path.join(dir, 'a'),
      o = { events: 6000, seed: 8, partitions: 2, spanMs: 3_600_000 };
    const made = generateLog(plan, read, log, o);
    generateLog(plan, read, path.join(dir, 'b'), o);
    expect(Object.values(made.topics).reduce((a, b) => a + b)).toBe(6000);
    expect(
      made.topics['ads.delivery']! > 10 * made.topics['ads.click']! && made.topics['ads.click']! > 3 * made.topics['ads.conversion']!,
    ).toBe(true);
    const places = new Map<string, number>();
    for (const topic of Object.keys(made.topics)) {
      for (const p of [0, 1]) {
        const records = recordsOf(log, topic, p);
        const bytes = (rs: LoggedRecord[]): Buffer => Buffer.concat(rs.flatMap((r) => [r.key!, r.value!]));
        expect(bytes(recordsOf(path.join(dir, 'b'), topic, p)).equals(bytes(records))).toBe(true);
        let last = Date.UTC(2026, 0, 1);
        for (const r of records) {
          const key = r.key!.toString();
          if (!/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(key)) expect.fail(`key ${key}`);
          if ((places.get(key) ?? p) !== p) expect.fail(`${key} in two partitions`);
          if (r.timestamp < last) expect.fail(`${r.timestamp} after ${last}`);
          places.set(key, p);
          last = r.timestamp;
        }
        expect(last).toBeLessThan(Date.UTC(2026, 0, 1, 1));
      }
    }
    expect(places.size).toBeLessThan(6000 * 0.98);
  });

  test('is sent again as it was, behind its end', async () => {
    const log = path.join(dir, 'a'),
      before = recordsOf(log, 'ads.click', 1);
    const writer = new TopicWriter(log, 'small', { batchBytes: 1000 });
    for (let i = 0; i < 200; i++) writer.append(0, null, Buffer.from(`line ${i}`), i);
    writer.close();
    expect(await sendAgain(log)).toBe(6200);
    expect(
      recordsOf(log, 'small', 0)
        .map((r) => String(r.value))
        .slice(200),
    ).toEqual(Array.from({ length: 200 }, (_, i) => `line ${i}`));
    const after = recordsOf(log, 'ads.click', 1),
      again = after.slice(before.length);
    expect(again.map((r) => [r.offset - before.length, r.timestamp, r.key, r.value])).toEqual(
      before.map((r) => [r.offset, r.timestamp, r.key, r.value]),
    );
  });
});

describe('tally generate', () => {
  const main = path.resolve('src/cli/main.ts');
  test('prints the lines of the seed', () => {
    const out = execFileSync(process.execPath, [
      main,
      'generate',
      '--contract',
      'ads-click',
      '--events',
      '300',
      '--seed',
      '3',
      '--malformed',
      '0',
    ]).toString();
    expect(out.trimEnd().split('\n')).toEqual(lines(clicks, { events: 300, seed: 3, malformed: 0 }));
  });
  test.each<[string, Record<string, string>, string, string]>([
    ['a contract that is not there', { contract: 'ads-clik' }, 'E_CONTRACT', 'ads-click'],
    ['a span without a unit', { contract: 'ads-click', span: '24' }, 'E_USAGE', '24h'],
    ['a share of two', { contract: 'ads-click', late: '2' }, 'E_USAGE', '0.01'],
    ['a time without a zone', { contract: 'ads-click', start: 'today' }, 'E_USAGE', '2026-01-01T00:00:00Z'],
    ['a job without a log', { job: 'ads-insights' }, 'E_USAGE', '--log'],
    ['neither', {}, 'E_USAGE', '--help'],
    ['a log for lines', { contract: 'ads-click', log: 'l' }, 'E_USAGE', 'produce'],
    ['more than all', { contract: 'ads-click', duplicates: '0.7', malformed: '0.7' }, 'E_USAGE', '3 %'],
    ['a log elsewhere', { job: 'ads-insights', log: 's3://b' }, 'E_LOG_ADDRESS', 'directory'],
  ])('%s is wrong use', async (_, values, code, hint) => {
    await expect(generate.run({ positionals: [], values: { events: '5', ...values } })).rejects.toMatchObject({
      code,
      exit: 2,
      hint: expect.stringContaining(hint) as string,
    });
  });
});
