/** The parts of a configuration as those who use them want them: named with their units, secrets by their place and not by their value. */
import type { Secret } from '../kafka/secret.ts';
import type { Security } from '../kafka/security.ts';
import type { LoopBounds } from '../run/messages.ts';
import type { KafkaSettings } from '../run/source.ts';
import { loadConfig } from './load.ts';
import type { Config } from './schema.ts';
import { BY_NAME, SETTINGS, valueOf } from './settings.ts';

export function loopBounds({ commit, memory, stop }: Config): LoopBounds {
  return {
    commitMs: commit.behind,
    caughtUpMs: commit.caughtUp,
    provisionalMs: commit.provisional,
    quarantineBytesMax: memory.quarantine,
    touchedBytesMax: memory.late,
    outboxBytesMax: memory.outbox,
    stopDrainMs: stop.drain,
  };
}

export function snapshotOrder({ snapshots }: Config): { dir: string; everyMs: number } | undefined {
  return snapshots.dir === undefined ? undefined : { dir: snapshots.dir, everyMs: snapshots.every };
}

/** What is beside the URL of ClickHouse, as the variables that its client reads: those that a configuration file gave. */
export function clickhouseVariables(config: Config): Record<string, string> {
  const files = SETTINGS.filter((s) => /^clickhouse\..*File$/.test(s.name));
  return Object.fromEntries(files.flatMap((s) => (valueOf(config, s) === undefined ? [] : [[s.variable, String(valueOf(config, s))]])));
}

/** How Kafka is connected to by a command that takes nothing else from the configuration. `file`: what --config names. */
export function securityFor(log: string, file: string | undefined): Security {
  return kafkaSecurity(loadConfig({ log, ...(file === undefined ? {} : { config: file }) }, process.env).config);
}

/** How Kafka is connected to. Files and variables are read when they are needed, so that a changed one counts. */
export function kafkaSecurity({ kafka: { tls, sasl } }: Config): Security {
  const { enabled, caFile, certFile, keyFile, keyPassphrase, keyPassphraseFile, serverName } = tls;
  const hasTls = enabled || [caFile, certFile, keyFile, keyPassphrase, keyPassphraseFile, serverName].some((x) => x !== undefined);
  const passphrase = secretOf('kafka.tls.keyPassphrase', keyPassphrase, keyPassphraseFile);
  return {
    ...(hasTls ? { tls: { caFile, certFile, keyFile, serverName, keyPassphrase: passphrase } } : {}),
    ...(sasl.mechanism === undefined ? {} : { sasl: login(sasl) }),
  };
}

export function kafkaSettings(config: Config): KafkaSettings {
  const { group, maxSkew, onGap, allowFutureTimes, buffer } = config.kafka;
  return { security: kafkaSecurity(config), group: group ?? null, maxSkewMs: maxSkew, onGap, allowFutureTimes, bufferBytes: buffer };
}

function login(sasl: Config['kafka']['sasl']): NonNullable<Security['sasl']> {
  if (sasl.mechanism === 'OAUTHBEARER')
    return { mechanism: sasl.mechanism, token: given(secretOf('kafka.sasl.token', sasl.token, sasl.tokenFile)) };
  const password = given(secretOf('kafka.sasl.password', sasl.password, sasl.passwordFile));
  return { mechanism: given(sasl.mechanism), user: given(sasl.user), password };
}

function secretOf(setting: string, value: string | undefined, file: string | undefined): Secret | undefined {
  if (file !== undefined) return { file };
  return value === undefined ? undefined : { env: BY_NAME.get(setting)!.variable };
}

/** `checkRules` has seen to it. */
function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a login without what it needs was let through');
  return value;
}
