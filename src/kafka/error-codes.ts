/**
 * The one table of what a broker's error codes mean to a reader: whether to ask again, to learn the cluster's layout first, or to stop,
 * and the words for people. A code that is not in it is asked again: it came from a broker newer than we are.
 */
export type Remedy =
  /** May heal by itself. */
  | 'retry'
  /** What we know of the cluster is old: learn it, then ask again. */
  | 'refresh'
  /** The log does not hold what was asked for: find out what it holds. */
  | 'look'
  /** Somebody must change something. */
  | 'stop';

export interface ErrorMeaning {
  readonly name: string;
  readonly remedy: Remedy;
  readonly words: string;
}

const meaning = (name: string, remedy: Remedy, words: string): ErrorMeaning => ({ name, remedy, words });

export const NO_ERROR = 0,
  OFFSET_OUT_OF_RANGE = 1,
  UNKNOWN_TOPIC = 3,
  LEADER_NOT_AVAILABLE = 5,
  INVALID_TOPIC = 17,
  TOPIC_DENIED = 29,
  UNSUPPORTED_MECHANISM = 33,
  UNSUPPORTED_VERSION = 35,
  AUTHENTICATION_FAILED = 58;

const MEANINGS: ReadonlyMap<number, ErrorMeaning> = new Map([
  [-1, meaning('UNKNOWN_SERVER_ERROR', 'retry', 'the broker met an error that it does not name')],
  [OFFSET_OUT_OF_RANGE, meaning('OFFSET_OUT_OF_RANGE', 'look', 'the log does not hold the offset')],
  [2, meaning('CORRUPT_MESSAGE', 'stop', "the broker's copy of the log is corrupt")],
  [UNKNOWN_TOPIC, meaning('UNKNOWN_TOPIC_OR_PARTITION', 'refresh', 'there is no such topic or partition')],
  [LEADER_NOT_AVAILABLE, meaning('LEADER_NOT_AVAILABLE', 'refresh', 'the partition has no leader at the moment')],
  [6, meaning('NOT_LEADER_OR_FOLLOWER', 'refresh', 'another broker leads the partition now')],
  [7, meaning('REQUEST_TIMED_OUT', 'retry', 'the broker ran out of time')],
  [8, meaning('BROKER_NOT_AVAILABLE', 'refresh', 'the broker is not available')],
  [9, meaning('REPLICA_NOT_AVAILABLE', 'refresh', 'the broker has no copy of the partition')],
  [12, meaning('OFFSET_METADATA_TOO_LARGE', 'stop', 'the committed metadata is too long')],
  [13, meaning('NETWORK_EXCEPTION', 'refresh', 'the broker lost its connection')],
  [14, meaning('COORDINATOR_LOAD_IN_PROGRESS', 'retry', "the group's coordinator is starting")],
  [15, meaning('COORDINATOR_NOT_AVAILABLE', 'retry', "the group's coordinator is not available")],
  [16, meaning('NOT_COORDINATOR', 'refresh', 'another broker is the coordinator now')],
  [INVALID_TOPIC, meaning('INVALID_TOPIC_EXCEPTION', 'stop', 'this cannot be the name of a topic')],
  [22, meaning('ILLEGAL_GENERATION', 'stop', 'the group has another generation')],
  [23, meaning('INCONSISTENT_GROUP_PROTOCOL', 'stop', 'the group has members of another kind')],
  [24, meaning('INVALID_GROUP_ID', 'stop', 'this cannot be the name of a group')],
  [25, meaning('UNKNOWN_MEMBER_ID', 'stop', 'the group has members of its own')],
  [26, meaning('INVALID_SESSION_TIMEOUT', 'stop', 'the broker does not allow this session timeout')],
  [27, meaning('REBALANCE_IN_PROGRESS', 'retry', 'the group is being rebalanced')],
  [TOPIC_DENIED, meaning('TOPIC_AUTHORIZATION_FAILED', 'stop', 'this user may not do that with the topic')],
  [30, meaning('GROUP_AUTHORIZATION_FAILED', 'stop', 'this user may not use the group')],
  [31, meaning('CLUSTER_AUTHORIZATION_FAILED', 'stop', 'this user may not do that with the cluster')],
  [UNSUPPORTED_MECHANISM, meaning('UNSUPPORTED_SASL_MECHANISM', 'stop', 'the broker does not offer this way to log in')],
  [34, meaning('ILLEGAL_SASL_STATE', 'stop', 'the broker did not expect a login here')],
  [UNSUPPORTED_VERSION, meaning('UNSUPPORTED_VERSION', 'stop', "the broker does not know this version of Kafka's protocol")],
  [42, meaning('INVALID_REQUEST', 'stop', 'the broker found the request wrong')],
  [43, meaning('UNSUPPORTED_FOR_MESSAGE_FORMAT', 'stop', 'the log is kept in an old format of Kafka')],
  [44, meaning('POLICY_VIOLATION', 'stop', "the broker's policy refuses it")],
  [53, meaning('TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 'stop', 'this user may not use the transactional id')],
  [56, meaning('KAFKA_STORAGE_ERROR', 'refresh', "the broker's disk failed")],
  [AUTHENTICATION_FAILED, meaning('SASL_AUTHENTICATION_FAILED', 'stop', 'user or password is wrong')],
  [69, meaning('GROUP_ID_NOT_FOUND', 'stop', 'there is no such group')],
  [70, meaning('FETCH_SESSION_ID_NOT_FOUND', 'retry', 'the fetch session is gone')],
  [71, meaning('INVALID_FETCH_SESSION_EPOCH', 'retry', 'the fetch session is out of step')],
  [72, meaning('LISTENER_NOT_FOUND', 'refresh', "the partition's leader does not listen where we connect")],
  [74, meaning('FENCED_LEADER_EPOCH', 'refresh', 'the partition has a newer leader')],
  [75, meaning('UNKNOWN_LEADER_EPOCH', 'retry', 'the broker does not know of its newest leader yet')],
  [76, meaning('UNSUPPORTED_COMPRESSION_TYPE', 'stop', 'the broker does not know how the records are compressed')],
  [78, meaning('OFFSET_NOT_AVAILABLE', 'retry', 'the new leader does not know yet what is committed')],
  [88, meaning('UNSTABLE_OFFSET_COMMIT', 'retry', 'offsets of a transaction are not decided yet')],
  [89, meaning('THROTTLING_QUOTA_EXCEEDED', 'retry', 'the quota is used up')],
  [90, meaning('PRODUCER_FENCED', 'stop', 'another producer has taken over')],
  [100, meaning('UNKNOWN_TOPIC_ID', 'refresh', 'the broker does not know a topic of this id')],
  [103, meaning('INCONSISTENT_TOPIC_ID', 'refresh', "the topic's id is another now")],
  [106, meaning('FETCH_SESSION_TOPIC_ID_ERROR', 'retry', 'the fetch session is out of step')],
  [109, meaning('OFFSET_MOVED_TO_TIERED_STORAGE', 'retry', 'the offset moved to tiered storage')],
]);

export function meaningOf(code: number): ErrorMeaning {
  return MEANINGS.get(code) ?? meaning(`error ${code}`, 'retry', `the broker answers with error ${code}, which is unknown here`);
}
