/** A load by schedule: what is due is sent whatever became of the rest, and what was late is said. Time is the test's own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { optionsOf, rateOf } from '../src/cli/generate-options.ts';
import { sendAtRate } from '../src/generate/at-rate.ts';
import type { RateReport } from '../src/generate/at-rate.ts';
import { loggedPartitions, readPartition } from '../src/verify/read-log.ts';

interface Load {
  readonly report: RateReport;
  /** When each record was sent, in milliseconds after the start. */
  readonly at: number[];
  readonly sends: number[];
}

/** `stalls`: before the n-th send is taken, so many milliseconds go by. */
async function load(
  records: number,
  rate: number,
  stalls: ReadonlyMap<number, number> = new Map(),
  stopAt: number = Infinity,
): Promise<Load> {
  let clock = 12_345.5,
    pending = 0;
  const began = clock,
    at: number[] = [],
    sends: number[] = [];
  const report = await sendAtRate(
    {
      put: (n) => {
        expect(n).toBe(at.length + pending);
        pending++;
      },
    },
    {
      append: () => {},
      send: () => {},
      room: async () => {
        clock += stalls.get(sends.length) ?? 0.1;
        sends.push(pending);
        for (; pending > 0; pending--) at.push(clock - began);
      },
    },
    {
      records,
      rate,
      now: () => clock,
      wait: async (ms) => {
        clock += ms;
      },
      isStopped: () => clock - began >= stopAt,
    },
  );
  return { report, at, sends };
}

describe('a load of a given rate', () => {
  test('no record is sent before it is due, and none much later, while the log keeps up', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 400_000 }), async (records, rate) => {
        const { report, at } = await load(records, rate);
        expect(report).toMatchObject({ scheduled: records, sent: records });
        expect(at.length).toBe(records);
        for (const [n, ms] of at.entries()) {
          expect(ms).toBeGreaterThanOrEqual((n * 1000) / rate - 1e-6);
          expect(ms - (n * 1000) / rate).toBeLessThan(6);
        }
        expect(report.lagMaxMs).toBeLessThan(6);
      }),
      { numRuns: 50, seed: 4 },
    );
  });

  test('a log that stalls moves no schedule: all that was due is sent after it, and the stall is the lag', async () => {
    const { report, at, sends } = await load(50_000, 10_000, new Map([[100, 2000]]));
    expect(report).toMatchObject({ scheduled: 50_000, sent: 50_000 });
    expect(report.lagMaxMs).toBeGreaterThan(2000);
    expect(report.lagMaxMs).toBeLessThan(2010);
    // Twenty thousand were due meanwhile; they go in pieces, and after them the load is on time again.
    expect(Math.max(...sends)).toBe(4096);
    expect(at.at(-1)! - 4999.9).toBeLessThan(6);
    expect(report.seconds).toBeLessThan(5.01);
  });

  test('a log that never keeps up is sent everything in the end, and the report says how much was in time', async () => {
    const { report } = await load(10_000, 100_000, new Map(Array.from({ length: 1000 }, (_, i) => [i, 40])));
    expect(report).toMatchObject({ scheduled: 10_000, sent: 10_000 });
    expect(report.sentOnTime).toBeLessThan(10_000);
    expect(report.lagMaxMs).toBeGreaterThan(40);
    expect(report.seconds).toBeGreaterThan(0.1);
  });

  test('a stop ends it; what was due by then is what was scheduled', async () => {
    const { report } = await load(10_000, 1000, new Map(), 2000);
    expect(report.scheduled - report.sent).toBeLessThan(6);
    expect(report.sent).toBeGreaterThan(1990);
    expect(report.sent).toBeLessThan(2020);
  });
});

describe('tally generate --rate', () => {
  test('says in numbers what it takes, and what it does not', () => {
    expect(rateOf({ rate: '50000', for: '60s' })).toEqual({ rate: 50_000, forMs: 60_000, records: 3_000_000 });
    expect(optionsOf({ rate: '100', for: '2s', disorder: '0s' })).toMatchObject({ events: 200, disorderMs: 0 });
    for (const wrong of [
      { rate: '5' },
      { for: '5s' },
      { rate: '0', for: '5s' },
      { rate: '5', for: '0s' },
      { rate: '5', for: '5s', events: '5' },
    ])
      expect(() => optionsOf({ events: '1', ...wrong }) && rateOf(wrong)).toThrow(/--(rate|for)/);
    expect(() => optionsOf({})).toThrow('tally generate needs --events.');
  });

  test('fills a log of files on schedule, with the disorder that was asked for, under the times at which records were due', () => {
    const dir = mkdtempSync(path.join(tmpdir(), 'tally-rate-'));
    try {
      const began = Date.now();
      const words = [
        'generate',
        '--job',
        'ads-insights',
        '--log',
        dir,
        '--rate',
        '2000',
        '--for',
        '1s',
        '--json',
        '--malformed',
        '0',
        '--late',
        '0',
      ];
      const out = execFileSync(process.execPath, ['src/cli/main.ts', ...words, '--disorder', '2s', '--partitions', '2'], {
        encoding: 'utf8',
      });
      const report = JSON.parse(out) as RateReport & { rate: number; topics: Record<string, number> };
      expect(report).toMatchObject({ rate: 2000, scheduled: 2000, sent: 2000 });
      expect(Object.values(report.topics).reduce((a, b) => a + b)).toBe(2000);
      const records = Object.keys(report.topics).flatMap((topic) =>
        loggedPartitions(dir, topic).flatMap((p) =>
          [...readPartition(dir, topic, p, Infinity)].flatMap((b) => b.records.map((r) => ({ ms: r.timestamp, value: String(r.value) }))),
        ),
      );
      const times = records.map((r) => r.ms).sort((a, b) => a - b);
      expect(times.length).toBe(2000);
      expect(times[0]).toBeGreaterThanOrEqual(began);
      for (const [n, ms] of times.entries()) expect(ms - times[0]!).toBe(Math.floor((n * 1000) / 2000));
      const ids = new Map<string, number>();
      for (const { ms, value } of records) {
        const { event_id, event_time } = JSON.parse(value) as { event_id: string; event_time: string | number };
        const resent = ids.has(event_id);
        ids.set(event_id, ms);
        const behind = ms - new Date(event_time).getTime();
        expect(behind).toBeGreaterThanOrEqual(0);
        expect(behind).toBeLessThanOrEqual(resent ? 3000 : 2000);
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
