/**
 * `tally run` as a user starts it, live, that can be killed: the launcher, the run or the engine, by SIGKILL. Whatever died, what is left ends
 * or comes back by itself; `start` begins again over the same data. Its processes are found by the data directory in their command lines.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { monotonicMs } from '../src/clock.ts';

const TALLY = fileURLToPath(new URL('../bin/tally.mjs', import.meta.url));
/** The Node that npm was started by: when it is another than Tally's own, there is a launcher to kill. */
const NODE = process.env['npm_node_execpath'] ?? process.execPath;
const GONE_MS = 20_000,
  SAID_CHARS = 4000;

export const VICTIMS = ['launcher', 'run', 'engine'] as const;
export type Victim = (typeof VICTIMS)[number];

interface Done {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
export interface Command {
  readonly child: ChildProcess;
  readonly done: Promise<Done>;
}

/** `tally WORDS`; of stderr the end is kept. */
export function tally(words: readonly string[]): Command {
  const child = spawn(NODE, [TALLY, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '',
    stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-SAID_CHARS)));
  const done = new Promise<Done>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
  return { child, done };
}

/** The same, when nothing but success will do. */
export async function must(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await tally(words).done;
  if (status !== 0) throw new Error(`tally ${words.join(' ')} ended with ${status}: ${stdout.slice(-SAID_CHARS)}${stderr}`);
  return stdout;
}

interface Process {
  readonly pid: number;
  readonly words: string;
  readonly bytes: number;
}

const isEngine = (p: Process): boolean => p.words.includes('engine-child');

export class LiveRun {
  private readonly words: readonly string[];
  private readonly data: string;
  private command: Command | undefined;
  /** Why it ended, when nobody had asked for it. */
  private fault: Error | undefined;

  constructor(job: string, log: string, data: string, ...more: string[]) {
    this.words = ['run', job, '--log', log, '--data', data, ...more];
    this.data = data;
  }

  start(): void {
    const command = (this.command = tally(this.words));
    void command.done.then(({ status, stderr }) => {
      if (this.command === command) this.fault = new Error(`tally run ended by itself with ${status}: ${stderr}`);
    });
  }

  /** Throws when the run has ended by itself. */
  check(): void {
    if (this.fault !== undefined) throw this.fault;
  }

  /** Kills one of its processes; a run that is gone with it is started again, an engine by the run that it belongs to. */
  async kill(victim: Victim): Promise<void> {
    this.check();
    const { command } = this;
    if (command === undefined) throw new Error('there is no run to kill');
    const target = victim === 'launcher' ? command.child.pid! : this.find(victim);
    if (target === undefined) throw new Error(`there is no ${victim} to kill`);
    if (victim !== 'engine') this.command = undefined;
    process.kill(target, 'SIGKILL');
    if (victim === 'engine') return;
    await command.done;
    await this.gone();
    this.start();
  }

  /** What run and engine have in memory now. Where npm's Node is Tally's own, the launcher is the run. */
  bytes(): number {
    const launcher = this.command?.child.pid,
      all = this.processes(),
      isApart = all.some((p) => p.pid !== launcher && !isEngine(p));
    return all.filter((p) => p.pid !== launcher || !isApart).reduce((sum, p) => sum + p.bytes, 0);
  }

  /** An orderly end, or the bluntest. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const { command } = this;
    this.command = undefined;
    if (command === undefined) return;
    command.child.kill(signal);
    const { status, stderr } = await command.done;
    if (signal === 'SIGTERM' && status !== 0) throw new Error(`tally run was asked to stop and ended with ${status}: ${stderr}`);
    await this.gone();
  }

  private find(victim: 'run' | 'engine'): number | undefined {
    const launcher = this.command?.child.pid,
      all = this.processes();
    if (victim === 'engine') return all.find(isEngine)?.pid;
    const runs = all.filter((p) => !isEngine(p));
    return (runs.find((p) => p.pid !== launcher) ?? runs[0])?.pid;
  }

  private async gone(): Promise<void> {
    for (const end = monotonicMs() + GONE_MS; this.processes().length > 0; await sleep(10))
      if (monotonicMs() > end)
        throw new Error(
          `processes outlive the run: ${this.processes()
            .map((p) => p.words)
            .join('; ')}`,
        );
  }

  private processes(): Process[] {
    const out: Process[] = [];
    for (const name of fs.readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const words = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        if (!words.includes(this.data)) continue;
        // A zombie has no memory to show.
        const resident = /VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${name}/status`, 'latin1'));
        if (resident !== null) out.push({ pid: Number(name), words, bytes: Number(resident[1]) * 1024 });
      } catch {
        // It ended meanwhile.
      }
    }
    return out;
  }
}
