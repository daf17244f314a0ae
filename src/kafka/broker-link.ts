/**
 * A connection that is secured, logged in, and stays so: before a session of SASL ends, it logs in again on the same connection; what is
 * to be sent meanwhile waits for that.
 */
import { monotonicMs } from '../clock.ts';
import { Connection } from './connection.ts';
import type { AnswerBuffers } from './connection.ts';
import type { BrokerTrouble } from './faults.ts';
import { login } from './login.ts';
import type { Api } from './protocol/api.ts';
import { tlsOptions } from './security.ts';
import type { Security } from './security.ts';

export interface LinkOptions extends Security {
  readonly clientId: string;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly answerBytesMax: number;
}

/** Brokers cut a session at its end; nine tenths leave room for a slow login. They refuse a second one within a second. */
const SESSION_PART = 0.9,
  SESSION_MS_MIN = 1100;

export class BrokerLink {
  readonly #connection: Connection;
  readonly #security: Security;
  #loginAgainAt = Number.POSITIVE_INFINITY;
  #loggingIn: Promise<void> | undefined;

  private constructor(connection: Connection, security: Security) {
    this.#connection = connection;
    this.#security = security;
  }

  static async open(host: string, port: number, options: LinkOptions, buffers?: AnswerBuffers): Promise<BrokerLink> {
    const tls = options.tls === undefined ? undefined : await tlsOptions(options.tls);
    const connection = await Connection.open({ ...options, host, port, tls, buffers });
    const link = new BrokerLink(connection, options);
    try {
      await link.#login();
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  get address(): string {
    return this.#connection.address;
  }

  get ended(): BrokerTrouble | undefined {
    return this.#connection.ended;
  }

  async send<Q, A>(api: Api<Q, A>, request: Q, timeoutMs?: number): Promise<A> {
    if (monotonicMs() >= this.#loginAgainAt)
      this.#loggingIn ??= this.#login()
        .catch((error: unknown) => {
          this.close();
          throw error;
        })
        .finally(() => {
          this.#loggingIn = undefined;
        });
    if (this.#loggingIn !== undefined) await this.#loggingIn;
    return this.#connection.send(api, request, timeoutMs);
  }

  close(): void {
    this.#connection.close();
  }

  async #login(): Promise<void> {
    const { sasl } = this.#security;
    if (sasl === undefined) return;
    const startMs = monotonicMs();
    const lifetimeMs = await login(this.#connection, sasl);
    this.#loginAgainAt = lifetimeMs > 0 ? startMs + Math.max(SESSION_MS_MIN, lifetimeMs * SESSION_PART) : Number.POSITIVE_INFINITY;
  }
}
