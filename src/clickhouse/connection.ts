/**
 * DATA/clickhouse/connection.json: where the embedded ClickHouse listens now and the read-only user's password, for any client.
 * Written whole (rename) with mode 600 when a run's engine is ready, removed when it is stopped. After a kill it may be stale: then
 * nobody answers with these credentials. access.json beside it keeps port and password the same from run to run.
 */
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { TallyError } from '../errors.ts';
import { makeDirs } from '../make-dirs.ts';

export const READER = 'reader';
export const DATABASE = 'tally';

export interface Connection {
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly pid: number;
}
export interface Access {
  readonly port: number;
  readonly password: string;
}

export const connectionFile = (dir: string): string => path.join(dir, 'connection.json');
const accessFile = (dir: string): string => path.join(dir, 'access.json');

export function makePrivateDir(dir: string): void {
  try {
    makeDirs(dir, 0o700);
  } catch (cause) {
    throw notWritable(dir, cause);
  }
}

export function writePrivate(file: string, text: string): void {
  try {
    writeFileSync(`${file}.tmp`, text, { mode: 0o600 });
    chmodSync(`${file}.tmp`, 0o600);
    renameSync(`${file}.tmp`, file);
  } catch (cause) {
    throw notWritable(file, cause);
  }
}

export function notWritable(place: string, cause: unknown): TallyError {
  const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
  return new TallyError(
    full ? 'E_DISK_FULL' : 'E_NOT_WRITABLE',
    `${place} cannot be written: ${(cause as Error).message}.`,
    full ? 'Make room and start again.' : 'Give a data directory that this user may write to.',
    undefined,
    cause,
  );
}

export const writeConnection = (dir: string, c: Connection): void => writePrivate(connectionFile(dir), `${JSON.stringify(c, null, 2)}\n`);
export const removeConnection = (dir: string): void => rmSync(connectionFile(dir), { force: true });
export const readConnection = (dir: string): Connection | undefined => readJson(connectionFile(dir)) as Connection | undefined;

export const readAccess = (dir: string): Access | undefined => readJson(accessFile(dir)) as Access | undefined;
export const writeAccess = (dir: string, access: Access): void => writePrivate(accessFile(dir), `${JSON.stringify(access)}\n`);

/** What is missing or was never finished counts as nothing. */
function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** True when the engine that wrote it answers now. */
export async function isAlive(c: Connection, timeoutMs: number = 2_000): Promise<boolean> {
  try {
    const answer = await ask(c, 'SELECT 1', timeoutMs);
    return answer.ok && answer.text.trim() === '1';
  } catch {
    return false;
  }
}

/** One small question on a socket of its own, so that nothing keeps a connection to an engine that is to be stopped. */
export async function ask(
  c: { url: string; user: string; password: string },
  sql: string,
  timeoutMs: number,
): Promise<{ ok: boolean; text: string }> {
  const response = await fetch(c.url, {
    method: 'POST',
    body: sql,
    signal: AbortSignal.timeout(timeoutMs),
    headers: { 'x-clickhouse-user': c.user, 'x-clickhouse-key': c.password, connection: 'close' },
  });
  return { ok: response.ok, text: await response.text() };
}
