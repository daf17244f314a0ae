/**
 * The one table of ClickHouse's error codes: what each means for an insert, in words for people. `stop` cannot heal by itself and ends the
 * run; `retry` heals, or may: it is tried again with growing pauses while the source waits. A code that is not here is tried again: losing
 * time is better than stopping, and nothing is lost by it.
 * https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
 */
export interface ErrorCode {
  readonly name: string;
  readonly verdict: 'retry' | 'stop';
  readonly meaning: string;
}

const stop = (name: string, meaning: string): ErrorCode => ({ name, verdict: 'stop', meaning });
const retry = (name: string, meaning: string): ErrorCode => ({ name, verdict: 'retry', meaning });

export const FENCED = '395',
  FULL = '243',
  TIMEOUT = '159';

export const ERROR_CODES: ReadonlyMap<string, ErrorCode> = new Map([
  // The tables are not what this job writes.
  ['6', stop('CANNOT_PARSE_TEXT', 'a value that does not fit its column')],
  ['10', stop('NOT_FOUND_COLUMN_IN_BLOCK', 'a column is missing')],
  ['16', stop('NO_SUCH_COLUMN_IN_TABLE', 'a column is missing')],
  ['20', stop('NUMBER_OF_COLUMNS_DOESNT_MATCH', 'another number of columns')],
  ['27', stop('CANNOT_PARSE_INPUT_ASSERTION_FAILED', 'a value that does not fit its column')],
  ['36', stop('BAD_ARGUMENTS', 'a wrong argument')],
  ['44', stop('ILLEGAL_COLUMN', 'a column of another kind')],
  ['47', stop('UNKNOWN_IDENTIFIER', 'an unknown name')],
  ['53', stop('TYPE_MISMATCH', 'a column of another type')],
  ['60', stop('UNKNOWN_TABLE', 'a table is missing')],
  ['81', stop('UNKNOWN_DATABASE', 'the database is missing')],
  ['117', stop('INCORRECT_DATA', 'data that does not fit the table')],
  ['469', stop('VIOLATED_CONSTRAINT', 'a constraint that somebody has put on the table')],
  ['701', stop('CLUSTER_DOESNT_EXIST', 'the cluster is unknown to this server')],
  // The server is not one that this program can work with, or was told not to.
  ['48', stop('NOT_IMPLEMENTED', 'this server cannot do it')],
  ['62', stop('SYNTAX_ERROR', 'a statement that this server does not know')],
  ['73', stop('UNKNOWN_FORMAT', 'a format that this server does not know')],
  ['115', stop('UNKNOWN_SETTING', 'a setting that this server does not know')],
  ['392', stop('QUERY_IS_PROHIBITED', 'this server does not allow it')],
  ['452', stop('SETTING_CONSTRAINT_VIOLATION', "a setting that the user's profile forbids to change")],
  // The user.
  ['164', stop('READONLY', 'the user may only read')],
  ['192', stop('UNKNOWN_USER', 'the user is unknown')],
  ['193', stop('WRONG_PASSWORD', 'the password is wrong')],
  ['194', stop('REQUIRED_PASSWORD', 'a password is required')],
  ['195', stop('IP_ADDRESS_NOT_ALLOWED', 'the user may not come from this address')],
  ['291', stop('DATABASE_ACCESS_DENIED', 'the user may not use this database')],
  ['497', stop('ACCESS_DENIED', 'the user may not do this')],
  ['516', stop('AUTHENTICATION_FAILED', 'user or password is wrong')],
  // Only a person can help.
  [FULL, stop('NOT_ENOUGH_SPACE', 'its disk is full')],
  [FENCED, stop('FUNCTION_THROW_IF_VALUE_IS_NON_ZERO', 'another process has taken this shard over')],
  // It is busy.
  [TIMEOUT, retry('TIMEOUT_EXCEEDED', 'it was too slow')],
  ['160', retry('TOO_SLOW', 'it was too slow')],
  ['201', retry('QUOTA_EXCEEDED', "the user's quota is used up for now")],
  ['202', retry('TOO_MANY_SIMULTANEOUS_QUERIES', 'it has too many queries at once')],
  ['241', retry('MEMORY_LIMIT_EXCEEDED', 'its memory is used up')],
  ['252', retry('TOO_MANY_PARTS', 'it merges more slowly than rows come in')],
  ['394', retry('QUERY_WAS_CANCELLED', 'somebody cancelled the insert')],
  ['439', retry('CANNOT_SCHEDULE_TASK', 'it has no thread to spare')],
  ['473', retry('DEADLOCK_AVOIDED', 'the table is locked')],
  // It, or what it needs, is away for a while.
  ['198', retry('DNS_ERROR', 'it does not find another server by its name')],
  ['203', retry('NO_FREE_CONNECTION', 'it has no connection left to another server')],
  ['209', retry('SOCKET_TIMEOUT', 'another server does not answer it')],
  ['210', retry('NETWORK_ERROR', 'it does not reach another server')],
  ['225', retry('NO_ZOOKEEPER', 'its Keeper is away')],
  ['236', retry('ABORTED', 'it is shutting down')],
  ['242', retry('TABLE_IS_READ_ONLY', 'the replica takes no rows while its Keeper is away')],
  ['244', retry('UNEXPECTED_ZOOKEEPER_ERROR', 'its Keeper answers something odd')],
  ['279', retry('ALL_CONNECTION_TRIES_FAILED', 'a shard of its cluster cannot be reached')],
  ['285', retry('TOO_FEW_LIVE_REPLICAS', 'too few replicas are alive for the quorum')],
  ['286', retry('UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE', 'replicas have not caught up with the insert before')],
  ['289', retry('REPLICA_IS_NOT_IN_QUORUM', 'the replica is behind')],
  ['297', retry('SHARD_HAS_NO_CONNECTIONS', 'a shard of its cluster cannot be reached')],
  ['319', retry('UNKNOWN_STATUS_OF_INSERT', 'it does not know whether the rows are in')],
  ['425', retry('SYSTEM_ERROR', 'its machine has a trouble')],
  ['499', retry('S3_ERROR', 'its object storage has a trouble')],
  ['574', retry('DISTRIBUTED_TOO_MANY_PENDING_BYTES', 'too much is pending for its other shards')],
  ['745', retry('SERVER_OVERLOADED', 'it has more to do than it can')],
  ['999', retry('KEEPER_EXCEPTION', 'its Keeper is away')],
]);

export const AUTHENTICATION: ReadonlySet<string> = new Set(['192', '193', '194', '195', '516']);
/** A question that asks for more than it may have. */
export const TOO_MUCH: ReadonlySet<string> = new Set(['159', '209', '210', '241', FULL, '202']);
/** A statement that this user, or this profile, may not use. */
export const DENIED: ReadonlySet<string> = new Set(['164', '291', '392', '497']);
