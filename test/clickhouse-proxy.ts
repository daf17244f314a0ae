/**
 * An HTTP proxy before a ClickHouse server that can do what a bad day does: refuse with an error page, say that a table has too many parts,
 * close connections, or pass an insert on and lose the answer to it.
 */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export type Mood = 'passes' | 'fails' | 'too many parts' | 'hangs up' | 'loses answers';

const TOO_MANY_PARTS =
  'Code: 252. DB::Exception: Too many parts (3001 with average size of 1.00 KiB) in table. Merges are processing significantly slower than inserts. (TOO_MANY_PARTS) (version 26.1.1.1 (official build))';
/** Of inserts that are to be lost, each second comes through: or nothing ever would. */
const LOST_EACH = 2;

export class MoodyProxy {
  mood: Mood = 'passes';
  /** Requests that met each mood; of 'loses answers' those alone that were applied and not answered. */
  readonly met: Record<Mood, number> = { passes: 0, fails: 0, 'too many parts': 0, 'hangs up': 0, 'loses answers': 0 };
  private inserts = 0;
  private readonly server: http.Server;
  private readonly target: number;

  private constructor(target: number) {
    this.target = target;
    this.server = http.createServer((request, response) => this.serve(request, response));
  }

  static async open(target: string): Promise<MoodyProxy> {
    const proxy = new MoodyProxy(Number(new URL(target).port));
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { mood } = this;
    if (mood === 'passes' || mood === 'loses answers') return this.passOn(request, response);
    this.met[mood]++;
    if (mood === 'hangs up') return void request.socket.destroy();
    request.resume().on('end', () => {
      const isParts = mood === 'too many parts';
      response.writeHead(500, isParts ? { 'x-clickhouse-exception-code': '252' } : { 'content-type': 'text/html' });
      response.end(isParts ? TOO_MANY_PARTS : '<html><body>Internal Server Error</body></html>');
    });
  }

  private passOn(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { connection: _, host: __, ...headers } = request.headers,
      isInsert = new URL(request.url!, 'http://h').searchParams.get('query')?.startsWith('INSERT') === true,
      isLost = this.mood === 'loses answers' && isInsert && this.inserts++ % LOST_EACH === 0;
    const on = http.request({ host: '127.0.0.1', port: this.target, path: request.url, method: request.method, headers }, (answer) => {
      if (!isLost) {
        this.met.passes++;
        response.writeHead(answer.statusCode!, answer.headers);
        return void answer.pipe(response);
      }
      // Once all of the answer is here, the insert is applied.
      answer.resume().on('end', () => {
        if (answer.statusCode === 200) this.met['loses answers']++;
        request.socket.destroy();
      });
    });
    on.on('error', () => response.destroy());
    request.pipe(on);
  }
}
