/** Turns what the lower rooms throw into what a person is told. What is not known here is a bug and goes on as it is. */
import { OverflowError } from '../../topology/window/accumulators.ts';
import { ZoneRulesError } from '../../topology/window/windows.ts';
import { StoreError, StoreLockedError } from '../../state/errors.ts';
import { TallyError } from '../errors.ts';

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
