/**
 * @clickhouse/client as Tally uses it, the same for the embedded engine and a server elsewhere. A URL for people comes in
 * (http://user:password@host:8123/database); passwords may come by the environment, so that they stand in no process list.
 */
import { createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { usage } from '../errors.ts';
import { DATABASE } from './connection.ts';
import type { Endpoint } from './engine.ts';
import { askFault } from './faults.ts';

export type Client = ClickHouseClient;

const PASSWORD_VARIABLE = 'TALLY_CLICKHOUSE_PASSWORD';

export function parseEndpoint(text: string, env: Readonly<Record<string, string | undefined>> = process.env): Endpoint {
  const wrong = (what: string): never => {
    throw usage(
      'E_CLICKHOUSE_URL',
      `--clickhouse ${what}.`,
      'For example --clickhouse http://user@host:8123/tally, with the password in TALLY_CLICKHOUSE_PASSWORD.',
    );
  };
  if (!URL.canParse(text)) return wrong('is not a URL');
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return wrong(`speaks HTTP, not ${url.protocol.slice(0, -1)}`);
  const database = decodeURIComponent(url.pathname.replaceAll(/^\/+|\/+$/g, ''));
  if (database !== '' && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(database))
    return wrong(`names the database "${database}", which is not a plain name`);
  return {
    url: `${url.protocol}//${url.host}`,
    username: decodeURIComponent(url.username) || 'default',
    password: decodeURIComponent(url.password) || (env[PASSWORD_VARIABLE] ?? ''),
    database: database === '' ? DATABASE : database,
  };
}

export interface ClientOptions {
  readonly connections?: number;
  readonly requestMs?: number;
}

export function makeClient(endpoint: Endpoint, o: ClientOptions = {}): Client {
  return createClient({
    url: endpoint.url,
    username: endpoint.username,
    password: endpoint.password,
    database: endpoint.database,
    application: 'tally',
    max_open_connections: o.connections ?? 4,
    request_timeout: o.requestMs ?? 60_000,
    // Shorter than any server's own, so that no request goes out on a socket that the other side has just closed.
    keep_alive: { enabled: true, idle_socket_ttl: 1_500 },
    compression: { request: false, response: false },
    log: { LoggerClass: Silent },
  });
}

/** Faults are thrown and told once by who asked; the client need not say them too. */
class Silent {
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(): void {}
  error(): void {}
}

/** Rows of a small question; 64-bit integers as text. */
export async function rows<T = Record<string, string>>(client: Client, sql: string): Promise<T[]> {
  try {
    const result = await client.query({
      query: sql,
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
    });
    return await result.json<T>();
  } catch (error) {
    throw askFault('a question', error);
  }
}

export async function command(client: Client, sql: string, settings: Readonly<Record<string, string | number>> = {}): Promise<void> {
  try {
    await client.command({ query: sql, clickhouse_settings: { ...settings } });
  } catch (error) {
    throw askFault('a statement', error);
  }
}

export const literal = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
export const identifier = (name: string): string => `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
