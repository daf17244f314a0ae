/**
 * A secret is named, never given: a file or an environment variable. It is read each time that it is needed, so that a changed file counts
 * from the next login on. No error says what was in it.
 */
import { readFile } from 'node:fs/promises';
import { TallyError } from '../errors.ts';

export type Secret = { readonly file: string } | { readonly env: string } | (() => Promise<string> | string);

/** Bounds what a wrong path can make us read. */
const SECRET_BYTES_MAX = 1024 * 1024;

/** Without the line's end that an editor leaves. */
export async function readSecret(secret: Secret, what: string): Promise<string> {
  const text = await rawSecret(secret, what),
    value = text.endsWith('\r\n') ? text.slice(0, -2) : text.endsWith('\n') ? text.slice(0, -1) : text;
  if (value === '') throw missing(what, 'file' in secret ? `the file ${secret.file} is empty` : 'it is empty');
  return value;
}

async function rawSecret(secret: Secret, what: string): Promise<string> {
  if (typeof secret === 'function') return secret();
  if ('env' in secret) {
    const value = process.env[secret.env];
    if (value === undefined || value === '') throw missing(what, `the environment variable ${secret.env} is not set`);
    return value;
  }
  return (await readSecretFile(secret.file, what)).toString('utf8');
}

export async function readSecretFile(file: string, what: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw missing(what, `the file ${file} cannot be read (${code ?? 'unknown reason'})`);
  }
  if (bytes.length > SECRET_BYTES_MAX) throw missing(what, `the file ${file} is larger than a secret can be`);
  return bytes;
}

function missing(what: string, why: string): TallyError {
  return new TallyError(
    'E_SECRET_MISSING',
    `${what} cannot be had: ${why}.`,
    'Secrets come from a file or the environment; name one that holds it.',
  );
}
