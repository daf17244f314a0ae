/** Turns what the lower rooms throw into what a person is told. What is not known here is a bug and goes on as it is. */
import { OverflowError } from '../../topology/window/accumulators.ts';
import { ZoneRulesError } from '../../topology/window/windows.ts';
import { StoreError, StoreLockedError } from '../../state/errors.ts';
import { EXIT_BUG, TallyError } from '../errors.ts';
import type { Told } from './messages.ts';

export function toTallyError(error: unknown): unknown {
  if (error instanceof TallyError) return error;
  if (error instanceof OverflowError) {
    return new TallyError(
      'E_OVERFLOW',
      error.message,
      'the run stopped with its state as it was; look for wrong values in the source, or sum a smaller unit',
      3,
      error,
    );
  }
  if (error instanceof ZoneRulesError) {
    return new TallyError(
      'E_ZONE_RULES',
      error.message,
      'run with the Node that wrote the state, or count anew: tally drop JOB --data DIR --yes',
      3,
      error,
    );
  }
  if (error instanceof StoreLockedError)
    return new TallyError('E_LOCKED', error.message, 'another process works on this state: stop it first', 3, error);
  if (error instanceof StoreError) {
    return /No space left/i.test(error.message)
      ? new TallyError(
          'E_DISK_FULL',
          'the disk is full: the state could not be written and is as it was at the last commit',
          'make room and start again; nothing is lost',
          3,
          error,
        )
      : new TallyError('E_STATE', error.message, 'the state is as it was at the last commit; see to the disk and start again', 3, error);
  }
  return error;
}

/** What another thread is told of an error; `faultOf` makes an error of it again. */
export function told(cause: unknown): Told {
  const error = toTallyError(cause);
  const stack = error instanceof Error ? (error.stack ?? '') : String(error);
  if (error instanceof TallyError) return { code: error.code, sentence: error.message, hint: error.hint, exit: error.exit, stack };
  return { code: 'E_BUG', sentence: error instanceof Error ? error.message : String(error), hint: '', exit: EXIT_BUG, stack };
}

export function faultOf(told: Told): Error {
  if (told.code !== 'E_BUG') return new TallyError(told.code, told.sentence, told.hint, told.exit);
  const bug = new Error(told.sentence);
  bug.stack = told.stack;
  return bug;
}
