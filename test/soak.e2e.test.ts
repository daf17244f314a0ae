/**
 * The short form of `npm run soak`: two minutes of load on a real broker while launcher, run and engine are killed in turns. Only what must be
 * true on a busy machine too is asked here; its latency and memory are printed.
 */
import { expect, it } from 'vitest';
import { show, soak } from '../bench/soak.ts';
import { kafkaMissing } from './kafka-fixture.ts';

const RATE = 3000,
  MINUTES = 2,
  KILL_EVERY_SECONDS = 20;

it.skipIf(kafkaMissing !== undefined)(
  'a job under load, killed every 20 seconds, ends exact, with balanced books and a whole audit log',
  { timeout: 600_000 },
  async () => {
    const told: string[] = [];
    const report = await soak({
      rate: RATE,
      minutes: MINUTES,
      killEverySeconds: KILL_EVERY_SECONDS,
      seed: 20261,
      keys: 2000,
      tell: (sentence) => told.push(sentence),
    });
    process.stdout.write(show(report));
    expect(
      Object.entries(report.exact).filter(([, holds]) => !holds),
      told.join('\n'),
    ).toEqual([]);
    expect(report.kills.length).toBe((MINUTES * 60) / KILL_EVERY_SECONDS);
    expect(new Set(report.kills.map((k) => k.victim)).size).toBe(3);
    expect(report.sent - report.probes).toBe(RATE * MINUTES * 60);
  },
);
