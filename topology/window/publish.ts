/**
 * What a commit tells of a window, by where the window stands:
 *   open    rows changed since they were last sent, when provisional rows are asked for; else they stay unsent
 *   final now   the rows still unsent, and '+I' of every row
 *   final before   for each row that late events changed: '-U' with the values before and '+U' with the new ones, or '+I' of
 *           a new row, with the cause; and the row, marked corrected. A row whose values came out the same says nothing.
 * The sum of the changes of a final window is its rows, at every commit.
 */
import type { RowShape } from './accumulators.ts';
import type { KeyTable } from './keys.ts';
import { CHANGED } from './levels.ts';
import { CORRECTED, UNSENT } from './window.ts';
import type { Window } from './window.ts';
import { INSERTED, UPDATED_FROM, UPDATED_TO } from '../write/window-rows.ts';
import type { WindowRows } from '../write/window-rows.ts';

export class Publisher {
  private readonly keys: KeyTable;
  private readonly stride: number;
  version = 0;
  changedAt = 0;

  constructor(keys: KeyTable, shape: RowShape) {
    this.keys = keys;
    this.stride = shape.stride;
  }

  open(w: Window, rows: WindowRows, provisional: boolean): void {
    if (w.active) markTouched(w);
    if (provisional) this.sendUnsent(w, rows);
  }

  finalize(w: Window, rows: WindowRows, changes: WindowRows): void {
    if (w.active) markTouched(w);
    this.sendUnsent(w, rows);
    const { keys, stride, version, changedAt } = this,
      { start, end, key, sums } = w;
    for (let r = 0; r < w.rows; r++) changes.change(start, end, keys, key[r]!, sums, r * stride, INSERTED, '', version, changedAt);
    w.final = true;
  }

  private sendUnsent(w: Window, rows: WindowRows): void {
    if (w.unsent === 0) return;
    const { keys, stride, version } = this,
      { start, end, key, sums, state } = w;
    for (let r = 0; r < w.rows; r++) {
      if ((state[r]! & UNSENT) === 0) continue;
      state[r]! &= ~UNSENT;
      rows.row(start, end, keys, key[r]!, sums, r * stride, 0, version);
    }
    w.unsent = 0;
  }

  /** Every row of a final window, as it stands. */
  again(w: Window, rows: WindowRows): void {
    const { keys, stride, version } = this,
      { start, end, key, sums, state } = w;
    for (let r = 0; r < w.rows; r++) rows.row(start, end, keys, key[r]!, sums, r * stride, (state[r]! & CORRECTED) === 0 ? 0 : 1, version);
  }

  correct(w: Window, rows: WindowRows, changes: WindowRows): void {
    const { keys, stride, version, changedAt } = this,
      { start, end, key, sums, late } = w;
    if (late === null) throw new Error('a final window was touched, yet by no late event');
    w.active = false;
    for (let k = 0; k < late.rows.length; k++) {
      const r = late.rows[k]!,
        existed = r < w.committedRows;
      if (existed && !late.changed(k, sums)) {
        w.touched[r] = 0;
        continue;
      }
      const cause = late.cause(k),
        at = r * stride;
      w.active = true;
      w.state[r]! |= CORRECTED | CHANGED;
      rows.row(start, end, keys, key[r]!, sums, at, 1, version);
      if (existed) changes.change(start, end, keys, key[r]!, late.before, k * stride, UPDATED_FROM, cause, version, changedAt);
      changes.change(start, end, keys, key[r]!, sums, at, existed ? UPDATED_TO : INSERTED, cause, version, changedAt);
    }
    w.late = null;
  }
}

function markTouched(w: Window): void {
  const { touched, state } = w;
  for (let r = 0; r < w.rows; r++) {
    if (touched[r] === 0) continue;
    if ((state[r]! & UNSENT) === 0) w.unsent++;
    state[r]! |= UNSENT | CHANGED;
  }
}
