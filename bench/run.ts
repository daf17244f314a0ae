/**
 * npm run bench: every stage and the whole way, ours beside the naive way on the same data and in turns with it; one table, and
 * bench/results.json. Each benchmark runs in a process of its own, so that none measures what another left in memory or made the compiler
 * believe. `npm run bench -- --quick` takes about a minute and writes no results; `-- gate window` runs those
 * alone, and with `--save` puts their rows in the place of the old ones.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { monotonicMs } from '../src/clock.ts';
import { print } from './table.ts';
import type { Row } from './table.ts';

const BENCHES: Readonly<Record<string, () => Promise<(quick: boolean) => Promise<Row[]>>>> = {
  log: async () => (await import('./log.ts')).benchLog,
  gate: async () => (await import('./gate.ts')).benchGate,
  dedup: async () => (await import('./dedup.ts')).benchDedup,
  window: async () => (await import('./window.ts')).benchWindow,
  sink: async () => (await import('./sink.ts')).benchSink,
  'end-to-end': async () => (await import('./end-to-end.ts')).benchEndToEnd,
  latency: async () => (await import('./latency.ts')).benchLatency,
  kafka: async () => (await import('./kafka.ts')).benchKafka,
};

const results = fileURLToPath(new URL('results.json', import.meta.url));

async function apart(name: string, quick: boolean): Promise<Row[]> {
  const began = monotonicMs();
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--one', name, ...(quick ? ['--quick'] : [])], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let rows: Row[] | undefined;
  child.on('message', (message) => (rows = message as Row[]));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0 || rows === undefined) throw new Error(`the benchmark ${name} ended with ${code}`);
  process.stderr.write(`${name}: ${((monotonicMs() - began) / 1000).toFixed(0)} s\n`);
  return rows;
}

const saved = (): Row[] => (JSON.parse(fs.readFileSync(results, 'utf8')) as { rows: Row[] }).rows;

async function main(args: readonly string[]): Promise<void> {
  const quick = args.includes('--quick'),
    names = args.filter((a) => !a.startsWith('--'));
  const unknown = names.find((n) => BENCHES[n] === undefined);
  if (unknown !== undefined) throw new Error(`there is no benchmark ${unknown}; there are ${Object.keys(BENCHES).join(', ')}`);
  if (args.includes('--one')) {
    const rows = await (await BENCHES[names[0]!]!())(quick);
    process.send!(rows, () => process.exit(0));
    return;
  }
  const load = os.loadavg()[0]!,
    cores = os.availableParallelism(),
    rows: Row[] = [];
  if (load > cores / 2)
    process.stderr.write(`the machine is busy (load ${load.toFixed(1)} on ${cores} cores): ratios hold, absolute figures do not\n`);
  for (const name of names.length === 0 ? Object.keys(BENCHES) : names) rows.push(...(await apart(name, quick)));
  print(rows);
  if (quick || (names.length > 0 && !args.includes('--save'))) return;
  const stages = new Set(rows.map((r) => r.stage)),
    kept = names.length === 0 ? [] : saved().filter((r) => !stages.has(r.stage));
  const machine = {
    cpu: os.cpus()[0]?.model ?? '',
    cores,
    memory_gib: Math.round(os.totalmem() / 2 ** 30),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    load_at_start: Number(load.toFixed(1)),
  };
  fs.writeFileSync(results, `${JSON.stringify({ machine, rows: [...kept, ...rows] }, null, 2)}\n`);
  process.stderr.write(`written to ${results}\n`);
}

await main(process.argv.slice(2));
