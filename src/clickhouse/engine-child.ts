/**
 * The process that is ClickHouse: npm ships the engine as a shared library whose one call is `clickhouse local`, and that can
 * open ClickHouse's own HTTP listener. All tricks that this takes stand here. Started by engine.ts with the arguments
 * LIBRARY CONFIG DIR LOG; its stdin is the parent's pipe: "stop" on it is an orderly stop, its end without a word means that the parent
 * is dead, and then this process is too. What went wrong goes to stderr.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { DataType as T, isNullPointer, load, open, restorePointer, wrapPointer } from 'ffi-rs';
import { confine } from './engine-sandbox.ts';

const [library, config, dir, log] = process.argv.slice(2) as [string, string, string, string];
const LIBC = process.platform === 'darwin' ? '/usr/lib/libSystem.B.dylib' : 'libc.so.6';
const READ_WRITE = fs.constants.O_RDWR | fs.constants.O_NOCTTY;
/** An orderly stop that takes longer than this is cut short: nothing acknowledged is lost by it. */
const STOP_MS = 4_000;

open({ library: 'ch', path: library });
open({ library: 'c', path: LIBC });

function libc(name: string, types: T[], values: unknown[]): number {
  return load({ library: 'c', funcName: name, retType: T.I32, paramsType: types, paramsValue: values as never }) as unknown as number;
}

/**
 * Without a terminal the engine installs a handler that aborts the whole process on any exception that leaves a connection's thread
 * (bytes that are no HTTP, the memory limit). With one it does not. So it gets a terminal of its own: the slave side becomes
 * descriptor 0, and whoever holds the master side can end the session by ^D.
 */
function takeTerminal(): { pipe: number; master: number } {
  const pipe = libc('dup', [T.I32], [0]);
  const master = libc('posix_openpt', [T.I32], [READ_WRITE]);
  if (master < 0 || libc('grantpt', [T.I32], [master]) !== 0 || libc('unlockpt', [T.I32], [master]) !== 0) {
    fs.writeSync(2, 'no pseudo terminal is to be had (/dev/pts)\n');
    process.exit(1);
  }
  const slave = load({
    library: 'c',
    funcName: 'ptsname',
    retType: T.String,
    paramsType: [T.I32],
    paramsValue: [master],
  }) as unknown as string;
  libc('dup2', [T.I32, T.I32], [fs.openSync(slave, READ_WRITE), 0]);
  return { pipe, master };
}

/** Runs in a thread of its own, because the main thread never comes back from the engine. Blocks on the parent's pipe. */
const WATCH = `
const fs = require('node:fs');
const { workerData: { pipe, master, stopMs }, parentPort } = require('node:worker_threads');
const bytes = Buffer.alloc(64);
parentPort.postMessage('ready');
let n = 0;
try { n = fs.readSync(pipe, bytes); } catch {}
if (n > 0) {
  try { fs.writeSync(master, '\\x04'); } catch {}
  const end = performance.now() + stopMs;
  const timer = new Int32Array(new SharedArrayBuffer(4));
  while (performance.now() < end) Atomics.wait(timer, 0, 0, 100);
}
process.kill(process.pid, 'SIGKILL');
`;

/** Blocks until the session ends. Undefined, or what went wrong. */
function runEngine(): string | undefined {
  const argv = [
    'clickhouse',
    '--config-file',
    config,
    '--path',
    dir,
    '--logger.log',
    log,
    '--log-level',
    'error',
    '--interactive',
    '--disable_suggestion',
    '--history_file',
    '/dev/null',
    '--highlight',
    '0',
    '--query',
    'SYSTEM START LISTEN HTTP',
  ];
  const result = load({
    library: 'ch',
    funcName: 'chdb_query_cmdline',
    retType: T.External,
    paramsType: [T.I32, T.StringArray],
    paramsValue: [argv.length, argv],
  });
  const error = load({
    library: 'ch',
    funcName: 'chdb_result_error',
    retType: T.External,
    paramsType: [T.External],
    paramsValue: [result],
  });
  // A missing text read as a string would crash: it is asked for as a pointer first.
  if (isNullPointer(error as never)) return undefined;
  return restorePointer({ retType: [T.String], paramsValue: wrapPointer([error as never]) })[0] as string;
}

const { pipe, master } = takeTerminal();
const watcher = new Worker(WATCH, { eval: true, workerData: { pipe, master, stopMs: STOP_MS } });
watcher.once('message', () => {
  confine(dir, [path.dirname(library)]);
  const error = runEngine();
  if (error !== undefined) fs.writeSync(2, `${error}\n`);
  // Not process.exit: that would wait for the watcher, which blocks on the pipe.
  load({ library: 'c', funcName: '_exit', retType: T.Void, paramsType: [T.I32], paramsValue: [error === undefined ? 0 : 1] });
});
