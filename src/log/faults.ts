/** What is told to a person when a log is not as it must be: always with topic, partition and offset. */
import { BatchError } from '../../topology/consume/batch-error.ts';
import { TallyError } from '../errors.ts';

const RESTORE = 'Nothing from there on was read. Restore the segment file from a good copy, or take the damaged file out of the log.';

export function corruptBatch(topic: string, partition: number, offset: number, what: string, file?: string, cause?: unknown): TallyError {
  const where = file === undefined ? '' : ` (${file})`;
  return new TallyError(
    'E_CORRUPT_BATCH',
    `${topic}, partition ${partition}, offset ${offset}: the record batch is corrupt: ${what}${where}.`,
    RESTORE,
    undefined,
    cause,
  );
}

/** Gives a fault of the decoder its place; whatever else it is, it stays as it is. */
export function placedFault(error: unknown, topic: string, partition: number, baseOffset: number): unknown {
  if (!(error instanceof BatchError)) return error;
  return corruptBatch(topic, partition, Number.isNaN(error.offset) ? baseOffset : error.offset, error.message, undefined, error);
}

export function truncated(topic: string, partition: number, offset: number, end: number): TallyError {
  return new TallyError(
    'E_LOG_TRUNCATED',
    `${topic}, partition ${partition}: offset ${offset} lies beyond the end of the log, which is ${end}.`,
    'The log lost records that were read before, or is another log. Bring back the log that this state was made from, or start with a new data directory.',
  );
}

export function removed(topic: string, partition: number, offset: number, start: number): TallyError {
  return new TallyError(
    'E_LOG_TRUNCATED',
    `${topic}, partition ${partition}: offset ${offset} is gone, the log begins at ${start}.`,
    'Segments were removed before they were read. Bring them back, or start with a new data directory.',
  );
}

export function changed(topic: string, partition: number, offset: number): TallyError {
  return new TallyError(
    'E_LOG_CHANGED',
    `${topic}, partition ${partition}: what ends at offset ${offset} is not what was read there before.`,
    'This is another log, or its past was written anew. Bring back the log that this state was made from, or start with a new data directory.',
  );
}
