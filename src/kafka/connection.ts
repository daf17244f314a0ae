/**
 * One connection to one broker: requests out, answers in the order of their correlation ids. An answer is read from the socket straight
 * into its own buffer. Whatever goes wrong ends the connection, and every request that still waits gets the same BrokerTrouble.
 */
import net from 'node:net';
import tls from 'node:tls';
import { int32At } from '../../topology/consume/batch-header.ts';
import { UNSUPPORTED_VERSION } from './error-codes.ts';
import { BrokerTrouble, refused } from './faults.ts';
import type { Api } from './protocol/api.ts';
import { API_VERSIONS } from './protocol/handshake.ts';
import type { ApiRange } from './protocol/handshake.ts';
import { Reader } from './protocol/reader.ts';
import { Writer } from './protocol/writer.ts';
import { closedTrouble, socketTrouble } from './socket-trouble.ts';

/** Large answers are read into their own buffers; this one takes the beginning of each, and small ones whole. */
const HEAD_BYTES = 64 * 1024;
const LENGTH_BYTES = 4;

/** Where the buffers of answers come from and go to when nobody reads them. */
export interface AnswerBuffers {
  take(bytes: number): Buffer;
  give(buffer: Buffer): void;
}
export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly tls: tls.ConnectionOptions | undefined;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** An answer that claims more ends the connection. */
  readonly answerBytesMax: number;
  readonly buffers?: AnswerBuffers | undefined;
}
interface Pending {
  readonly correlation: number;
  readonly name: string;
  timer: NodeJS.Timeout | undefined;
  take(answer: Buffer, length: number): void;
  fail(trouble: Error): void;
}

const PLAIN_BUFFERS: AnswerBuffers = { take: (bytes) => Buffer.allocUnsafeSlow(bytes), give: () => {} };

export class Connection {
  readonly address: string;
  /** Why it ended; undefined while it lives. */
  ended: BrokerTrouble | undefined;
  readonly #options: ConnectionOptions;
  readonly #buffers: AnswerBuffers;
  readonly #pending: Pending[] = [];
  readonly #versions = new Map<number, ApiRange>();
  #socket: net.Socket | undefined;
  #correlation = 0;
  /** Grows with all that arrives: who waits for a large answer over a slow line waits on while it comes. */
  #arrived = 0;
  readonly #head = Buffer.allocUnsafeSlow(HEAD_BYTES);
  readonly #length = Buffer.alloc(LENGTH_BYTES);
  #lengthFilled = 0;
  /** The answer that is being read. */
  #body: Buffer | undefined;
  #bodyLength = 0;
  #bodyFilled = 0;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#buffers = options.buffers ?? PLAIN_BUFFERS;
    this.address = `${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`;
  }

  /** Connected, and the broker has said which versions it knows. Not logged in. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options);
    try {
      await connection.#connect();
      await connection.#learnVersions();
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  async send<Q, A>(api: Api<Q, A>, request: Q, timeoutMs: number = this.#options.requestTimeoutMs): Promise<A> {
    return this.#exchange(api, request, this.#versionOf(api), timeoutMs);
  }

  close(): void {
    this.#end(new BrokerTrouble(`the connection to ${this.address} was closed`));
  }

  /** An honest broker's ranges are known before anything else is sent. */
  #versionOf<Q, A>(api: Api<Q, A>): number {
    const range = this.#versions.get(api.key),
      [least, most] = api.versions;
    const version = Math.min(most, range?.max ?? -1);
    if (range !== undefined && version >= Math.max(least, range.min)) return version;
    const has = range === undefined ? 'does not know it' : `knows versions ${range.min} to ${range.max}`;
    throw refused(
      UNSUPPORTED_VERSION,
      `${api.name} (versions ${least} to ${most}) by ${this.address}, which ${has},`,
      'Brokers of Kafka 2.8 and later are read.',
    );
  }

  #connect(): Promise<void> {
    const { host, port, connectTimeoutMs } = this.#options,
      secure = this.#options.tls;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => this.#end(new BrokerTrouble(`${this.address} did not answer within ${connectTimeoutMs / 1000} s`)),
      connectTimeoutMs,
    );
    this.#pending.push({ correlation: -1, name: 'connecting', timer, take() {}, fail: reject });
    const onConnect = (): void => {
      clearTimeout(timer);
      this.#pending.shift();
      resolve();
    };
    const onread = { buffer: () => this.#room(), callback: (bytes: number, into: Uint8Array) => this.#received(bytes, into) };
    const socket =
      secure === undefined
        ? net.connect({ host, port, noDelay: true, keepAlive: true, onread }, onConnect)
        : tls.connect({ host, port, servername: net.isIP(host) === 0 ? host : '', ...secure, onread } as tls.ConnectionOptions, onConnect);
    if (secure !== undefined) socket.setNoDelay(true).setKeepAlive(true);
    socket.on('error', (cause: NodeJS.ErrnoException) => this.#end(socketTrouble(cause, this.address, secure !== undefined)));
    socket.on('close', () => this.#end(closedTrouble(this.address, this.#pending[0]?.name, secure !== undefined)));
    this.#socket = socket;
    return promise;
  }

  async #learnVersions(): Promise<void> {
    const { ranges, error } = await this.#exchange(
      API_VERSIONS,
      { software: 'tally', softwareVersion: '1' },
      API_VERSIONS.versions[1],
      this.#options.connectTimeoutMs,
    );
    if (error !== 0) throw refused(UNSUPPORTED_VERSION, `ApiVersions by ${this.address}`, 'Brokers of Kafka 2.8 and later are read.');
    for (const range of ranges) this.#versions.set(range.key, range);
  }

  #exchange<Q, A>(api: Api<Q, A>, request: Q, version: number, timeoutMs: number): Promise<A> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    const correlation = (this.#correlation = (this.#correlation + 1) & 0x7fffffff);
    const w = new Writer();
    w.int16(api.key);
    w.int16(version);
    w.int32(correlation);
    w.string(this.#options.clientId);
    if (api.flexible) w.noTags();
    api.write(w, request, version);
    const { promise, resolve, reject } = Promise.withResolvers<A>();
    const take = (answer: Buffer, length: number): void => {
      const r = new Reader(answer, LENGTH_BYTES, length);
      // ApiVersions answers with the oldest header, so that any client can read that it asked too much.
      if (api.flexible && api.key !== API_VERSIONS.key) r.skipTags();
      resolve(api.read(r, version));
      if (api.keepsBytes !== true) this.#buffers.give(answer);
    };
    const pending: Pending = { correlation, name: api.name, timer: undefined, take, fail: reject };
    this.#pending.push(pending);
    this.#waitFor(pending, timeoutMs, this.#arrived);
    this.#socket!.write(w.framed());
    return promise;
  }

  #waitFor(pending: Pending, timeoutMs: number, arrived: number): void {
    pending.timer = setTimeout(() => {
      if (this.#arrived > arrived) this.#waitFor(pending, timeoutMs, this.#arrived);
      else this.#end(new BrokerTrouble(`${this.address} did not answer ${pending.name} within ${timeoutMs / 1000} s`));
    }, timeoutMs);
  }

  /** Where the socket's next bytes go. */
  #room(): Buffer {
    return this.#body === undefined ? this.#head : this.#body.subarray(this.#bodyFilled, this.#bodyLength);
  }

  #received(bytes: number, into: Uint8Array): boolean {
    if (this.ended !== undefined) return false;
    this.#arrived += bytes;
    if (into.buffer !== this.#head.buffer) {
      this.#bodyFilled += bytes;
      if (this.#bodyFilled === this.#bodyLength) this.#answered();
      return true;
    }
    for (let at = 0; at < bytes && this.ended === undefined;) {
      if (this.#body === undefined) {
        while (at < bytes && this.#lengthFilled < LENGTH_BYTES) this.#length[this.#lengthFilled++] = this.#head[at++]!;
        if (this.#lengthFilled === LENGTH_BYTES && !this.#begin(int32At(this.#length, 0))) return false;
      } else {
        const part = Math.min(bytes - at, this.#bodyLength - this.#bodyFilled);
        this.#body.set(this.#head.subarray(at, at + part), this.#bodyFilled);
        this.#bodyFilled += part;
        at += part;
        if (this.#bodyFilled === this.#bodyLength) this.#answered();
      }
    }
    return true;
  }

  #begin(length: number): boolean {
    if (length < LENGTH_BYTES || length > this.#options.answerBytesMax) {
      const isForeign = this.#versions.size === 0;
      this.#end(
        new BrokerTrouble(
          isForeign ? `what answers at ${this.address} is no Kafka broker` : `${this.address} announced an answer of ${length} bytes`,
          isForeign ? "Check the port: it may be another service's, or one that wants TLS." : '',
        ),
      );
      return false;
    }
    this.#lengthFilled = 0;
    this.#body = this.#buffers.take(length);
    this.#bodyLength = length;
    this.#bodyFilled = 0;
    return true;
  }

  #answered(): void {
    const body = this.#body!,
      pending = this.#pending[0];
    this.#body = undefined;
    const correlation = int32At(body, 0);
    if (pending === undefined || pending.correlation !== correlation) {
      this.#buffers.give(body);
      this.#end(new BrokerTrouble(`${this.address} answered a request that was not made`));
      return;
    }
    this.#pending.shift();
    clearTimeout(pending.timer);
    try {
      pending.take(body, this.#bodyLength);
    } catch (cause) {
      this.#buffers.give(body);
      const trouble = new BrokerTrouble(`${this.address} answered ${pending.name} with bytes that cannot be read`, '', cause);
      pending.fail(trouble);
      this.#end(trouble);
    }
  }

  #end(trouble: BrokerTrouble): void {
    if (this.ended !== undefined) return;
    this.ended = trouble;
    if (this.#body !== undefined) this.#buffers.give(this.#body);
    this.#body = undefined;
    this.#socket?.destroy();
    for (const pending of this.#pending.splice(0)) {
      clearTimeout(pending.timer);
      pending.fail(trouble);
    }
  }
}
