/**
 * What ClickHouse, or the way to it, answers when something is wrong, and what that means: a fault that heals is tried again, one that
 * cannot heal by itself stops the run. One table of codes; what is not in it is tried again, for losing time is better than stopping.
 */
import { ClickHouseError } from '@clickhouse/client';
import { TallyError } from '../errors.ts';

export type Verdict = 'retry' | 'stop';

/** https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp */
const STOP: ReadonlyMap<string, string> = new Map([
  ['6', 'a value that does not fit its column'], // CANNOT_PARSE_TEXT
  ['16', 'a column is missing'], // NO_SUCH_COLUMN_IN_TABLE
  ['20', 'another number of columns'], // NUMBER_OF_COLUMNS_DOESNT_MATCH
  ['27', 'a value that does not fit its column'], // CANNOT_PARSE_INPUT_ASSERTION_FAILED
  ['36', 'a wrong argument'], // BAD_ARGUMENTS
  ['44', 'a column of another kind'], // ILLEGAL_COLUMN
  ['47', 'an unknown name'], // UNKNOWN_IDENTIFIER
  ['48', 'this server cannot do it'], // NOT_IMPLEMENTED
  ['53', 'a column of another type'], // TYPE_MISMATCH
  ['60', 'a table is missing'], // UNKNOWN_TABLE
  ['62', 'a statement that this server does not know'], // SYNTAX_ERROR
  ['73', 'a format that this server does not know'], // UNKNOWN_FORMAT
  ['81', 'the database is missing'], // UNKNOWN_DATABASE
  ['115', 'a setting that this server does not know'], // UNKNOWN_SETTING
  ['117', 'data that does not fit the table'], // INCORRECT_DATA
  ['164', 'the user may only read'], // READONLY
  ['192', 'the user is unknown'], // UNKNOWN_USER
  ['193', 'the password is wrong'], // WRONG_PASSWORD
  ['194', 'a password is required'], // REQUIRED_PASSWORD
  ['195', 'the user may not come from this address'], // IP_ADDRESS_NOT_ALLOWED
  ['497', 'the user may not do this'], // ACCESS_DENIED
  ['516', 'user or password is wrong'], // AUTHENTICATION_FAILED
]);
const AUTHENTICATION: ReadonlySet<string> = new Set(['192', '193', '194', '195', '516']);
const TOO_MUCH: ReadonlySet<string> = new Set(['159', '209', '210', '241', '243', '202']);

export const verdictOf = (error: unknown): Verdict =>
  error instanceof TallyError || (error instanceof ClickHouseError && (STOP.has(error.code) || isFull(error))) ? 'stop' : 'retry';

/** 243: NOT_ENOUGH_SPACE; what comes while a file is being written only says so. */
const isFull = (error: ClickHouseError): boolean => error.code === '243' || /No space left on device|not enough space/i.test(error.message);

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
  const code = error instanceof ClickHouseError ? error.code : '',
    why = STOP.get(code);
  if (AUTHENTICATION.has(code)) {
    return new TallyError(
      'E_CLICKHOUSE_AUTH',
      `ClickHouse refuses the user: ${messageOf(error)}.`,
      'Check user and password in --clickhouse, or TALLY_CLICKHOUSE_PASSWORD.',
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
  return new TallyError(
    'E_CLICKHOUSE_DOWN',
    `ClickHouse cannot be reached (${what}): ${messageOf(error)}.`,
    'Check that it runs, and the URL of --clickhouse.',
    undefined,
    error,
  );
}

export const isTooMuch = (error: ClickHouseError): boolean => TOO_MUCH.has(error.code);
export const isAuthentication = (error: ClickHouseError): boolean => AUTHENTICATION.has(error.code);
