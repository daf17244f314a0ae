/**
 * Starts and stops the embedded ClickHouse as a child process (engine-child.ts) over DATA/clickhouse. One engine a directory: the
 * lock file there is held from before the start until after the end, and starts wait for each other. The child is a group of
 * its own, so a Ctrl-C on the terminal does not reach it, and it dies with this process, however that dies.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { monotonicMs, randomHex } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { FileLock } from '../lock.ts';
import {
  DATABASE,
  READER,
  ask,
  makePrivateDir,
  notWritable,
  readAccess,
  removeConnection,
  writeAccess,
  writeConnection,
  writePrivate,
} from './connection.ts';
import type { Connection } from './connection.ts';
import { WRITER, engineConfig } from './engine-config.ts';
import { removeUnwritten } from './unwritten.ts';

const READY_MS_MAX = 30_000;
const LOCK_WAIT_MS = 30_000;
const POLL_MS = 10;
const STOP_MS_MAX = 5_000;
const START_ATTEMPTS = 5;
const MEMORY_BYTES_MAX = 1 << 30;

export interface Endpoint {
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
  /** Read again with each insert, so that a changed file counts at once; in place of `password`. */
  readonly passwordFile?: string;
  /** For https: whom to trust besides the usual authorities, and who we are. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}
export interface EngineOptions {
  /** DATA/clickhouse */
  readonly dir: string;
  /** Others may use it while it lives: connection.json says where. Else it is for its starter alone. */
  readonly publish?: boolean;
  readonly memoryBytesMax?: number;
  /** How long to wait for another process that has the engine's directory. */
  readonly lockWaitMs?: number;
  /** Kept over a restart, so that clients need not be told. */
  readonly port?: number;
  readonly writerPassword?: string;
  /** The engine is gone, and nobody had asked for it. */
  readonly onExit?: (how: string) => void;
}
export interface Engine {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** May write: for this process and its threads alone. */
  readonly admin: Endpoint;
  readonly reader: Connection;
  readonly readyMs: number;
  /** Orderly; close HTTP clients first, an idle socket holds it up. Does nothing the second time. */
  stop(): Promise<void>;
  /** As a crash would. */
  kill(): Promise<void>;
}

export async function startEngine(asked: EngineOptions): Promise<Engine> {
  // The child works in that directory: a path that is relative to this process would be another one there.
  const library = engineLibrary(),
    o = { ...asked, dir: path.resolve(asked.dir) };
  makePrivateDir(o.dir);
  const lock = await FileLock.lock(path.join(o.dir, 'lock'), o.lockWaitMs ?? LOCK_WAIT_MS);
  if (lock === undefined) {
    throw new TallyError(
      'E_ENGINE_BUSY',
      `Another process works with the ClickHouse of ${o.dir}.`,
      'Wait until it has ended, then try again.',
    );
  }
  try {
    return await startLocked(o, library, lock);
  } catch (error) {
    lock.unlock();
    throw error;
  }
}

/** npm puts the library beside chdb, or inside it. */
export function engineLibrary(): string {
  const platform = process.platform === 'darwin' ? `darwin-${process.arch}` : `${process.platform}-${process.arch}-gnu`;
  const name = `@chdb/lib-${platform}`,
    here = createRequire(import.meta.url);
  for (const from of [() => here, () => createRequire(here.resolve('chdb'))]) {
    try {
      const file = path.join(path.dirname(from().resolve(`${name}/package.json`)), 'libchdb.so');
      if (existsSync(file)) return file;
    } catch {
      // looked for in the next place
    }
  }
  throw new TallyError(
    'E_ENGINE_MISSING',
    `There is no embedded ClickHouse for this machine: npm package ${name} is not installed.`,
    'Linux (glibc) and macOS on x64 or arm64 have one: run npm install there without --omit=optional; or use a server: --clickhouse http://user:password@host:8123/db',
  );
}

async function startLocked(o: EngineOptions, library: string, lock: FileLock): Promise<Engine> {
  const access = readAccess(o.dir),
    readerPassword = access?.password ?? randomHex(18),
    writerPassword = o.writerPassword ?? randomHex(18);
  let port = o.port ?? access?.port ?? (await freePort());
  const began = monotonicMs();
  removeUnwritten(o.dir);
  for (let attempt = 1; ; attempt++) {
    const nonce = randomHex(9),
      config = path.join(o.dir, 'conf', 'config.xml');
    makePrivateDir(path.dirname(config));
    writePrivate(
      config,
      engineConfig({ file: config, port, nonce, writerPassword, readerPassword, memoryBytesMax: o.memoryBytesMax ?? MEMORY_BYTES_MAX }),
    );
    const child = new Child(library, config, o.dir);
    const url = `http://127.0.0.1:${port}`,
      writer = { url, user: WRITER, password: writerPassword };
    const failure = (await untilReady(child, writer, nonce, began)) ?? (await makeDatabase(child, writer));
    if (failure === undefined) {
      try {
        if (access?.port !== port || access.password !== readerPassword) writeAccess(o.dir, { port, password: readerPassword });
      } catch (error) {
        await child.kill();
        throw error;
      }
      return started(o, child, lock, { port, writer, readerPassword, began });
    }
    await child.kill();
    if (attempt >= START_ATTEMPTS || failure.kind === 'other') throw engineFault(o.dir, failure.text);
    if (failure.kind === 'port') port = await freePort();
    // The engine of a run that was just killed may still be going.
    else await sleep(100 * attempt);
  }
}

async function makeDatabase(child: Child, writer: Writer): Promise<Failure | undefined> {
  try {
    const created = await ask(writer, `CREATE DATABASE IF NOT EXISTS ${DATABASE}`, READY_MS_MAX);
    return created.ok ? undefined : { kind: 'other', text: created.text };
  } catch {
    // It died just now.
    await child.exited;
    return failureOf(child);
  }
}

interface Writer {
  readonly url: string;
  readonly user: string;
  readonly password: string;
}

function started(
  o: EngineOptions,
  child: Child,
  lock: FileLock,
  at: { port: number; writer: Writer; readerPassword: string; began: number },
): Engine {
  const { url } = at.writer,
    database = DATABASE;
  const reader: Connection = { url, user: READER, password: at.readerPassword, database, pid: child.pid };
  if (o.publish === true) writeConnection(o.dir, reader);
  let ending = false;
  const over = child.exited.then((how) => {
    if (o.publish === true) removeConnection(o.dir);
    lock.unlock();
    if (!ending) o.onExit?.(how);
  });
  return {
    url,
    port: at.port,
    pid: child.pid,
    reader,
    readyMs: monotonicMs() - at.began,
    admin: { url, username: WRITER, password: at.writer.password, database },
    async stop() {
      ending = true;
      await child.stop();
      await over;
    },
    async kill() {
      ending = true;
      await child.kill();
      await over;
    },
  };
}

type Failure = { readonly kind: 'port' | 'again' | 'other'; readonly text: string };

/** Asks for a word that only this very child knows: another engine on the port does not pass for it. */
async function untilReady(child: Child, writer: Writer, nonce: string, began: number): Promise<Failure | undefined> {
  for (;;) {
    if (child.how !== undefined) return failureOf(child);
    if (/Address already in use/i.test(child.stderr)) return { kind: 'port', text: child.stderr };
    try {
      const answer = await ask(writer, "SELECT getMacro('start')", READY_MS_MAX);
      if (answer.ok && answer.text.trim() === nonce) return undefined;
      // Somebody else answers there.
      if (monotonicMs() - began > READY_MS_MAX / 4) return { kind: 'port', text: answer.text };
    } catch {
      // not listening yet
    }
    if (monotonicMs() - began > READY_MS_MAX) return { kind: 'other', text: `not ready after ${READY_MS_MAX / 1000} s. ${child.stderr}` };
    await sleep(POLL_MS);
  }
}

function failureOf(child: Child): Failure {
  const text = child.stderr === '' ? `it ended with ${child.how}` : child.stderr;
  if (/Address already in use/i.test(text)) return { kind: 'port', text };
  // Killed from outside is no fault of its own.
  const isAgain =
    child.how === 'SIGKILL' || child.how === 'SIGTERM' || /Cannot lock file|Another server instance|\(CANNOT_OPEN_FILE\)/i.test(text);
  return { kind: isAgain ? 'again' : 'other', text };
}

function engineFault(dir: string, said: string): TallyError {
  const text = said.replaceAll(/\s+/g, ' ').trim();
  if (/No space left|NOT_ENOUGH_SPACE/i.test(text)) return notWritable(dir, Object.assign(new Error(text), { code: 'ENOSPC' }));
  if (/Permission denied|Read-only file system/i.test(text)) return notWritable(dir, new Error(text));
  return new TallyError(
    'E_ENGINE',
    `The embedded ClickHouse over ${dir} does not start: ${text.slice(0, 600)}`,
    `Its log is ${path.join(dir, 'conf', 'engine.log')}.`,
  );
}

/** The process itself, as seen from outside. */
class Child {
  readonly exited: Promise<string>;
  /** The end of what it wrote to stderr. */
  stderr = '';
  /** How it ended; undefined while it runs. */
  how: string | undefined;
  private readonly process: ChildProcess;

  constructor(library: string, config: string, dir: string) {
    const script = new URL(`./engine-child${path.extname(fileURLToPath(import.meta.url))}`, import.meta.url);
    const { PATH, TMPDIR } = process.env;
    this.process = spawn(
      process.execPath,
      ['--max-semi-space-size=1', fileURLToPath(script), library, config, dir, path.join(dir, 'conf', 'engine.log')],
      {
        stdio: ['pipe', 'ignore', 'pipe'],
        detached: true,
        cwd: dir,
        env: { PATH, ...(TMPDIR === undefined ? {} : { TMPDIR }), TZ: 'UTC', LANG: 'C.UTF-8' },
      },
    );
    this.process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-4000);
    });
    this.process.stdin!.on('error', () => {});
    this.exited = new Promise((resolve) => {
      const end = (how: string): void => {
        this.how ??= how;
        resolve(how);
      };
      this.process.once('error', (error) => end(error.message));
      this.process.once('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
  }
  get pid(): number {
    return this.process.pid ?? -1;
  }
  async stop(): Promise<void> {
    this.process.stdin!.end('stop');
    const late = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS_MAX);
    await this.exited;
    clearTimeout(late);
  }
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.exited;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
