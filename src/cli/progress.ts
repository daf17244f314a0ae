/**
 * One line of progress on stderr, rewritten in place: only when it is a terminal, only for what takes more than a second, and at
 * most ten times a second. Elsewhere nothing is written.
 */
import { monotonicMs } from '../clock.ts';

const WAIT_MS = 1000,
  EVERY_MS = 100;
const CLEAR_LINE = '\r\u001b[K';

export interface Progress {
  update(text: string): void;
  /** Clears the line; `text`, if given, stays in its place. */
  done(text?: string): void;
}
export interface ProgressTarget {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export function startProgress(label: string, target: ProgressTarget = process.stderr, now: () => number = monotonicMs): Progress {
  if (target.isTTY !== true) return { update: () => {}, done: () => {} };
  const start = now();
  let drawn = Number.NEGATIVE_INFINITY,
    isShown = false;
  return {
    update(text) {
      const at = now();
      if (at - start < WAIT_MS || at - drawn < EVERY_MS) return;
      drawn = at;
      isShown = true;
      target.write(CLEAR_LINE + `${label}: ${text}`.slice(0, (target.columns ?? 80) - 1));
    },
    done(text) {
      if (!isShown) return;
      target.write(text === undefined ? CLEAR_LINE : `${CLEAR_LINE}${label}: ${text}\n`);
      isShown = false;
    },
  };
}
