/**
 * What the oracle and its checks say to each other: who is asked, what was found to differ, and how much was looked at.
 * A difference is one sentence for a person and the same in fields for a program; only the first are kept, all are counted.
 */
import type { KafkaAccess } from './read-kafka.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

/** One SELECT; rows as JSONEachRow gives them, 64-bit integers as text. */
export type Ask = (sql: string) => Promise<Record<string, unknown>[]>;

export type Check = 'live' | 'final' | 'changes' | 'books' | 'quarantine' | 'conflict' | 'progress';
export interface Difference {
  readonly check: Check;
  /** The view, or TOPIC/PARTITION@OFFSET. */
  readonly where: string;
  /** UTC start of the window; null where there is none. */
  readonly window: string | null;
  readonly key: string | null;
  readonly expected: string;
  readonly found: string;
  readonly sentence: string;
}

export class Differences {
  readonly shown: Difference[] = [];
  total = 0;
  private readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
  add(check: Check, where: string, expected: string, found: string, at: { window?: number; key?: string } = {}): void {
    this.total++;
    if (this.shown.length >= this.limit) return;
    const window = at.window === undefined ? null : new Date(at.window).toISOString().replace('.000Z', 'Z'),
      key = at.key ?? null;
    const place = [where, window === null ? '' : ` window ${window}`, key === null ? '' : ` ${key}`].join('');
    this.shown.push({ check, where, window, key, expected, found, sentence: `${check}: ${place}: expected ${expected}, found ${found}` });
  }
}

export interface VerifyOptions {
  readonly plan: Plan;
  /** In the order of plan.sources. */
  readonly contracts: readonly Contract[];
  /** The directory of the log; unless `kafka` says where it is. */
  readonly logDir: string;
  readonly kafka?: KafkaAccess;
  readonly ask: Ask;
  readonly generation: number;
  /** Differences that are kept; 20 unless said. All are counted. */
  readonly limit?: number;
  readonly onProgress?: (p: { readonly stage: 'recount' | 'tables'; readonly done: number; readonly total: number }) => void;
}

export interface VerifyResult {
  readonly ok: boolean;
  readonly differences: readonly Difference[];
  readonly total: number;
  readonly records: number;
  readonly counted: number;
  readonly duplicate: number;
  readonly conflict: number;
  readonly quarantined: number;
  /** Rows compared, by view. */
  readonly rows: Readonly<Record<string, number>>;
}

export const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
export const name = (text: string): string => `\`${text.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
