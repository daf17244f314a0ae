/**
 * The books: how many records of each partition ended in each class, since the state began. Absolute numbers, so a row of them
 * may be sent any number of times. Invariant, asserted at every commit: what was read is the sum of all other classes.
 */
import { CODES } from './contract/model.ts';
import type { Code } from './contract/model.ts';
import { BOOKS, insertTarget } from './write/layout.ts';
import type { RowBinary } from './write/row-binary.ts';

export type BookClass = 'read' | 'counted' | 'duplicate' | 'conflict' | 'quarantined';
export interface BookLine {
  readonly class: BookClass;
  readonly code: string;
}

/** The lines of a page. Their order is stored in the state: append only. */
export const LINES: readonly BookLine[] = [
  { class: 'read', code: '' },
  { class: 'counted', code: '' },
  { class: 'counted', code: 'LATE' },
  { class: 'duplicate', code: '' },
  { class: 'conflict', code: 'ID_CONFLICT' },
  ...CODES.filter((code) => code !== 'ID_CONFLICT').map((code) => ({ class: 'quarantined' as const, code })),
];
export const READ = 0,
  COUNTED = 1,
  LATE = 2,
  DUPLICATED = 3,
  CONFLICTED = 4;
export const lineOf = (code: Code): number => LINES.findIndex((line) => line.code === code);

export type Page = Float64Array;
export const newPage = (): Page => new Float64Array(LINES.length);

export function assertBalanced(page: Page, where: string): void {
  let sum = 0;
  for (let i = 1; i < page.length; i++) sum += page[i]!;
  if (sum !== page[READ]) throw new Error(`the books of ${where} do not balance: read ${page[READ]}, classes ${sum}`);
}

export const BOOKS_TARGET = insertTarget(BOOKS);

export interface BooksOwner {
  readonly job: string;
  readonly generation: number;
  readonly shard: number;
}

/** The rows of one partition's page; lines that were never used are left out, unless an owner before may have used them. */
export function encodePage(
  out: RowBinary,
  owner: BooksOwner,
  topic: string,
  partition: number,
  page: Page,
  version: number,
  isWhole: boolean = false,
): void {
  for (const [i, line] of LINES.entries()) {
    if (page[i] === 0 && i !== READ && !isWhole) continue;
    out.string(owner.job);
    out.u32(owner.generation);
    out.u16(owner.shard);
    out.string(topic);
    out.i32(partition);
    out.string(line.class);
    out.string(line.code);
    out.int(page[i]!);
    out.int(version);
    out.rows++;
  }
}
