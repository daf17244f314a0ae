/** Which names a job may give: they become columns, tables and directories, so they must be free, plain and short. */
import { JobError } from './job-error.ts';

const NAME = /^[a-z][a-z0-9_]*$/;
const JOB = /^[a-z][a-z0-9-]*$/;
const NAME_LENGTH_MAX = 64;

/** Columns that every table has beside dimensions and measures. */
const TAKEN = [
  'window_start',
  'window_end',
  'shard',
  'version',
  'state',
  'op',
  'sign',
  'cause',
  'changed_at',
  'corrected',
  'epoch',
  'is_deleted',
];
/** Tally makes `<table>_live`, `<table>_changes` and `<table>_g1_rows` beside each table. */
const TAKEN_SUFFIX = /_(live|changes|rows)$/;

export function checkJobName(name: unknown): asserts name is string {
  if (typeof name === 'string' && JOB.test(name) && name.length <= NAME_LENGTH_MAX) return;
  throw new JobError(
    `the job's name ${show(name)} must be lower case letters, digits and hyphens, a letter first, ${NAME_LENGTH_MAX} at most`,
    'For example topology("ads-insights").',
  );
}

/** A column that the job names: a dimension or a measure. */
export function checkColumn(what: string, name: unknown, before: ReadonlySet<string>): asserts name is string {
  checkPlain(what, name);
  if (TAKEN.includes(name))
    throw new JobError(`${what} "${name}" has the name of a column that every table has`, `Taken: ${TAKEN.join(', ')}.`);
  if (before.has(name)) throw new JobError(`${what} "${name}" is named twice`, 'Dimensions and measures of a job need names of their own.');
}

export function checkTable(name: unknown, before: ReadonlySet<string>): asserts name is string {
  checkPlain('table', name);
  if (name.startsWith('tally_')) throw new JobError(`table "${name}" begins with tally_`, "Those names are for Tally's own tables.");
  const suffix = TAKEN_SUFFIX.exec(name)?.[0];
  if (suffix !== undefined) {
    throw new JobError(
      `table "${name}" ends in ${suffix}, which could be the name of a table made beside another`,
      'Tally makes <table>_live, <table>_changes and <table>_g1_rows itself.',
    );
  }
  if (before.has(name)) throw new JobError(`table "${name}" is named twice`, 'Each window writes a table of its own.');
}

function checkPlain(what: string, name: unknown): asserts name is string {
  if (typeof name === 'string' && NAME.test(name) && name.length <= NAME_LENGTH_MAX) return;
  throw new JobError(
    `${what} ${show(name)} is not a plain SQL name: lower case letters, digits and _, a letter first, ${NAME_LENGTH_MAX} at most`,
    'It becomes a name in ClickHouse.',
  );
}

export const show = (value: unknown): string => (typeof value === 'string' ? `"${value}"` : String(JSON.stringify(value) ?? typeof value));
