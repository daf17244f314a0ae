/** How the Kafka library (kafkajs) is to connect, in its own words, for those who use it beside our own client. Secrets are read once, here. */
import type { KafkaConfig, SASLOptions } from 'kafkajs';
import { parseKafkaUrl, showAddress } from './address.ts';
import type { Sasl } from './login.ts';
import { readSecret } from './secret.ts';
import { tlsOptions } from './security.ts';
import type { Security } from './security.ts';

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
