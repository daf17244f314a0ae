/**
 * A ClickHouse that acknowledges rows and throws them away: everything else goes to a real engine behind it. What a run reaches with it is
 * what the run itself can do, the engine's CPU apart, as on a machine of its own.
 */
import { createServer, request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { startEngine } from '../src/clickhouse/engine.ts';
import { DATABASE } from '../src/clickhouse/connection.ts';

export interface Acknowledging {
  /** For --clickhouse. */
  readonly url: string;
  readonly bytes: number;
  close(): Promise<void>;
}

export async function startAcknowledging(dir: string): Promise<Acknowledging> {
  const engine = await startEngine({ dir: path.join(dir, 'clickhouse') }),
    behind = new URL(engine.admin.url);
  let bytes = 0;
  const swallow = (ask: IncomingMessage, answer: ServerResponse, rows: string): void => {
    ask.on('data', (chunk: Buffer) => (bytes += chunk.length));
    ask.on('end', () => answer.writeHead(200, { 'x-clickhouse-summary': JSON.stringify({ written_rows: rows }) }).end());
  };
  const pass = (ask: IncomingMessage, answer: ServerResponse): void => {
    const on = request({ host: behind.hostname, port: behind.port, path: ask.url, method: ask.method, headers: ask.headers }, (from) => {
      answer.writeHead(from.statusCode!, from.headers);
      from.pipe(answer);
    });
    ask.pipe(on);
  };
  const server = createServer((ask, answer) => {
    const { searchParams } = new URL(ask.url!, 'http://here'),
      // The sink says in it how many rows it sends.
      rows = /^tally (\d+) rows$/.exec(searchParams.get('log_comment') ?? '');
    if (rows !== null) swallow(ask, answer, rows[1]!);
    else pass(ask, answer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { username, password } = engine.admin,
    { port } = server.address() as AddressInfo;
  return {
    url: `http://${encodeURIComponent(username)}:${encodeURIComponent(password)}@127.0.0.1:${port}/${DATABASE}`,
    get bytes() {
      return bytes;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await engine.stop();
    },
  };
}
