/** What can be wrong with an internal topic, told to people. */
import type { Marker, Stamp } from '../../topology/hop/format.ts';
import { StampError } from '../../topology/hop/intake.ts';
import { TallyError } from '../errors.ts';
import { GapError } from '../kafka/faults.ts';

const ANEW = 'delete the topic, and the state of the job with tally drop; then run again';

export function foreign(topic: string, what: keyof Stamp, found: string): TallyError {
  const begun = what === 'from';
  return new TallyError(
    'E_HOP_OTHER',
    begun
      ? `the internal topic '${topic}' begins where a run with --from ${found} began`
      : `the internal topic '${topic}' was written for another ${what === 'shards' ? 'number of shards' : what} of the job (${found})`,
    begun ? `start with --from ${found}, or count anew: ${ANEW}` : `run the job as it was, or count anew: ${ANEW}`,
  );
}

export function checkStamp(topic: string, found: Marker, wanted: Stamp): void {
  for (const what of ['plan', 'generation', 'shards'] as const)
    if (found[what] !== wanted[what]) throw foreign(topic, what, String(found[what]).slice(0, 12));
}

/** Behind a gap of a hop nothing can be counted on: what is gone is still in the source, but nobody sends it again. */
export function hopFault(error: unknown): unknown {
  if (error instanceof StampError) return foreign(error.topic, error.what, error.found);
  if (!(error instanceof GapError)) return error;
  const { topic, partition, kind, start, wanted } = error.gap;
  return new TallyError(
    'E_HOP_GAP',
    kind === 'recreated'
      ? `the internal topic '${topic}' was deleted and made again since it was read`
      : `the internal topic '${topic}', partition ${partition}, begins at offset ${start}: ${wanted} was to be read next`,
    `the way back is to count anew: ${ANEW} (its retention says for how long a shard may be away)`,
    undefined,
    error,
  );
}
