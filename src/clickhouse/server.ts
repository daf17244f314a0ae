/**
 * Is the server at --clickhouse one that Tally can work with? Asked once at a start: it is reached (tried again for a few seconds, since servers
 * start as well), new enough, and takes the settings that exactness rests on: a profile may forbid to change them, and then what is in effect
 * counts, not what was sent.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { identifier, literal, makeClient } from './client.ts';
import type { Client } from './client.ts';
import type { Endpoint } from './engine.ts';
import { askFault, codeOf, isDenied, messageOf, stopFault, tlsTrouble, verdictOf } from './faults.ts';

/** An insert is waited for this long; under a fence it does not come in after it either. */
export const INSERT_S = 60;

/** What every insert is sent with, and what must be in effect. */
export const INSERT_SETTINGS = {
  // Acknowledged is written: nothing waits in a buffer.
  async_insert: 0,
  // Rows are versioned; a server that leaves a block out because it looks familiar would lose rows.
  insert_deduplicate: 0,
  wait_end_of_query: 1,
  // One block an insert, up to this: a commit's books stay together.
  max_insert_block_size: 1_000_000,
  input_format_parallel_parsing: 0,
  // More of them would be refused with the code of a table that is too busy, and tried again for ever.
  max_partitions_per_insert_block: 0,
  // Over a cluster: acknowledged is written on the shards, by most of their replicas. No effect on other tables.
  distributed_foreground_insert: 1,
  insert_quorum: 'auto',
  // Shorter than a request may take, so that the server says why.
  insert_quorum_timeout: 30_000,
  // The condition that an insert may carry says with a code of its own that it came too late.
  allow_custom_error_code_in_throwif: 1,
} as const;

/** Read back after they were sent: `wait_end_of_query` belongs to the interface, not to the query. */
const CHECKED = ['async_insert', 'insert_deduplicate', 'distributed_foreground_insert', 'insert_quorum'] as const;

/** Long-term releases from here on: views with comments, quorum `auto` and the summary of an insert are as they are today. */
const VERSION_LEAST: readonly [number, number] = [25, 8];
const REACH_MS_MAX = 8_000,
  REACH_AGAIN_MS = 400;

/** Makes the database too, where it is missing and this user may; with `onCluster`, on each server of that. */
export async function checkServer(endpoint: Endpoint, onCluster?: string): Promise<void> {
  // The database may be missing: the client must not name it.
  const client = makeClient({ ...endpoint, database: 'default' }, { connections: 1, requestMs: REACH_MS_MAX });
  try {
    checkVersion(await reach(client, endpoint.url), endpoint.url);
    await checkSettings(client);
    await makeDatabase(client, endpoint, onCluster);
  } finally {
    await client.close();
  }
}

async function reach(client: Client, url: string): Promise<string> {
  for (const end = monotonicMs() + REACH_MS_MAX; ; await sleep(REACH_AGAIN_MS)) {
    try {
      return await ask(client, 'SELECT version()');
    } catch (error) {
      const isFinal = verdictOf(error) === 'stop' || tlsTrouble(error) !== undefined || isNoSuchHost(error);
      if (isFinal || monotonicMs() + REACH_AGAIN_MS > end)
        throw codeOf(error) === '' ? askFault(url, error) : stopFault('the first question', error);
    }
  }
}

const isNoSuchHost = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOTFOUND';

async function ask(client: Client, sql: string, settings: Readonly<Record<string, string | number>> = {}): Promise<string> {
  const answer = await client.query({ query: sql, format: 'TabSeparatedRaw', clickhouse_settings: { ...settings } });
  return (await answer.text()).trimEnd();
}

function checkVersion(version: string, url: string): void {
  const found = /^(\d+)\.(\d+)\.\d+/.exec(version),
    [major, minor] = VERSION_LEAST;
  if (found !== null && (Number(found[1]) > major || (Number(found[1]) === major && Number(found[2]) >= minor))) return;
  const least = `${major}.${minor}`;
  throw new TallyError(
    'E_CLICKHOUSE_VERSION',
    found === null
      ? `What answers at ${url} calls itself "${version.slice(0, 60)}", which is no version of ClickHouse.`
      : `The ClickHouse at ${url} is ${version}; Tally works with ${least} or newer.`,
    found === null
      ? 'Name a ClickHouse server with --clickhouse.'
      : `Update the server to ${least} or newer, or leave --clickhouse out and use the embedded one.`,
  );
}

async function checkSettings(client: Client): Promise<void> {
  const { wait_end_of_query: _, ...sent } = INSERT_SETTINGS;
  let effective: string[];
  try {
    effective = (await ask(client, `SELECT ${CHECKED.map((name) => `toString(getSetting(${literal(name)}))`).join(', ')}`, sent)).split(
      '\t',
    );
  } catch (error) {
    if (codeOf(error) === '') throw askFault('its settings', error);
    throw settingsFault(messageOf(error), error);
  }
  for (const [i, name] of CHECKED.entries()) {
    const is = { true: '1', false: '0' }[effective[i]!] ?? effective[i]!;
    if (is !== String(INSERT_SETTINGS[name])) throw settingsFault(`${name} is ${is}, and must be ${INSERT_SETTINGS[name]}`);
  }
}

function settingsFault(what: string, cause?: unknown): TallyError {
  return new TallyError(
    'E_CLICKHOUSE_SETTINGS',
    `ClickHouse does not take the settings that exact numbers need: ${what}.`,
    `Let the profile of this user have or change them: ${Object.entries(INSERT_SETTINGS)
      .map(([name, value]) => `${name}=${value}`)
      .join(', ')}. deploy/clickhouse-users.sql makes such users.`,
    undefined,
    cause,
  );
}

async function makeDatabase(client: Client, { database }: Endpoint, onCluster: string | undefined): Promise<void> {
  try {
    const found = await ask(client, `SELECT count() FROM system.databases WHERE name = ${literal(database)}`);
    if (found !== '0' && onCluster === undefined) return;
    const everywhere = onCluster === undefined ? '' : ` ON CLUSTER ${identifier(onCluster)}`;
    await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${identifier(database)}${everywhere}` });
  } catch (error) {
    throw isDenied(error) ? grantFault(`the database ${database}`, error) : askFault('the database', error);
  }
}

/** Something is missing, and this user may not make it. */
export function grantFault(what: string, cause: unknown): TallyError {
  return new TallyError(
    'E_CLICKHOUSE_GRANT',
    `${what[0]!.toUpperCase()}${what.slice(1)} is missing or out of date in ClickHouse, and this user may not make it.`,
    'Make the tables as a user who may: tally clickhouse migrate JOB --clickhouse http://tally_migrator@host:8123/database',
    undefined,
    cause,
  );
}
