/**
 * One insert as one HTTP request: bodies go to the socket as they are, over connections that are kept. What comes out is what ClickHouse
 * says that it wrote; whatever is not a plain yes (status, an exception in the headers or in the body, no summary) is thrown. The password is
 * read from its file for each request, so that a changed one counts at once.
 */
import http from 'node:http';
import https from 'node:https';
import { ClickHouseError, parseError } from '@clickhouse/client';
import type { Endpoint } from './engine.ts';
import { currentPassword, tlsFiles } from './secrets.ts';

/** A server's keep-alive says when it closes; a connection is left alone a second before that. */
const KEEP_ALIVE_BUFFER_MS = 1_000;
const ANSWER_BYTES_MAX = 64 * 1024;

export interface WireOptions {
  readonly connections: number;
  readonly requestMs: number;
}
export interface Summary {
  readonly writtenRows: number;
}

export class Wire {
  private readonly endpoint: Endpoint;
  private readonly o: WireOptions;
  private readonly agent: http.Agent;
  private readonly isTls: boolean;
  private readonly address: { readonly host: string; readonly port: number };
  private readonly open = new Set<http.ClientRequest>();
  private isClosed = false;

  constructor(endpoint: Endpoint, o: WireOptions) {
    this.endpoint = endpoint;
    this.o = o;
    const url = new URL(endpoint.url);
    this.isTls = url.protocol === 'https:';
    this.address = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port) || (this.isTls ? 443 : 80) };
    const keep = {
      keepAlive: true,
      maxSockets: o.connections,
      scheduling: 'lifo',
      agentKeepAliveTimeoutBuffer: KEEP_ALIVE_BUFFER_MS,
    } as const;
    this.agent = this.isTls ? new https.Agent({ ...keep, ...tlsFiles(endpoint) }) : new http.Agent(keep);
  }

  /** `settings` begin with "&", escaped for a URL. */
  async insert(statement: string, settings: string, bodies: readonly Uint8Array[]): Promise<Summary> {
    const query = `/?database=${encodeURIComponent(this.endpoint.database)}&query=${encodeURIComponent(statement)}${settings}`;
    const { response, text } = await this.send(query, bodies);
    const code = response.headers['x-clickhouse-exception-code'];
    if (response.statusCode !== 200 || code !== undefined || text !== '') throw refusal(response.statusCode!, code, text);
    const summary = response.headers['x-clickhouse-summary'];
    return { writtenRows: typeof summary === 'string' ? writtenRows(summary) : -1 };
  }

  private send(path: string, bodies: readonly Uint8Array[]): Promise<{ response: http.IncomingMessage; text: string }> {
    return new Promise((resolve, reject) => {
      if (this.isClosed) return reject(new Error('closed'));
      const { username } = this.endpoint;
      const request = (this.isTls ? https : http).request({
        ...this.address,
        agent: this.agent,
        method: 'POST',
        path,
        headers: {
          'x-clickhouse-user': encodeHeader(username),
          'x-clickhouse-key': encodeHeader(currentPassword(this.endpoint)),
          'user-agent': 'tally',
          'content-length': bodies.reduce((sum, body) => sum + body.length, 0),
        },
      });
      this.open.add(request);
      const late = setTimeout(() => request.destroy(new Error(`no answer in ${this.o.requestMs / 1000} s`)), this.o.requestMs);
      request.once('close', () => {
        clearTimeout(late);
        this.open.delete(request);
        reject(new Error('the connection ended before the answer'));
      });
      // More than one may come: of the request, and of the socket that is torn down after it.
      request.on('error', reject);
      request.once('response', (response) => readAnswer(response, resolve, reject));
      request.cork();
      for (const body of bodies) request.write(body);
      request.uncork();
      request.end();
    });
  }

  /** What is on its way is given up. */
  close(): void {
    this.isClosed = true;
    for (const request of this.open) request.destroy();
    this.agent.destroy();
  }
}

function readAnswer(
  response: http.IncomingMessage,
  resolve: (answer: { response: http.IncomingMessage; text: string }) => void,
  reject: (error: unknown) => void,
): void {
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (part: string) => {
    if (text.length < ANSWER_BYTES_MAX) text += part;
  });
  response.on('error', reject);
  response.once('aborted', () => reject(new Error('the answer broke off')));
  response.once('end', () => resolve({ response, text }));
}

function refusal(status: number, code: string | string[] | undefined, text: string): Error {
  const parsed = parseError(text);
  if (parsed instanceof ClickHouseError) return parsed;
  if (typeof code === 'string') return new ClickHouseError({ code, type: '', message: text });
  const said = text
    .replaceAll(/<[^>]*>|\s+/g, ' ')
    .trim()
    .slice(0, 200);
  return new Error(`HTTP ${status}${said === '' ? '' : `: ${said}`}`);
}

/** -1: it does not say. */
function writtenRows(summary: string): number {
  const found = /"written_rows":"?(\d+)/.exec(summary);
  return found === null ? -1 : Number(found[1]);
}

/** Headers carry bytes: names and passwords go as UTF-8. */
const encodeHeader = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
