/**
 * The HTTP port of a run: /metrics, /healthz and /readyz, for Prometheus and for whoever restarts processes. It reads nothing but the
 * request line and changes nothing. What it takes is bounded: connections, headers, time.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TallyError } from '../errors.ts';
import type { Listen } from '../config/values.ts';
import type { Verdict } from './health.ts';

const CONNECTIONS_MAX = 64,
  HEADER_BYTES_MAX = 8192,
  REQUEST_MS_MAX = 10_000;

export interface Pages {
  readonly contentType: string;
  metrics(): Promise<string>;
  alive(): Verdict;
  ready(): Verdict;
}
export interface HttpServer {
  /** `http://127.0.0.1:9464` */
  readonly address: string;
  close(): Promise<void>;
}

export async function serveHttp({ host, port }: Listen, pages: Pages): Promise<HttpServer> {
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX, requestTimeout: REQUEST_MS_MAX, headersTimeout: REQUEST_MS_MAX });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => void answer(request, response, pages));
  server.listen(port, host);
  await listening(server, host, port);
  const { address, port: bound } = server.address() as AddressInfo;
  return {
    address: `http://${address.includes(':') ? `[${address}]` : address}:${bound}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  try {
    await once(server, 'listening');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE' ? 'something else listens there' : code === 'EACCES' ? 'this user may not' : (code ?? 'unknown reason');
    throw new TallyError(
      'E_HTTP',
      `cannot serve HTTP at ${host}:${port}: ${why}`,
      'give --http an address of this machine and a free port',
      3,
      cause,
    );
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, pages: Pages): Promise<void> {
  const path = (request.url ?? '').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return send(response, 405, 'text/plain', 'only GET and HEAD\n');
  }
  try {
    if (path === '/metrics') return send(response, 200, pages.contentType, await pages.metrics());
    if (path === '/healthz') return sendVerdict(response, pages.alive());
    if (path === '/readyz') return sendVerdict(response, pages.ready());
    send(response, 404, 'text/plain', 'there are /metrics, /healthz and /readyz\n');
  } catch (error) {
    send(response, 500, 'text/plain', `${(error as Error).message}\n`);
  }
}

function sendVerdict(response: ServerResponse, verdict: Verdict): void {
  send(response, verdict.ok ? 200 : 503, 'application/json', `${JSON.stringify(verdict)}\n`);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' });
  response.end(body);
}
