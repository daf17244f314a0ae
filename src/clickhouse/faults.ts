/**
 * What ClickHouse, or the way to it, answers when something is wrong, and what that means: a fault that heals is tried again, one that
 * cannot heal by itself stops the run. The table of codes is error-codes.ts; here it becomes sentences.
 */
import { ClickHouseError } from '@clickhouse/client';
import { TallyError } from '../errors.ts';
import { AUTHENTICATION, DENIED, ERROR_CODES, FENCED, FULL, TOO_MUCH } from './error-codes.ts';

export type Verdict = 'retry' | 'stop';

export const codeOf = (error: unknown): string => (error instanceof ClickHouseError ? error.code : '');

export const verdictOf = (error: unknown): Verdict =>
  error instanceof TallyError || (error instanceof ClickHouseError && isFull(error))
    ? 'stop'
    : (ERROR_CODES.get(codeOf(error))?.verdict ?? 'retry');

/** What comes while a file is being written has no code of its own. */
const isFull = (error: ClickHouseError): boolean => error.code === FULL || /No space left on device|not enough space/i.test(error.message);

/** "it merges more slowly than rows come in: Too many parts ..." */
export function troubleOf(error: unknown): string {
  const meaning = ERROR_CODES.get(codeOf(error))?.meaning;
  return meaning === undefined ? messageOf(error) : `${meaning}: ${messageOf(error)}`;
}

/** ClickHouse's own message in one line, without its wrapping. */
export function messageOf(error: unknown): string {
  const text =
    error instanceof Error ? (error.message === '' ? ((error as NodeJS.ErrnoException).code ?? error.name) : error.message) : String(error);
  return cleanMessage(text);
}

export function cleanMessage(text: string): string {
  return text
    .replaceAll(/\s+/g, ' ')
    .trim()
    .replace(/^(Poco::Exception\. )?Code: \d+\.( DB::\w*Exception:)? ?/, '')
    .replace(/ \([A-Z_0-9]+\) \(version [^)]*\)\.?$/, '')
    .replace(/ \([A-Z_0-9]+\)\.?$/, '')
    .replace(/\.$/, '');
}

/** A fault that stops the run, for a person. */
export function stopFault(what: string, error: unknown): TallyError {
  if (error instanceof TallyError) return error;
  const code = codeOf(error),
    why = ERROR_CODES.get(code)?.meaning;
  if (AUTHENTICATION.has(code)) {
    return new TallyError(
      'E_CLICKHOUSE_AUTH',
      `ClickHouse refuses the user: ${messageOf(error)}.`,
      'Check the user in --clickhouse, and the password in TALLY_CLICKHOUSE_PASSWORD or the file of TALLY_CLICKHOUSE_PASSWORD_FILE.',
      undefined,
      error,
    );
  }
  if (error instanceof ClickHouseError && isFull(error)) {
    return new TallyError(
      'E_DISK_FULL',
      `the disk of ClickHouse is full: ${messageOf(error)}.`,
      'Make room and run again: what was not acknowledged stays in the outbox, nothing is lost.',
      undefined,
      error,
    );
  }
  if (code === FENCED) {
    return new TallyError(
      'E_FENCED',
      `ClickHouse turned away ${what}: another process has taken this shard over.`,
      'This process stops and takes nothing back. Its state stays as it is; look at tally status where the shard runs now.',
      undefined,
      error,
    );
  }
  return new TallyError(
    'E_CLICKHOUSE',
    `ClickHouse refuses ${what}${why === undefined ? '' : ` (${why})`}: ${messageOf(error)}.`,
    'Nothing is lost: what was not acknowledged stays in the outbox. Put right what it says, then run again.',
    undefined,
    error,
  );
}

/** A fault while something small was asked, at a start or an end, where nobody waits for it to heal. */
export function askFault(what: string, error: unknown): TallyError {
  if (error instanceof ClickHouseError || error instanceof TallyError) return stopFault(what, error);
  const tls = tlsTrouble(error);
  return new TallyError(
    tls === undefined ? 'E_CLICKHOUSE_DOWN' : 'E_CLICKHOUSE_TLS',
    `ClickHouse cannot be reached (${what}): ${messageOf(error)}.`,
    tls ?? 'Check that it runs, and the URL of --clickhouse.',
    undefined,
    error,
  );
}

/** What to do about it, when the two sides do not agree on TLS; undefined when it is something else. */
export function tlsTrouble(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { message } = error,
    code = (error as NodeJS.ErrnoException).code ?? '';
  if (/ALTNAME/.test(code)) return 'Its certificate is made for another name: use that name in the URL of --clickhouse.';
  if (/CERT_HAS_EXPIRED|CERT_NOT_YET_VALID/.test(code))
    return 'Give the server a certificate that is valid today, and look at both clocks.';
  if (/CERT|SELF_SIGNED|ISSUER|LEAF_SIGNATURE/.test(code) && !/ERR_SSL/.test(code))
    return 'If it is signed by an authority of your own, name the file of that: TALLY_CLICKHOUSE_CA_FILE.';
  if (/^ERR_SSL_(TLSV1|SSLV3)_ALERT|^ERR_SSL_.*ALERT/.test(code))
    return 'The server wants another certificate of ours: TALLY_CLICKHOUSE_CERT_FILE and TALLY_CLICKHOUSE_KEY_FILE.';
  if (code === 'EPROTO' || /^ERR_SSL|WRONG_VERSION/.test(code) || /wrong version number|Parse Error/i.test(message))
    return 'One side speaks TLS, the other does not: https:// (port 8443 as a rule) or http:// (8123).';
  return undefined;
}

export const isTooMuch = (error: ClickHouseError): boolean => TOO_MUCH.has(error.code);
export const isAuthentication = (error: unknown): boolean => AUTHENTICATION.has(codeOf(error));
export const isDenied = (error: unknown): boolean => DENIED.has(codeOf(error instanceof TallyError ? error.cause : error));
/** A server of the cluster cannot be reached, or does not have the table. */
export const isElsewhereMissing = (error: unknown): boolean =>
  ['60', '81', '279'].includes(codeOf(error instanceof TallyError ? error.cause : error));
