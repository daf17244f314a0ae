/**
 * What the oracle and its checks say to each other: who is asked, what was found to differ, and how much was looked at.
 * A difference is one sentence for a person and the same in fields for a program; only the first are kept, all are counted.
 */
import type { AuditedGap } from './gaps.ts';
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
  /** VIEW WINDOW, of all that have one. */
  readonly windows: Set<string> = new Set();
  private readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
  add(check: Check, where: string, expected: string, found: string, at: { window?: number; key?: string } = {}): void {
    this.total++;
    const window = at.window === undefined ? null : new Date(at.window).toISOString().replace('.000Z', 'Z'),
      key = at.key ?? null;
    if (window !== null) this.windows.add(`${where} ${window}`);
    if (this.shown.length >= this.limit) return;
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
  /** No difference, and nothing that was counted has gone from the log since. */
  readonly ok: boolean;
  readonly differences: readonly Difference[];
  readonly total: number;
  /** What the audit log says that the log did not hold. None of them explains a difference. */
  readonly gaps: readonly AuditedGap[];
  /** VIEW WINDOW: those that differ, when records were counted that the log has lost since. */
  readonly uncheckable: readonly string[];
  readonly records: number;
  readonly counted: number;
  readonly duplicate: number;
  readonly conflict: number;
  readonly quarantined: number;
  /** Rows compared, by view. */
  readonly rows: Readonly<Record<string, number>>;
  /** What was left as it stood when a shard's state was lost: the log does not hold all of it any more. */
  readonly frozen: readonly FrozenShard[];
  /** Rows that could not be compared because of it, by view. */
  readonly unchecked: Readonly<Record<string, number>>;
  /** Windows, each in its table, that they belong to. */
  readonly uncheckedWindows: number;
}
export interface FrozenShard {
  readonly shard: number;
  /** Windows that begin before it; UTC. */
  readonly before: string;
}

export const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
export const name = (text: string): string => `\`${text.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
