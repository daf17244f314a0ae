/** What the Kafka library (kafkajs) throws, told to a person: its retries carry what they ran out on, a broker's code says whether a further try may help. */
import { TallyError } from '../../errors.ts';
import { meaningOf } from '../error-codes.ts';
import { BrokerTrouble, refused, unreachable } from '../faults.ts';

interface LibraryError {
  readonly name?: string;
  readonly message?: string;
  readonly code?: number | string;
  readonly cause?: unknown;
  /** Of several topics. */
  readonly errors?: readonly unknown[];
}

export interface Attempt {
  /** "Claiming shard 3 of group 'tally-ads'". */
  readonly what: string;
  readonly where: string;
  /** Which rights it takes. */
  readonly rights: string;
}

/** Where it isn't a right that is missing. */
const HINTS: Readonly<Record<number, string>> = {
  23: 'Name another group: this one has consumers that are no shards of this job, or of another version.',
  26: "Choose one between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms.",
};

/** A TallyError when no further try helps, else a BrokerTrouble. */
export function libraryFault(thrown: unknown, { what, where, rights }: Attempt): TallyError | BrokerTrouble {
  if (thrown instanceof TallyError && thrown.code === 'E_KAFKA_DENIED')
    return new TallyError(thrown.code, thrown.message, rights, thrown.exit, thrown);
  if (thrown instanceof TallyError || thrown instanceof BrokerTrouble) return thrown;
  const error = rootOf(thrown);
  if (typeof error.code === 'number' && meaningOf(error.code).remedy === 'stop')
    return refused(error.code, `${what} at ${where}`, HINTS[error.code] ?? rights);
  if (error.name === 'KafkaJSSASLAuthenticationError')
    return new TallyError(
      'E_KAFKA_AUTH',
      `${what}: ${where} refused the login.`,
      'User, password or mechanism is wrong.',
      undefined,
      thrown,
    );
  return new BrokerTrouble(`${what}: ${wordsOf(error)}`, '', thrown);
}

/** For people, when tries have run out. */
export function lastFault(fault: TallyError | BrokerTrouble, { where }: Attempt): TallyError {
  return fault instanceof TallyError ? fault : unreachable(where, fault);
}

function rootOf(thrown: unknown): LibraryError {
  let error = thrown as LibraryError;
  for (let depth = 0; depth < 5; depth++) {
    const inner = error.cause ?? error.errors?.[0];
    if (typeof inner !== 'object' || inner === null) break;
    error = inner as LibraryError;
  }
  return error;
}

function wordsOf({ message, code }: LibraryError): string {
  return message === undefined ? `it answers with error ${code}` : message.replace(/\.$/, '');
}
