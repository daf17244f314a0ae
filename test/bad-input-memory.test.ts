/**
 * What bad input may cost: a million malformed records in a row with records of 100 MB among them go to the quarantine, exactly, and run
 * and engine together stay within 2 GiB. Measured from outside, by the kernel's own high-water marks of every process of the run.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { TopicWriter } from '../src/log/writer.ts';
import { Place, T0, sale } from './end-to-end-fixture.ts';
import type { Summary } from './end-to-end-fixture.ts';

const FLOOD = 1_000_000,
  BIG_BYTES = 100_000_000,
  BOUND_BYTES = 2 * 2 ** 30,
  SAMPLE_MS = 20;
const p = new Place();
afterAll(() => p.remove());

/** Broken in another way each time, and each of them its own, so that nothing is merged away on the way. */
const WAYS: readonly ((n: number) => string)[] = [
  (n) => `{"id":"cut ${n}`,
  (n) => `{"id":"no shop ${n}","at":${T0},"total":1}`,
  (n) => `{"id":"text for a number ${n}","at":${T0},"shop":"a","total":"${n}"}`,
  (n) => `{"id":"three places ${n}","at":${T0},"shop":"a","total":${n}.001}`,
  (n) => `{"id":"tomorrow ${n}","at":${T0 + 86_400_000 + n},"shop":"a","total":1}`,
];

/** The high-water marks, added up, of the process and all below it; they only rise, so a late reading misses little. */
class Peaks {
  private readonly bytes = new Map<number, number>();
  private readonly root: number;

  constructor(root: number) {
    this.root = root;
  }

  read(): void {
    const parent = new Map<number, number>(),
      high = new Map<number, number>();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const status = readFileSync(`/proc/${name}/status`, 'latin1');
        parent.set(Number(name), Number(/^PPid:\s+(\d+)/m.exec(status)![1]));
        high.set(Number(name), Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
      } catch {
        // It ended between the two readings.
      }
    }
    for (const [pid, bytes] of high) {
      let above: number | undefined = pid;
      while (above !== undefined && above !== this.root) above = parent.get(above);
      // The last one counts: a process has its parent's until it runs a program of its own, and none when it has ended.
      if (above === this.root && bytes > 0) this.bytes.set(pid, bytes);
    }
  }

  get processes(): number {
    return this.bytes.size;
  }
  get sum(): number {
    return [...this.bytes.values()].reduce((a, b) => a + b, 0);
  }
}

test.skipIf(process.platform !== 'linux')(
  'a million malformed records in a row and records of 100 MB take at most 2 GiB, the engine included',
  { timeout: 180_000 },
  async () => {
    const writer = new TopicWriter(p.log, 'sales'),
      big = Buffer.alloc(BIG_BYTES, 'x');
    const put = (text: string | Buffer): void => {
      writer.append(0, null, Buffer.from(text), T0);
    };
    put(big);
    for (let n = 0; n < FLOOD; n++) put(WAYS[n % WAYS.length]!(n));
    put(big);
    put(sale(0).text);
    writer.close();
    const words = ['run', p.job, '--contracts', p.contracts, '--log', p.log, '--data', 'data', '--until-end', '--json'];
    const { child, done } = p.start(words);
    const peaks = new Peaks(child.pid!),
      sampling = setInterval(() => peaks.read(), SAMPLE_MS);
    const { status, stdout, stderr } = await done;
    clearInterval(sampling);
    expect(status, stderr).toBe(0);
    const summary = JSON.parse(stdout) as Summary,
      each = FLOOD / WAYS.length;
    expect(summary.classes).toEqual({ counted: 1, duplicate: 0, conflict: 0, quarantined: FLOOD + 2 });
    expect(summary.codes).toEqual({
      OVERSIZE: 2,
      UNPARSEABLE: each,
      MISSING_FIELD: each,
      TYPE_MISMATCH: each,
      VALUE_OUT_OF_RANGE: each,
      FUTURE_TIME: each,
    });
    // The engine was seen, and what the run says of itself was not missed.
    expect(peaks.processes).toBeGreaterThanOrEqual(2);
    expect(peaks.sum).toBeGreaterThan(summary.peak_rss_bytes);
    expect(peaks.sum).toBeLessThanOrEqual(BOUND_BYTES);
    const kept = "SELECT count(), uniqExact(raw), max(length(raw)), countIf(code = 'OVERSIZE' AND detail LIKE '100000000 bytes, sha256 %')";
    expect(await p.query('data', `${kept} FROM tally_quarantine`)).toBe(`${FLOOD + 2}\t${FLOOD + 1}\t65536\t2`);
  },
);
