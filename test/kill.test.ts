/**
 * A real job killed at random: the launcher, the run or the engine, by SIGKILL, while events come in. Whatever died, the others
 * go too (a killed engine is started again); and in the end the oracle, the books and the audit log hold.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..');
const TALLY = path.join(ROOT, 'bin', 'tally.mjs');
/** The Node that npm was started by: another one than Tally's own, if there is one, so that there is a launcher to kill. */
const NODE = process.env['npm_node_execpath'] ?? process.execPath;
const KILLS = 30,
  EVENTS_A_ROUND = 10_000;
/** On a quiet machine they are gone in 5 to 30 ms; a process that is just being started on a busy one takes longer to hear of it. */
const GONE_MS = 8_000;
const EVENTS = (KILLS + 1) * EVENTS_A_ROUND;
const dir = mkdtempSync(path.join(tmpdir(), 'tally-kill-'));
const log = path.join(dir, 'log'),
  data = path.join(dir, 'data');

afterAll(() => rmSync(dir, { recursive: true, force: true }));

let seed = 20261;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return (seed >>> 8) % below;
};

/** Our processes: those whose command line or parent says so. */
function processes(): { pid: number; parent: number; words: string }[] {
  const out: { pid: number; parent: number; words: string }[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '),
        stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (words.includes(data) && state !== 'Z') out.push({ pid: Number(name), parent: Number(parent), words });
    } catch {
      // It ended meanwhile.
    }
  }
  return out;
}
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function tally(words: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(NODE, [TALLY, ...words], { encoding: 'utf8', maxBuffer: 1 << 28 });
}

/** A day's events of a round, while the job runs. */
function generate(round: number): Promise<number | null> {
  const words = [
    'generate',
    '--job',
    'ads-insights',
    '--log',
    log,
    '--events',
    String(EVENTS_A_ROUND),
    '--seed',
    String(round),
    '--partitions',
    '2',
    '--start',
    new Date(Date.UTC(2026, 0, 1 + round)).toISOString(),
  ];
  return new Promise((resolve) => spawn(NODE, [TALLY, ...words], { stdio: 'ignore' }).on('exit', resolve));
}

async function until(holds: () => boolean, ms: number): Promise<boolean> {
  for (const end = performance.now() + ms; performance.now() < end; await sleep(10)) if (holds()) return true;
  return holds();
}

const engines = (): number[] =>
  processes()
    .filter((p) => p.words.includes('engine-child'))
    .map((p) => p.pid);
const runs = (launcher: ChildProcess): number[] =>
  processes()
    .filter((p) => p.words.includes(' run ads-insights') && !p.words.includes('engine-child') && p.pid !== launcher.pid)
    .map((p) => p.pid);

async function killSomething(launcher: ChildProcess): Promise<string> {
  const roll = random(3),
    [run] = runs(launcher),
    [engine] = engines();
  const target =
    roll === 0 && engine !== undefined
      ? { name: 'engine', pid: engine }
      : roll === 1 && run !== undefined
        ? { name: 'run', pid: run }
        : { name: 'launcher', pid: launcher.pid! };
  process.kill(target.pid, 'SIGKILL');
  if (target.name === 'engine') {
    expect(
      await until(() => engines().some((pid) => pid !== engine), 10_000),
      `the engine is started again: ${readFileSync(path.join(dir, 'stderr'), 'utf8')}`,
    ).toBe(true);
    return target.name;
  }
  expect(
    await until(() => processes().length === 0, GONE_MS),
    `all are gone after the ${target.name} was killed: ${JSON.stringify(processes())}`,
  ).toBe(true);
  return target.name;
}

test("a job killed 30 times while events come in ends in the oracle's tables", { timeout: 240_000 }, async () => {
  const killed: Record<string, number> = {};
  let launcher: ChildProcess | undefined;
  expect(await generate(0)).toBe(0);
  for (let round = 0; round < KILLS; round++) {
    const coming = generate(round + 1);
    if (launcher === undefined || launcher.exitCode !== null || launcher.signalCode !== null) {
      launcher = spawn(NODE, [TALLY, 'run', 'ads-insights', '--log', log, '--data', data, '--commit-events', '2000'], {
        stdio: ['ignore', 'ignore', openSync(path.join(dir, 'stderr'), 'a')],
      });
    }
    await sleep(random(1500));
    if (launcher.exitCode !== null)
      expect.fail(`the run ended by itself with ${launcher.exitCode}: ${readFileSync(path.join(dir, 'stderr'), 'utf8')}`);
    const what = await killSomething(launcher);
    killed[what] = (killed[what] ?? 0) + 1;
    expect(await coming).toBe(0);
    if (what !== 'engine') await until(() => launcher!.exitCode !== null || launcher!.signalCode !== null, 2_000);
  }
  launcher?.kill('SIGKILL');
  await until(() => processes().length === 0, 2_000);
  expect(Object.values(killed).reduce((a, b) => a + b)).toBe(KILLS);
  const end = tally(['run', 'ads-insights', '--log', log, '--data', data, '--until-end', '--json']);
  expect(end.status, end.stderr).toBe(0);
  const verified = tally(['verify', 'ads-insights', '--log', log, '--data', data, '--json']);
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  expect(JSON.parse(verified.stdout).records).toBe(EVENTS);
  const audit = tally(['audit', 'verify', '--data', data]);
  expect(audit.status, audit.stderr).toBe(0);
  const books = tally([
    'query',
    '--data',
    data,
    '--format',
    'TSV',
    "SELECT sumIf(records, class = 'read'), sumIf(records, class != 'read') FROM tally_books",
  ]);
  expect(books.stdout.trim()).toBe(`${EVENTS}\t${EVENTS}`);
});
