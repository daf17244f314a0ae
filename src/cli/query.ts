/**
 * `tally query`: one statement that reads, in any format that ClickHouse writes, streamed to stdout. It asks the engine of the run that
 * is on; when none is, it starts one for itself, and two of them wait for each other. It never writes.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ClickHouseError } from '@clickhouse/client';
import { monotonicMs } from '../clock.ts';
import { BrokenAnswer, answer } from '../clickhouse/answer.ts';
import { makeClient, parseEndpoint } from '../clickhouse/client.ts';
import type { Client } from '../clickhouse/client.ts';
import { isAlive, readConnection } from '../clickhouse/connection.ts';
import type { Connection } from '../clickhouse/connection.ts';
import { startEngine } from '../clickhouse/engine.ts';
import type { Endpoint, Engine } from '../clickhouse/engine.ts';
import { askFault, isAuthentication, isTooMuch, messageOf } from '../clickhouse/faults.ts';
import { EXIT_FAULT, EXIT_USAGE, TallyError, usage } from '../errors.ts';
import type { Args, Command } from './command.ts';

const ENGINE_WAIT_MS = 30_000;
/** Between two looks for a run that has begun meanwhile. */
const LOOK_MS = 300;
/** A question may take its time; ClickHouse says nothing until the first rows. */
const REQUEST_MS = 3_600_000;
const READONLY = '164',
  ACCESS_DENIED = '497';

export const query: Command = {
  name: 'query',
  summary: 'ask the tables by SQL',
  usage: '(--data DIR | --clickhouse URL) [--format FORMAT] "SELECT ..."',
  positionals: { min: 1, max: 1 },
  options: {
    data: { type: 'string', placeholder: 'DIR', help: 'the data directory of the run; its embedded ClickHouse answers' },
    clickhouse: {
      type: 'string',
      placeholder: 'URL',
      help: 'a ClickHouse server: http://user:password@host:8123/database (password also by TALLY_CLICKHOUSE_PASSWORD)',
    },
    format: {
      type: 'string',
      placeholder: 'FORMAT',
      help: 'any format of ClickHouse: JSONEachRow, CSVWithNames, Parquet, ... (PrettyCompact on a terminal, else TSVWithNames)',
    },
  },
  examples: [
    'tally query --data data "SELECT * FROM ads_hourly ORDER BY window_start LIMIT 10"',
    'tally query --data data --format JSONEachRow "SELECT class, code, sum(records) AS records FROM tally_books GROUP BY ALL"',
    'tally query --clickhouse http://analyst@warehouse:8123/tally "SHOW TABLES"',
  ],
  run,
};

async function run(args: Args): Promise<number> {
  const sql = args.positionals[0]!,
    { data, clickhouse, format } = args.values as Record<string, string | undefined>;
  if ((data === undefined) === (clickhouse === undefined)) {
    throw usage('E_USAGE', 'tally query needs either --data or --clickhouse.', 'tally query --help shows what it takes.');
  }
  if (sql.trim() === '') throw usage('E_QUERY', 'The SQL is empty.', 'For example "SHOW TABLES".');
  const settings = settingsFor(format ?? (process.stdout.isTTY ? 'PrettyCompact' : 'TSVWithNames'));
  if (clickhouse !== undefined) await ask(parseEndpoint(clickhouse), sql, settings);
  else await withData(data!, (endpoint) => ask(endpoint, sql, settings));
  return 0;
}

const settingsFor = (format: string): Record<string, string | number> => ({
  readonly: '2',
  default_format: format,
  cancel_http_readonly_queries_on_client_close: 1,
  output_format_json_quote_64bit_integers: 1,
  output_format_json_quote_decimals: 1,
});

/** With the engine of the run that is on, or with one of its own. */
export async function withData<T>(data: string, use: (reader: Endpoint) => Promise<T>): Promise<T> {
  const dir = path.join(data, 'clickhouse');
  if (!existsSync(dir)) {
    throw usage(
      'E_DATA_MISSING',
      `${data} ${existsSync(data) ? 'has no tables' : 'does not exist'}: nothing was run there.`,
      `Run a job first: tally run JOB --log LOG --data ${data}`,
    );
  }
  const until = monotonicMs() + ENGINE_WAIT_MS;
  for (;;) {
    const running = readConnection(dir);
    if (running !== undefined && (await isAlive(running))) return use(endpointOf(running));
    const engine = await tryEngine(dir, monotonicMs() < until);
    if (engine === undefined) continue;
    try {
      return await use(endpointOf(engine.reader));
    } finally {
      await engine.stop();
    }
  }
}

async function tryEngine(dir: string, mayWait: boolean): Promise<Engine | undefined> {
  try {
    return await startEngine({ dir, lockWaitMs: LOOK_MS });
  } catch (error) {
    if (mayWait && error instanceof TallyError && error.code === 'E_ENGINE_BUSY') return undefined;
    throw error;
  }
}

const endpointOf = (c: Connection): Endpoint => ({ url: c.url, username: c.user, password: c.password, database: c.database });

async function ask(endpoint: Endpoint, sql: string, settings: Record<string, string | number>): Promise<void> {
  const client = makeClient(endpoint, { connections: 1, requestMs: REQUEST_MS });
  try {
    await print(client, sql, settings);
  } finally {
    await client.close();
  }
}

async function print(client: Client, sql: string, settings: Record<string, string | number>): Promise<void> {
  let hasBegun = false;
  try {
    for await (const bytes of answer(client, sql, settings)) {
      hasBegun = true;
      if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
    }
  } catch (error) {
    if (
      error instanceof ClickHouseError &&
      error.code === READONLY &&
      settings['readonly'] !== undefined &&
      /setting/.test(error.message)
    ) {
      // This user may only read as it is, and may choose no settings.
      return print(client, sql, { default_format: settings['default_format']! });
    }
    throw fault(error, hasBegun);
  }
}

function fault(error: unknown, hasBegun: boolean): unknown {
  if (error instanceof BrokenAnswer)
    return new TallyError(
      'E_QUERY',
      `The answer broke off: ${error.message}.`,
      'What was printed is a part of the answer.',
      EXIT_FAULT,
      error,
    );
  if (!(error instanceof ClickHouseError)) {
    return hasBegun
      ? new TallyError(
          'E_QUERY',
          `The answer broke off: ${brokenBy(error)}.`,
          'What was printed is a part of the answer.',
          EXIT_FAULT,
          error,
        )
      : askFault('the query', error);
  }
  if (isAuthentication(error)) return askFault('the query', error);
  if (isTooMuch(error))
    return new TallyError(
      'E_QUERY',
      `${messageOf(error)}.`,
      'The query asks for more than this ClickHouse may use: narrow it, by window_start for example.',
      EXIT_FAULT,
      error,
    );
  const hint =
    error.code === READONLY || error.code === ACCESS_DENIED
      ? 'tally query only reads.'
      : 'The tables: tally query ... "SHOW TABLES"; the columns of one: "DESCRIBE ads_hourly".';
  return new TallyError('E_QUERY', `${messageOf(error)}.`, hint, EXIT_USAGE, error);
}

/** Bytes that had come but were not read yet are lost with the connection, and ClickHouse's own words with them. */
const brokenBy = (error: unknown): string =>
  error instanceof Error && error.message === 'aborted' ? 'ClickHouse gave up in the middle of it' : messageOf(error);
