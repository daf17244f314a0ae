/**
 * npm run soak: a live job between a real broker and the embedded engine, under load, and every minute something of it is killed. In the end
 * the tables must be exact, the books balanced and the audit log whole; and the second half may need no more memory (x 1.1) and no more time
 * from a record's due moment until SQL shows it (99 %, x 1.5) than the first. Ends with 1 when one of them does not hold.
 * `npm run soak -- [--rate 20000] [--minutes 20] [--kill-every 60] [--seed 1] [--keys 10000] [--json]`.
 *
 * Each phase between two kills brings events of another hour, so that identities are forgotten as fast as they come (soak-job.ts). The hours
 * lie ahead of the clock: one that passes them while the log is idle would make what still comes late.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { monotonicMs, nowMs } from '../src/clock.ts';
import { kafkaMissing, startKafka } from '../test/kafka-fixture.ts';
import { inScratch, TOPICS } from './data.ts';
import { LiveRun, must, tally, VICTIMS } from './live-run.ts';
import type { Command, Victim } from './live-run.ts';
import { Probe, PROBES_IN_SQL } from './probe.ts';
import { median, percentile } from './table.ts';

const JOB = fileURLToPath(new URL('soak-job.ts', import.meta.url)),
  HOUR = 3_600_000,
  MEBI = 1 << 20,
  SAMPLE_MS = 500,
  /** A run that is not back by then does not come back. */
  BACK_MS = 120_000,
  DRAINED_MS = 600_000,
  MEMORY_RATIO = 1.1,
  LATENCY_RATIO = 1.5;

export interface SoakOptions {
  /** Records a second. */
  readonly rate: number;
  readonly minutes: number;
  readonly killEverySeconds: number;
  readonly seed: number;
  readonly keys: number;
  readonly tell?: (sentence: string) => void;
}
interface Kill {
  readonly victim: Victim;
  readonly atMs: number;
  /** Until SQL showed a record that was due after it. */
  readonly downMs: number;
}
interface Half {
  readonly probes: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Of the records that were not due while something was down. */
  readonly undisturbedP99Ms: number;
  readonly peakBytes: number;
}
export interface SoakReport {
  readonly records: number;
  readonly sent: number;
  readonly probes: number;
  readonly kills: readonly Kill[];
  readonly halves: readonly [Half, Half];
  /** What had to be true, by name. */
  readonly exact: Readonly<Record<string, boolean>>;
  readonly steady: Readonly<Record<string, boolean>>;
}

/** Numbers that look random and are always the same for a seed. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
}

/** At random, but each as often as the others: two halves with other kills could not be compared. */
function* victims(seed: number): Generator<Victim, never> {
  const random = seeded(seed);
  for (;;) {
    const bag = [...VICTIMS];
    while (bag.length > 0) yield bag.splice(random(bag.length), 1)[0]!;
  }
}

class Soak {
  private readonly o: SoakOptions;
  private readonly log: string;
  private readonly data: string;
  private readonly run: LiveRun;
  private readonly phaseMs: number;
  private readonly endMs: number;
  private readonly firstHour = Math.ceil(nowMs() / HOUR) * HOUR;
  private probe: Probe | undefined;
  private load: Command | undefined;
  private beganMs = monotonicMs();
  private sent = 0;
  private readonly kills: Kill[] = [];
  private readonly memory: { atMs: number; bytes: number }[] = [];
  private isOn = true;

  constructor(o: SoakOptions, log: string, data: string) {
    this.o = o;
    this.log = log;
    this.data = data;
    this.phaseMs = o.killEverySeconds * 1000;
    this.endMs = o.minutes * 60_000;
    this.run = new LiveRun(JOB, log, data, '--allow-future-times');
  }

  async go(): Promise<SoakReport> {
    try {
      this.run.start();
      const probe = (this.probe = await Probe.open(this.log, this.data, (ms) => this.timeAt(ms)));
      await probe.seenAfter(0, BACK_MS, this.check);
      this.beganMs = monotonicMs();
      await Promise.all([this.sendPhases(), this.killSome(), this.watchMemory()]);
      this.tell('the load has ended');
      await probe.finish(DRAINED_MS, this.check);
      await this.run.stop();
      return await this.report(probe.sent);
    } finally {
      this.isOn = false;
      this.load?.child.kill('SIGKILL');
      await this.run.stop('SIGKILL');
      // What it would say now follows from what was thrown.
      await this.probe?.close().catch(() => {});
    }
  }

  private readonly check = (): void => this.run.check();
  private readonly tell = (sentence: string): void =>
    this.o.tell?.(`${((monotonicMs() - this.beganMs) / 1000).toFixed(0).padStart(5)} s  ${sentence}`);

  /** Phase n's events are of hour n, from its beginning. */
  private timeAt(ms: number): number {
    const since = Math.min(Math.max(0, ms - this.beganMs), this.endMs),
      phase = Math.floor(since / this.phaseMs);
    return this.firstHour + phase * HOUR + (since - phase * this.phaseMs);
  }

  private async sendPhases(): Promise<void> {
    const { rate, keys, seed } = this.o;
    for (let phase = 0; phase * this.phaseMs < this.endMs; phase++) {
      const lasts = Math.round(Math.min(this.phaseMs, this.endMs - phase * this.phaseMs) / 1000),
        start = new Date(this.firstHour + phase * HOUR).toISOString();
      const words = ['--rate', rate, '--for', `${lasts}s`, '--start', start, '--seed', seed * 1000 + phase, '--keys', keys];
      this.load = tally(['generate', '--job', JOB, '--log', this.log, ...words.map(String), '--json']);
      const { status, stdout, stderr } = await this.load.done;
      if (status !== 0) throw new Error(`the load ended with ${status}: ${stderr}`);
      const told = JSON.parse(stdout) as { sent: number; lagMaxMs: number };
      this.sent += told.sent;
      this.tell(`${told.sent.toLocaleString('en')} records sent, at most ${told.lagMaxMs.toFixed(0)} ms late`);
    }
  }

  /** At a moment of each phase's middle half that the seed chooses; a run that is not back yet is not killed again. */
  private async killSome(): Promise<void> {
    const choice = victims(this.o.seed),
      moment = seeded(this.o.seed + 1);
    for (let phase = 0; phase * this.phaseMs + this.phaseMs / 2 < this.endMs; phase++) {
      await this.until(phase * this.phaseMs + this.phaseMs / 4 + moment(this.phaseMs / 2));
      const victim = choice.next().value,
        atMs = monotonicMs();
      await this.run.kill(victim);
      const downMs = (await this.probe!.seenAfter(atMs, BACK_MS, this.check)) - atMs;
      this.kills.push({ victim, atMs: atMs - this.beganMs, downMs });
      this.tell(`${victim} killed; records are seen again after ${(downMs / 1000).toFixed(1)} s`);
    }
    await this.until(this.endMs);
  }

  private async watchMemory(): Promise<void> {
    while (this.isOn && monotonicMs() - this.beganMs < this.endMs) {
      this.memory.push({ atMs: monotonicMs() - this.beganMs, bytes: this.run.bytes() });
      await sleep(SAMPLE_MS);
    }
  }

  private async until(at: number): Promise<void> {
    for (let left = 1; left > 0 && this.isOn; await sleep(Math.max(0, Math.min(left, SAMPLE_MS)))) {
      this.check();
      this.probe!.check();
      left = at - (monotonicMs() - this.beganMs);
    }
  }

  private half(n: 0 | 1): Half {
    const isIn = (ms: number): boolean => ms >= 0 && ms < this.endMs && Math.floor((2 * ms) / this.endMs) === n,
      seen = this.probe!.seen.map((s) => ({ atMs: s.dueMs - this.beganMs, tookMs: s.tookMs })).filter((s) => isIn(s.atMs)),
      took = seen.map((s) => s.tookMs),
      wasUp = seen.filter((s) => !this.kills.some((k) => s.atMs + s.tookMs >= k.atMs && s.atMs <= k.atMs + k.downMs));
    return {
      probes: seen.length,
      p50Ms: percentile(took, 0.5),
      p95Ms: percentile(took, 0.95),
      p99Ms: percentile(took, 0.99),
      undisturbedP99Ms: percentile(
        wasUp.map((s) => s.tookMs),
        0.99,
      ),
      peakBytes: this.memory.reduce((most, m) => (isIn(m.atMs) ? Math.max(most, m.bytes) : most), 0),
    };
  }

  private async report(probes: number): Promise<SoakReport> {
    const { log, data } = this,
      sent = this.sent + probes,
      ask = async (sql: string): Promise<string> => (await must('query', '--data', data, '--format', 'TSV', sql)).trim();
    await must('run', JOB, '--log', log, '--data', data, '--allow-future-times', '--until-end', '--finish');
    const verified = await tally(['verify', JOB, '--log', log, '--data', data, '--json']).done,
      recount = verified.status === 0 ? (JSON.parse(verified.stdout) as { ok: boolean; records: number }) : undefined;
    if (recount === undefined) this.tell(`verify ended with ${verified.status}: ${verified.stdout}${verified.stderr}`);
    const audit = await tally(['audit', 'verify', '--data', data]).done,
      books = await ask("SELECT sumIf(records, class = 'read'), sumIf(records, class != 'read') FROM tally_books"),
      sums = (sign: string): string => ['impressions', 'clicks', 'conversions', 'spend_micros'].map((m) => `sum(${sign}${m})`).join(', '),
      table = await ask(`SELECT ${sums('')} FROM ads_hourly`),
      changes = await ask(`SELECT ${sums('sign * ')} FROM ads_hourly_changes`),
      seen = await ask(PROBES_IN_SQL),
      halves: [Half, Half] = [this.half(0), this.half(1)];
    return {
      records: recount?.records ?? 0,
      sent,
      probes,
      kills: this.kills,
      halves,
      exact: {
        'verify holds': recount?.ok === true,
        'every record sent is in the recount': recount?.records === sent,
        'the books balance': books === `${sent}\t${sent}`,
        'the changes add up to the table': changes === table,
        'each probe record is counted once': seen === String(probes),
        'the audit log verifies': audit.status === 0,
      },
      steady: {
        [`memory of the second half <= ${MEMORY_RATIO} x`]: halves[1].peakBytes <= MEMORY_RATIO * halves[0].peakBytes,
        [`99 % of the second half <= ${LATENCY_RATIO} x`]: halves[1].p99Ms <= LATENCY_RATIO * halves[0].p99Ms,
      },
    };
  }
}

export async function soak(o: SoakOptions): Promise<SoakReport> {
  const kafka = await startKafka({ heapMiB: 384 });
  try {
    // The hours lie ahead: a broker refuses that unless told otherwise.
    for (const topic of TOPICS) await kafka.createTopic(topic, 2, { 'message.timestamp.after.max.ms': String(2 ** 50) });
    return await inScratch('soak', (data) => new Soak(o, kafka.url(), data).go());
  } finally {
    await kafka.stop();
  }
}

/** The report as a table, and what holds of it. */
export function show({ halves, kills, sent, exact, steady }: SoakReport): string {
  const [first, second] = halves,
    ms = (n: number): string => `${n.toFixed(0)} ms`;
  const lines: (readonly [string, string, string])[] = [
    [`due to visible in SQL, kills included, ${sent.toLocaleString('en')} records`, 'first half', 'second half'],
    ['probes', String(first.probes), String(second.probes)],
    ['median', ms(first.p50Ms), ms(second.p50Ms)],
    ['95 %', ms(first.p95Ms), ms(second.p95Ms)],
    ['99 %', ms(first.p99Ms), ms(second.p99Ms)],
    ['99 % of those not due while something was down', ms(first.undisturbedP99Ms), ms(second.undisturbedP99Ms)],
    ['peak memory, run and engine', `${(first.peakBytes / MEBI).toFixed(0)} MiB`, `${(second.peakBytes / MEBI).toFixed(0)} MiB`],
    ['down after a kill', 'median', 'longest'],
  ];
  for (const victim of VICTIMS) {
    const down = kills.filter((k) => k.victim === victim).map((k) => k.downMs);
    if (down.length > 0) lines.push([`${victim}, ${down.length} times`, ms(median(down)), ms(Math.max(...down))]);
  }
  const [what, one] = [0, 1].map((c) => Math.max(...lines.map((line) => line[c]!.length))) as [number, number];
  const claims = Object.entries({ ...exact, ...steady }).map(([claim, holds]) => `${holds ? 'holds' : 'DOES NOT HOLD'}: ${claim}`);
  return [...lines.map(([a, b, c]) => `${a.padEnd(what)}  ${b.padStart(one)}  ${c.padStart(one)}`), ...claims, ''].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rate: { type: 'string', default: '20000' },
      minutes: { type: 'string', default: '20' },
      'kill-every': { type: 'string', default: '60' },
      seed: { type: 'string', default: '1' },
      keys: { type: 'string', default: '10000' },
      json: { type: 'boolean', default: false },
    },
  });
  if (kafkaMissing !== undefined) throw new Error(`no soak without a broker: ${kafkaMissing}`);
  const number = (name: 'rate' | 'minutes' | 'kill-every' | 'seed' | 'keys'): number => {
    const n = Number(values[name]);
    if (!(n > 0)) throw new Error(`--${name} is a number above 0, not ${values[name]}`);
    return n;
  };
  const report = await soak({
    rate: number('rate'),
    minutes: number('minutes'),
    killEverySeconds: number('kill-every'),
    seed: number('seed'),
    keys: number('keys'),
    tell: (sentence) => process.stderr.write(`${sentence}\n`),
  });
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : show(report));
  if (Object.values({ ...report.exact, ...report.steady }).includes(false)) process.exitCode = 1;
}

if (import.meta.main) await main();
