/**
 * ClickHouse servers as somebody else would run them: the embedded engine with a configuration of the test's own. Several of them are a
 * cluster over ClickHouse's TCP protocol; users can be given, and TLS in front.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { command, makeClient, rows } from '../src/clickhouse/client.ts';
import type { Client } from '../src/clickhouse/client.ts';
import { engineConfig } from '../src/clickhouse/engine-config.ts';
import { engineLibrary } from '../src/clickhouse/engine.ts';
import type { Endpoint } from '../src/clickhouse/engine.ts';
import { sleep } from './clickhouse-fixture.ts';

const WRITER_PASSWORD = 'w';
const READY_MS = 20_000;

export interface ServerOptions {
  /** More of the XML, inside <clickhouse>. */
  readonly xml?: string;
  /** More of the XML, inside <users>. */
  readonly users?: string;
  readonly profiles?: string;
}
export interface Server {
  readonly url: string;
  readonly admin: Endpoint;
  readonly client: Client;
  as(username: string, password?: string, database?: string): Endpoint;
  ask(sql: string): Promise<Record<string, unknown>[]>;
  do(sql: string): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export async function startServer(o: ServerOptions = {}): Promise<Server> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-server-')),
    port = await freePort(),
    file = path.join(dir, 'config.xml'),
    url = `http://127.0.0.1:${port}`;
  const config = engineConfig({ file, port, nonce: 'n', writerPassword: WRITER_PASSWORD, readerPassword: 'r', memoryBytesMax: 1 << 30 });
  fs.writeFileSync(
    file,
    config
      .replace('</clickhouse>', `${o.xml ?? ''}</clickhouse>`)
      .replace('</users>', `${o.users ?? ''}</users>`)
      .replace('</profiles>', `${o.profiles ?? ''}</profiles>`),
  );
  const as = (username: string, password = '', database = 'tally'): Endpoint => ({ url, username, password, database });
  const admin = as('writer', WRITER_PASSWORD),
    plain = makeClient({ ...admin, database: 'default' }, { connections: 2 });
  let child: ReturnType<typeof spawn> | undefined;
  const server: Server = {
    url,
    admin,
    client: plain,
    as,
    ask: (sql) => rows(plain, sql),
    do: (sql) => command(plain, sql),
    async start() {
      const script = path.join(import.meta.dirname, '../src/clickhouse/engine-child.ts');
      child = spawn(process.execPath, [script, engineLibrary(), file, dir, path.join(dir, 'log')], {
        cwd: dir,
        stdio: ['pipe', 'ignore', 'ignore'],
        env: { TZ: 'UTC', LANG: 'C.UTF-8' },
      });
      for (let waited = 0; ; waited += 20) {
        if (await answers(url)) break;
        if (waited > READY_MS || child.exitCode !== null) throw new Error(`no server at ${url}`);
        await sleep(20);
      }
      if (o.xml?.includes('<tcp_port>') === true) await server.do('SYSTEM START LISTEN TCP');
    },
    async stop() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
    async close() {
      await plain.close();
      await server.stop();
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/ping`)).ok;
  } catch {
    return false;
  }
}

/** Servers that know each other as the cluster `ads`, one shard each, without Keeper. */
export async function startCluster(weights: readonly number[], o: ServerOptions = {}): Promise<Server[]> {
  const ports = await Promise.all(weights.map(freePort)),
    remote = remoteServers(ports, weights);
  return Promise.all(ports.map((port) => startServer({ ...o, xml: `${o.xml ?? ''}<tcp_port>${port}</tcp_port>${remote}` })));
}

function remoteServers(ports: readonly number[], weights: readonly number[]): string {
  const shards = ports.map(
    (port, i) =>
      `<shard><weight>${weights[i]}</weight><internal_replication>true</internal_replication>` +
      `<replica><host>127.0.0.1</host><port>${port}</port><user>writer</user><password>${WRITER_PASSWORD}</password></replica></shard>`,
  );
  const lighter = shards.map((shard) => shard.replace(/<weight>\d+/, '<weight>9'));
  return `<remote_servers><ads>${shards.join('')}</ads><other>${lighter.join('')}</other></remote_servers>`;
}

export interface Front {
  readonly url: string;
  readonly caFile: string;
  close(): Promise<void>;
}

/** TLS in front of a server, with a certificate of an authority of the test's own, for the name `localhost`. */
export async function tlsFront(target: string, o: { wantsClient?: boolean } = {}): Promise<Front & { certFile: string; keyFile: string }> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-tls-')),
    at = (name: string): string => path.join(dir, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-days',
    '2',
    '-subj',
    '/CN=test',
  );
  openssl(
    'req',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    'key.pem',
    '-out',
    'csr.pem',
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'csr.pem',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-out',
    'cert.pem',
    '-days',
    '2',
    '-copy_extensions',
    'copy',
  );
  const { port } = new URL(target);
  const server = https.createServer(
    {
      cert: fs.readFileSync(at('cert.pem')),
      key: fs.readFileSync(at('key.pem')),
      ...(o.wantsClient === true ? { requestCert: true, rejectUnauthorized: true, ca: fs.readFileSync(at('ca.crt')) } : {}),
    },
    (request, response) => {
      const { connection: _, host: __, ...headers } = request.headers;
      const on = http.request({ host: '127.0.0.1', port, path: request.url, method: request.method, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      on.on('error', () => response.destroy());
      request.pipe(on);
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    caFile: at('ca.crt'),
    certFile: at('cert.pem'),
    keyFile: at('key.pem'),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Answers every request as it is told to, and counts the inserts. */
export async function fakeServer(
  answer: (query: string, n: number) => { status?: number; headers?: Record<string, string>; body?: string },
): Promise<{ url: string; inserts: string[]; close(): Promise<void> }> {
  const inserts: string[] = [];
  const server = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const query = new URL(request.url!, 'http://h').searchParams.get('query') ?? Buffer.concat(parts).toString();
      if (query.startsWith('INSERT')) inserts.push(request.url!);
      const said = answer(query, inserts.length);
      response.writeHead(said.status ?? 200, said.headers).end(said.body ?? '');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    inserts,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
