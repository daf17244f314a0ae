/**
 * Every setting of a run: what it is called, what it takes, its bounds and its default, once and here. Groups are groups of the
 * configuration file; `commit.caughtUp` is TALLY_COMMIT_CAUGHT_UP in the environment. docs/configuration.md is made from this.
 * Invariant: what comes out of `CONFIG` is whole and within its bounds; nothing past it has a default of its own.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import { choice, file, listen, optionalChoice, secret, shards, size, span, startPlace, text, toggle, url, whole } from './values.ts';

/** A group of settings, each of which has a default or may be missing: so may the group. */
function group<S extends z.ZodRawShape>(shape: S): z.ZodPrefault<z.ZodObject<S, z.core.$strict>> {
  return z.strictObject(shape).prefault({} as never);
}

const input = {
  log: file({ help: 'the log: a directory of segment files, or kafka://host:port[,host:port...]', flag: 'log', placeholder: 'LOG' }),
  data: file({ help: 'where state, tables and the audit log are kept', flag: 'data', placeholder: 'DIR' }),
  contracts: file({
    help: 'read the contracts from here; those that come with the program if not set',
    flag: 'contracts',
    placeholder: 'DIR',
  }),
  shards: shards(
    { help: 'slices of the input with a state each, chosen once (1); or which of them run here', flag: 'shards', placeholder: 'S' },
    hostname,
  ),
  untilEnd: toggle({ help: 'read up to the end that the log has now, write everything, end', flag: 'until-end' }),
  finish: toggle({ help: 'with --until-end: the input is complete, its last windows become final', flag: 'finish' }),
};

const commit = group({
  events: whole(
    {
      help: 'records a commit at most; no measure depends on it, only which events count as late',
      flag: 'commit-events',
      placeholder: 'N',
    },
    { least: 1, most: 1_000_000_000 },
    1_000_000,
  ),
  behind: span({ help: 'while behind, a commit is due after this time even when few records came' }, '10ms', '10m', '2s'),
  caughtUp: span({ help: 'caught up, what came in is committed and sent this soon' }, '10ms', '10m', '250ms'),
  provisional: span({ help: 'while behind, rows of open windows may wait this long to be written' }, '10ms', '1h', '10s'),
});

const memory = group({
  quarantine: size({ help: 'records turned away that wait in memory for a commit; over it, one is made' }, '1MiB', '64GiB', '64MiB'),
  late: size(
    { help: 'final windows touched by late events that wait in memory for a commit; over it, one is made' },
    '1MiB',
    '64GiB',
    '192MiB',
  ),
  outbox: size(
    { help: 'rows that ClickHouse has not taken yet; over it, reading pauses until half of them are gone' },
    '1MiB',
    '64GiB',
    '96MiB',
  ),
});

const stop = group({
  drain: span({ help: 'a stop waits this long for ClickHouse to take what is unsent; the next run sends the rest' }, '0s', '1h', '5s'),
  within: span(
    { help: 'a stop that takes longer is cut short, as a kill would: nothing is lost; keep it below the time after which you are killed' },
    '1s',
    '1h',
    '25s',
  ),
});

const snapshots = group({
  dir: file({
    help: 'copies of the state are kept here, for a lost disk: somewhere that outlives it, and that all processes of the job see',
    flag: 'snapshots',
    placeholder: 'DIR',
  }),
  every: span({ help: 'how often one is taken' }, '1s', '7d', '10m'),
});

const takeover = group({
  session: span(
    { help: 'with --shards group/S: a process that the group has not heard of for so long has lost its shards' },
    '1s',
    '5m',
    '10s',
  ),
  delay: span({ help: 'an owner that says nothing is waited for this long before its shard is taken over' }, '0s', '1h', '30s'),
  settle: span(
    { help: 'after a take-over: how long an insert of the owner before may be on its way; what it wrote is taken away once more then' },
    '1s',
    '1h',
    '90s',
  ),
  rebuildFrozen: toggle({
    help: 'count a shard whose state is lost, and has no snapshot, again from what the log still holds; windows that began before that stay as they are (without such a loss it does nothing)',
    flag: 'rebuild-frozen',
  }),
});

const clickhouse = group({
  url: url({
    help: 'a ClickHouse server (http://user@host:8123/database) in place of the embedded one',
    flag: 'clickhouse',
    placeholder: 'URL',
  }),
  password: secret({ help: "the user's password" }),
  passwordFile: file({ help: "the file that holds the user's password; read again for every connection" }),
  caFile: file({ help: 'PEM of the authorities that are trusted; those that Node knows if not set' }),
  certFile: file({ help: 'PEM of a client certificate' }),
  keyFile: file({ help: 'PEM of its key' }),
});

const kafka = group({
  group: text({
    help: 'consumer group that offsets are committed to, for lag tools alone; none if not set',
    flag: 'group',
    placeholder: 'NAME',
  }),
  from: startPlace({ help: 'where counting begins at the first start', flag: 'from', placeholder: 'PLACE' }),
  onGap: choice(
    {
      help: 'when records are gone before they were read: stop, or go on where the log goes on and record the gap',
      flag: 'on-gap',
      placeholder: 'WHAT',
    },
    ['stop', 'record'],
    'stop',
  ),
  allowFutureTimes: toggle({
    help: "read also topics that let producers write further into the future than the job's fence",
    flag: 'allow-future-times',
  }),
  maxSkew: span({ help: 'how far, in record time, partitions read on while one cannot be read' }, '1m', '30d', '6h'),
  buffer: size({ help: 'records fetched ahead, over all partitions' }, '1MiB', '64GiB', '64MiB'),
  tls: group({
    enabled: toggle({ help: 'speak TLS; any other setting of kafka.tls means it too' }),
    caFile: file({ help: 'PEM of the authorities that are trusted; those that Node knows if not set' }),
    certFile: file({ help: 'PEM of the client certificate; read again for every connection' }),
    keyFile: file({ help: 'PEM of its key' }),
    keyPassphrase: secret({ help: 'the passphrase of the key' }),
    keyPassphraseFile: file({ help: 'the file that holds the passphrase of the key' }),
    serverName: text({ help: 'what the certificate must be for, when that is not the host' }),
  }),
  sasl: group({
    mechanism: optionalChoice({ help: 'how to log in; no login if not set' }, ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER']),
    user: text({ help: 'user of PLAIN and SCRAM' }),
    password: secret({ help: 'its password' }),
    passwordFile: file({ help: 'the file that holds its password; read again for every login' }),
    token: secret({ help: 'token of OAUTHBEARER' }),
    tokenFile: file({ help: 'the file that holds the token; read again for every login' }),
  }),
});

const http = group({
  listen: listen({ help: 'serve /metrics, /healthz and /readyz here; off if not set', flag: 'http', placeholder: 'HOST:PORT' }),
  stuckAfter: span({ help: '/healthz fails when a worker has said nothing for this long' }, '1s', '1d', '1m'),
});

const logs = group({
  format: choice(
    { help: 'what is told on stderr: text for people, or json, an object a line', flag: 'log-format', placeholder: 'FORMAT' },
    ['text', 'json'],
    'text',
  ),
  level: optionalChoice(
    { help: 'the least that is told: warn in text and info in json if not set', flag: 'log-level', placeholder: 'LEVEL' },
    ['error', 'warn', 'info', 'debug'],
  ),
});

export const CONFIG = z.strictObject({ ...input, commit, memory, stop, snapshots, takeover, clickhouse, kafka, http, logs });
export type Config = z.output<typeof CONFIG>;
