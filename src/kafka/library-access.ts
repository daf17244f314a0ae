/** How the Kafka library (kafkajs) is to connect, in its own words, for those who use it beside our own client. Secrets are read once, here. */
import { createRequire } from 'node:module';
import { Kafka, logLevel } from 'kafkajs';
import type { KafkaConfig, SASLOptions } from 'kafkajs';
import { parseKafkaUrl, showAddress } from './address.ts';
import type { Sasl } from './login.ts';
import { readSecret } from './secret.ts';
import { tlsOptions } from './security.ts';
import type { Security } from './security.ts';

interface RequestQueue {
  readonly pending: readonly unknown[];
  scheduleCheckPendingRequests(): void;
}
const library = createRequire(import.meta.url),
  queue = (library('kafkajs/src/network/requestQueue/index.js') as { prototype: RequestQueue }).prototype,
  checkLater = queue.scheduleCheckPendingRequests;
// After its first answer the library sets a timer again and again, for a time long past: Node warns of it, and it costs a turn each millisecond.
queue.scheduleCheckPendingRequests = function (this: RequestQueue): void {
  if (this.pending.length > 0) checkLater.call(this);
};

export interface LibraryAccess extends Pick<KafkaConfig, 'ssl' | 'sasl'> {
  readonly brokers: string[];
}

export async function libraryAccess(url: string, { tls, sasl }: Security = {}): Promise<LibraryAccess> {
  return {
    brokers: parseKafkaUrl(url).map(showAddress),
    ...(tls === undefined ? {} : { ssl: await tlsOptions(tls) }),
    ...(sasl === undefined ? {} : { sasl: await loginOf(sasl) }),
  };
}

/** It writes nothing to anybody's screen: what goes wrong is thrown, or told by its events. */
export async function openLibrary(url: string, security: Security, requestTimeout: number): Promise<Kafka> {
  return new Kafka({
    ...(await libraryAccess(url, security)),
    clientId: 'tally',
    logLevel: logLevel.NOTHING,
    connectionTimeout: 2000,
    authenticationTimeout: 3000,
    requestTimeout,
    // Who asks tries again himself, and knows for how long.
    retry: { retries: 1, initialRetryTime: 100, maxRetryTime: 400 },
  });
}

async function loginOf(sasl: Sasl): Promise<SASLOptions> {
  if (sasl.mechanism === 'OAUTHBEARER')
    return {
      mechanism: 'oauthbearer',
      oauthBearerProvider: async () => ({ value: await readSecret(sasl.token, 'the OAuth token') }),
    };
  const password = await readSecret(sasl.password, `the password of Kafka's user ${sasl.user}`),
    login = { username: sasl.user, password };
  switch (sasl.mechanism) {
    case 'PLAIN':
      return { mechanism: 'plain', ...login };
    case 'SCRAM-SHA-256':
      return { mechanism: 'scram-sha-256', ...login };
    case 'SCRAM-SHA-512':
      return { mechanism: 'scram-sha-512', ...login };
  }
}
