/** What can go wrong with records on their way to a broker, told to people: each code of an answer is done, tried again, or one sentence. */
import { TallyError } from '../../errors.ts';
import { meaningOf, NO_ERROR } from '../error-codes.ts';
import { refused } from '../faults.ts';

const MESSAGE_TOO_LARGE = 10,
  RECORD_LIST_TOO_LARGE = 18,
  NOT_ENOUGH_REPLICAS = 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20,
  INVALID_TIMESTAMP = 32,
  OUT_OF_ORDER_SEQUENCE = 45,
  DUPLICATE_SEQUENCE = 46,
  INVALID_PRODUCER_EPOCH = 47,
  UNKNOWN_PRODUCER_ID = 59,
  INVALID_RECORD = 87;

export interface SentBatch {
  readonly topic: string;
  readonly partition: number;
  readonly count: number;
  readonly bytes: number;
  /** Where its first record came from, for sentences: "line 17". */
  readonly place: string;
}

/** 'done', 'again' (nothing else is needed), or what is told. */
export function outcomeOf(code: number, batch: SentBatch): 'done' | 'again' | TallyError {
  switch (code) {
    case NO_ERROR:
    // The broker has it: the answer to the first try was lost.
    case DUPLICATE_SEQUENCE:
      return 'done';
    case NOT_ENOUGH_REPLICAS:
    case NOT_ENOUGH_REPLICAS_AFTER_APPEND:
      return 'again';
    case MESSAGE_TOO_LARGE:
    case RECORD_LIST_TOO_LARGE:
      return tooLarge(batch, undefined);
    case INVALID_TIMESTAMP:
      return new TallyError(
        'E_KAFKA_REFUSED',
        `${placeOf(batch)}: the topic does not take records of that time (INVALID_TIMESTAMP).`,
        "Its settings message.timestamp.after.max.ms and message.timestamp.before.max.ms say how far a record's time may lie from now.",
      );
    case INVALID_RECORD:
      return new TallyError(
        'E_KAFKA_REFUSED',
        `${placeOf(batch)}: the broker found a record invalid (INVALID_RECORD).`,
        'A compacted topic (cleanup.policy) takes no record without a key: say --key FIELD.',
      );
    case OUT_OF_ORDER_SEQUENCE:
    case INVALID_PRODUCER_EPOCH:
    case UNKNOWN_PRODUCER_ID:
      return new TallyError(
        'E_KAFKA_PRODUCER_LOST',
        `${placeOf(batch)}: the broker no longer knows which records of this producer it has (${sequenceName(code)}).`,
        'An unclean leader election or a deletion does that. Send all of it again: who counts by ids counts nothing twice.',
      );
    default:
      return meaningOf(code).remedy === 'stop' ? writeRefused(code, batch.topic) : 'again';
  }
}

export function tooLarge(batch: SentBatch, most: number | undefined): TallyError {
  const takes = most === undefined ? 'more than the broker takes' : `more than the ${most} that the broker takes`,
    what = batch.count === 1 ? 'its record' : `a batch of ${batch.count} records from there on`;
  return new TallyError(
    'E_RECORD_TOO_LARGE',
    `${placeOf(batch)}: ${what} has ${batch.bytes} bytes, ${takes}.`,
    "Leave it out, or raise the topic's max.message.bytes.",
  );
}

export function writeRefused(code: number, topic: string): TallyError {
  return refused(code, `Writing to topic '${topic}'`, "Give the user 'Write' and 'Describe' on the topic.");
}

const placeOf = ({ topic, partition, place }: SentBatch): string =>
  `${place === '' ? '' : `${place[0]!.toUpperCase()}${place.slice(1)}, for `}${topic}, partition ${partition}`;

function sequenceName(code: number): string {
  if (code === OUT_OF_ORDER_SEQUENCE) return 'OUT_OF_ORDER_SEQUENCE_NUMBER';
  return code === UNKNOWN_PRODUCER_ID ? 'UNKNOWN_PRODUCER_ID' : 'INVALID_PRODUCER_EPOCH';
}

/** The cluster's own sentences speak of reading. */
export function asWriter(error: unknown, where: string, topics: readonly string[]): unknown {
  if (!(error instanceof TallyError)) return error;
  if (error.code === 'E_TOPIC_MISSING')
    return new TallyError(
      error.code,
      error.message,
      `Topics of Kafka are not made here: kafka-topics.sh --bootstrap-server ${where} --create --topic ${topics[0] ?? 'T'} --partitions N. ` +
        "With an authorizer, a user without 'Describe' on a topic doesn't see it.",
    );
  if (error.code === 'E_KAFKA_DENIED')
    return new TallyError(
      error.code,
      error.message.replace(/^Reading topic/, 'Writing to topic'),
      "Give the user 'Write' and 'Describe' on the topic.",
    );
  return error;
}
