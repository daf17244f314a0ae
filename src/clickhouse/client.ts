/**
 * @clickhouse/client as Tally uses it, the same for the embedded engine and a server elsewhere. A URL for people comes in
 * (http://user@host:8123/database); passwords come by a file or the environment, so that they stand in no process list.
 */
import https from 'node:https';
import { createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { usage } from '../errors.ts';
import { DATABASE } from './connection.ts';
import type { Endpoint } from './engine.ts';
import { askFault } from './faults.ts';
import { currentPassword, tlsFiles } from './secrets.ts';

export type Client = ClickHouseClient;

type Environment = Readonly<Record<string, string | undefined>>;

export function parseEndpoint(text: string, env: Environment = process.env): Endpoint {
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
    password: decodeURIComponent(url.password) || (env['TALLY_CLICKHOUSE_PASSWORD'] ?? ''),
    database: database === '' ? DATABASE : database,
    ...filesOf(url, env),
  };
}

/** A password in the URL is meant for this one command; a file comes before the environment. */
function filesOf(url: URL, env: Environment): Partial<Endpoint> {
  const named = (field: keyof Endpoint, variable: string): Partial<Endpoint> => {
    const file = env[variable];
    return file === undefined || file === '' ? {} : { [field]: file };
  };
  return {
    ...(url.password === '' ? named('passwordFile', 'TALLY_CLICKHOUSE_PASSWORD_FILE') : {}),
    ...(url.protocol === 'https:'
      ? {
          ...named('caFile', 'TALLY_CLICKHOUSE_CA_FILE'),
          ...named('certFile', 'TALLY_CLICKHOUSE_CERT_FILE'),
          ...named('keyFile', 'TALLY_CLICKHOUSE_KEY_FILE'),
        }
      : {}),
  };
}

export interface ClientOptions {
  readonly connections?: number;
  readonly requestMs?: number;
}

export function makeClient(endpoint: Endpoint, o: ClientOptions = {}): Client {
  const connections = o.connections ?? 4;
  return createClient({
    url: endpoint.url,
    username: endpoint.username,
    password: currentPassword(endpoint),
    database: endpoint.database,
    application: 'tally',
    max_open_connections: connections,
    request_timeout: o.requestMs ?? 60_000,
    // Shorter than any server's own, so that no request goes out on a socket that the other side has just closed.
    keep_alive: { enabled: true, idle_socket_ttl: 1_500 },
    // The client's own TLS options take a certificate of ours only together with an authority.
    ...(endpoint.url.startsWith('https:')
      ? { http_agent: new https.Agent({ keepAlive: true, maxSockets: connections, ...tlsFiles(endpoint) }) }
      : {}),
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
