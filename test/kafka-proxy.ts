/**
 * A TCP proxy between a client and a broker that can cut connections in the middle of what the broker sends, be slow, or stop
 * passing anything on.
 */
import net from 'node:net';

export class CuttingProxy {
  /** Where it leads; set once the broker is known. */
  target = 0;
  /** Of each new connection: so many bytes of the broker's are passed on, then it is cut. */
  cutAfter: () => number = () => Number.POSITIVE_INFINITY;
  cuts = 0;
  /** Of each connection, towards the client. */
  bytesPerSecond: number = Number.POSITIVE_INFINITY;
  /** What the broker says is not passed on: it does what it is asked, and nobody hears of it. */
  isMute = false;
  #isDeaf = false;
  readonly port: number;
  readonly #server: net.Server;
  readonly #open = new Set<net.Socket>();

  private constructor(server: net.Server) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    server.on('connection', (client) => this.#join(client));
  }

  static open(port: number = 0): Promise<CuttingProxy> {
    const server = net.createServer();
    return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(new CuttingProxy(server))));
  }

  get url(): string {
    return `kafka://127.0.0.1:${this.port}`;
  }

  /** Takes connections and says nothing, as a host that is cut off does. */
  set isDeaf(isDeaf: boolean) {
    this.#isDeaf = isDeaf;
    if (!isDeaf) this.cutAll();
  }

  cutAll(): void {
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
  }

  async close(): Promise<void> {
    this.cutAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: net.Socket): void {
    const broker = net.connect(this.target, '127.0.0.1');
    let left = this.cutAfter();
    for (const socket of [client, broker]) {
      this.#open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#open.delete(socket);
        client.destroy();
        broker.destroy();
      });
    }
    client.on('data', (bytes) => {
      if (!this.#isDeaf) broker.write(bytes);
    });
    broker.on('data', (bytes) => {
      if (this.#isDeaf || this.isMute) return;
      client.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (this.bytesPerSecond < Number.POSITIVE_INFINITY) {
        broker.pause();
        setTimeout(() => broker.resume(), (1000 * bytes.length) / this.bytesPerSecond);
      }
      if (left > 0) return;
      this.cuts++;
      // What was passed on must arrive before the end does.
      client.end();
      broker.destroy();
    });
  }
}
