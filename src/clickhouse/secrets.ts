/**
 * Passwords and certificates of a ClickHouse server, out of files or the environment; nothing here ever says what is in them. A password file
 * is read again at each use, and the last good word stands while a rotation has it away for a moment.
 */
import { readFileSync, statSync } from 'node:fs';
import { TallyError } from '../errors.ts';
import type { Endpoint } from './engine.ts';

/** Bounds what a wrong path can make us read. */
const SECRET_BYTES_MAX = 64 * 1024;
const lastGood = new Map<string, string>();

export function currentPassword(endpoint: Pick<Endpoint, 'password' | 'passwordFile'>): string {
  const { passwordFile } = endpoint;
  if (passwordFile === undefined) return endpoint.password;
  try {
    const password = read(passwordFile)
      .toString('utf8')
      .replace(/\r?\n$/, '');
    if (password === '') throw new Error('it is empty');
    lastGood.set(passwordFile, password);
    return password;
  } catch (cause) {
    const before = lastGood.get(passwordFile);
    if (before !== undefined) return before;
    throw missing('The password of ClickHouse', passwordFile, cause, 'TALLY_CLICKHOUSE_PASSWORD_FILE');
  }
}

export interface TlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export function tlsFiles(endpoint: Endpoint): TlsFiles {
  const { caFile, certFile, keyFile } = endpoint;
  return {
    ...(caFile === undefined ? {} : { ca: pem(caFile, 'The authority of ClickHouse', 'TALLY_CLICKHOUSE_CA_FILE') }),
    ...(certFile === undefined ? {} : { cert: pem(certFile, 'The certificate for ClickHouse', 'TALLY_CLICKHOUSE_CERT_FILE') }),
    ...(keyFile === undefined ? {} : { key: pem(keyFile, 'The key for ClickHouse', 'TALLY_CLICKHOUSE_KEY_FILE') }),
  };
}

function pem(file: string, what: string, variable: string): Buffer {
  try {
    const bytes = read(file);
    if (!bytes.includes('-----BEGIN ')) throw new Error('it is not a PEM file');
    return bytes;
  } catch (cause) {
    throw missing(what, file, cause, variable);
  }
}

function read(file: string): Buffer {
  if (statSync(file).size > SECRET_BYTES_MAX) throw new Error('it is larger than a secret can be');
  return readFileSync(file);
}

function missing(what: string, file: string, cause: unknown, variable: string): TallyError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new TallyError(
    'E_SECRET_MISSING',
    `${what} cannot be had from ${file}: ${code ?? message}.`,
    `${variable} names the file.`,
    undefined,
    cause,
  );
}
