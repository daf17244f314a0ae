/**
 * What can go wrong with a broker, in two kinds. BrokerTrouble may heal: whoever meets it tries again. A TallyError is for people, and no
 * further try helps; GapError is the one that says which records the log does not hold any more. No sentence ever carries a secret.
 */
import { TallyError } from '../errors.ts';
import { meaningOf, NO_ERROR } from './error-codes.ts';

export class BrokerTrouble extends Error {
  override readonly name = 'BrokerTrouble';
  /** What to look at when it doesn't heal. */
  readonly hint: string;
  constructor(sentence: string, hint: string = '', cause?: unknown) {
    super(sentence, cause === undefined ? {} : { cause });
    this.hint = hint;
  }
}

export type GapKind =
  /** Records were removed from the front before they were read (retention, DeleteRecords). */
  | 'removed'
  /** The log ends before what was read: it was cut. */
  | 'truncated'
  /** The log holds other records from somewhere below the wanted offset on: it was cut, and grew again. */
  | 'diverged'
  /** The topic is another one under the same name. */
  | 'recreated';

export interface Gap {
  readonly kind: GapKind;
  readonly topic: string;
  readonly partition: number;
  /** The next record that was wanted. */
  readonly wanted: number;
  /** What the log holds now: offsets from `start` up to, not including, `end`. */
  readonly start: number;
  readonly end: number;
  /**
   * Offsets that cannot be had: [from, to). 'removed': never read. 'truncated' and 'diverged': read before, replaced or gone since.
   * 'recreated': all of the old topic. -1: not known.
   */
  readonly from: number;
  readonly to: number;
  /** Where the log goes on with records that were not read. */
  readonly resumeAt: number;
}

export class GapError extends TallyError {
  readonly gap: Gap;
  constructor(gap: Gap, sentence: string, hint: string) {
    super('E_LOG_GAP', sentence, hint);
    this.gap = gap;
  }
}

const NEW_START = 'or start with a new data directory';

export function gapError(gap: Gap): GapError {
  const { topic, partition, wanted, start, end, from, to } = gap,
    place = `${topic}, partition ${partition}`,
    holds = start === end ? `is empty at offset ${end}` : `holds offsets ${start} to ${end - 1}`;
  switch (gap.kind) {
    case 'removed':
      return new GapError(
        gap,
        `${place}: offset ${wanted} was wanted, but the log ${holds}: offsets ${from} to ${to - 1} were removed before they were read.`,
        `Retention or a deletion was faster than the reader. Count on without them (--on-gap record), ${NEW_START}.`,
      );
    case 'truncated':
      return new GapError(
        gap,
        `${place}: offset ${wanted} was wanted, but the log ${holds}: records that were read before are gone.`,
        `The log was cut, as an unclean leader election does. What was counted stays; count on where the log goes on (--on-gap record), ${NEW_START}.`,
      );
    case 'diverged':
      return new GapError(
        gap,
        `${place}: offset ${wanted} was wanted, but ${from < 0 ? 'records that were read before' : `offsets ${from} to ${to - 1}, read before,`} ` +
          `were replaced by others: the log was cut and grew again; it ${holds}.`,
        `An unclean leader election does that. What was counted stays; count on where the log differs (--on-gap record), ${NEW_START}.`,
      );
    case 'recreated':
      return new GapError(
        gap,
        `${place}: the topic was deleted and made again since it was read up to offset ${wanted}; it ${holds}.`,
        `The records of the old topic are gone, offsets begin anew. Count on with the new one (--on-gap record), ${NEW_START}.`,
      );
  }
}

export function topicMissing(topic: string, where: string): TallyError {
  return new TallyError(
    'E_TOPIC_MISSING',
    `there is no topic '${topic}' at ${where}.`,
    "Check the name, or create the topic. With an authorizer, a user without 'Describe' on a topic doesn't see it.",
  );
}

/** A broker's error code that no further try heals. */
export function refused(code: number, what: string, hint?: string): TallyError {
  const { name, words } = meaningOf(code);
  const isDenied = code === 29 || code === 30 || code === 31 || code === 53;
  return new TallyError(
    isDenied ? 'E_KAFKA_DENIED' : 'E_KAFKA_REFUSED',
    `${what} was refused: ${words} (${name}).`,
    hint ??
      (isDenied
        ? "Give the user 'Read' and 'Describe' on the topic, and 'Read' on the group if offsets are committed."
        : "Look into the broker's log."),
  );
}

/** Throws what an error code of an answer calls for. */
export function throwIfError(code: number, what: string): void {
  if (code === NO_ERROR) return;
  const { remedy, name, words } = meaningOf(code);
  if (remedy === 'stop') throw refused(code, what);
  throw new BrokerTrouble(`${what}: ${words} (${name})`);
}

export function unreachable(tried: string, trouble: BrokerTrouble): TallyError {
  return new TallyError(
    'E_KAFKA_UNREACHABLE',
    `Kafka at ${tried} cannot be used: ${trouble.message}.`,
    trouble.hint === '' ? 'Check host and port, and that the broker runs.' : trouble.hint,
    undefined,
    trouble,
  );
}
