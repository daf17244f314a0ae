/** Why the oracle cannot read a log on Kafka, told to a person: out of the library's errors, and of what the log no longer holds. */
import { TallyError } from '../errors.ts';

interface LibraryError {
  readonly name?: string;
  readonly message?: string;
  readonly type?: string;
  readonly code?: number | string;
  readonly cause?: unknown;
}
const UNKNOWN_TOPIC = 3,
  TOPIC_DENIED = 29;

export function accessFault(thrown: unknown, where: string, topic?: string): TallyError {
  const error = rootOf(thrown);
  if (error.code === UNKNOWN_TOPIC || error.type === 'UNKNOWN_TOPIC_OR_PARTITION')
    return new TallyError(
      'E_TOPIC_MISSING',
      `there is no topic '${topic}' at ${where}.`,
      "Verify against the cluster that the job has read. A user without 'Describe' on a topic doesn't see it.",
    );
  if (error.code === TOPIC_DENIED || error.type === 'TOPIC_AUTHORIZATION_FAILED')
    return new TallyError(
      'E_KAFKA_DENIED',
      `Reading topic '${topic}' at ${where} was refused: this user may not do that.`,
      "Give the user 'Read' and 'Describe' on the topic.",
    );
  if (error.name === 'KafkaJSSASLAuthenticationError')
    return new TallyError('E_KAFKA_AUTH', `${where} refused the login.`, 'User, password or mechanism is wrong.', undefined, thrown);
  return new TallyError(
    'E_KAFKA_UNREACHABLE',
    `Kafka at ${where} cannot be used: ${wordsOf(error)}.`,
    'Check host and port, TLS and login, and that the broker runs.',
    undefined,
    thrown,
  );
}

/** Retries that ran out carry what they ran out on. */
function rootOf(thrown: unknown): LibraryError {
  let error = thrown as LibraryError;
  for (let depth = 0; depth < 5 && typeof error.cause === 'object' && error.cause !== null; depth++) error = error.cause as LibraryError;
  return error;
}

function wordsOf({ message, code }: LibraryError): string {
  return message === undefined ? `it answers with error ${code}` : message.replace(/\.$/, '');
}

/** Offsets that the tables were made from, and that the log does not hold any more. */
export function gone(topic: string, partition: number, wanted: number, start: number, before: number): TallyError {
  return new TallyError(
    'E_LOG_GAP',
    `${topic}/${partition}: the tables stand at offset ${before}, but the log begins at ${start}: offsets ${wanted} to ${Math.min(start, before) - 1} were removed.`,
    'Retention or a deletion took them. What was counted from them can no longer be recounted, so nothing is said about the tables.',
  );
}

export function undecided(topic: string, partition: number, from: number, before: number): TallyError {
  return new TallyError(
    'E_LOG_TRUNCATED',
    `${topic}/${partition}: the tables stand at offset ${before}, but a transaction that began at ${from} is not decided.`,
    'No run reads past such a transaction: this is not the log that the job has read, or it was cut since.',
  );
}
