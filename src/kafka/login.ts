/**
 * SASL on a connection: PLAIN, SCRAM and OAUTHBEARER. Secrets are read anew for every login. Says how long the session lasts; a login that
 * the broker refuses is a TallyError that names user and mechanism, and never what the user proved himself with.
 */
import { randomHex } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { AUTHENTICATION_FAILED, meaningOf, NO_ERROR, UNSUPPORTED_MECHANISM } from './error-codes.ts';
import { BrokerTrouble } from './faults.ts';
import { SASL_AUTHENTICATE, SASL_HANDSHAKE } from './protocol/handshake.ts';
import type { SaslAuthenticateAnswer } from './protocol/handshake.ts';
import { Scram, ScramFault } from './scram.ts';
import { readSecret } from './secret.ts';
import type { Secret } from './secret.ts';

export type Sasl =
  | { readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; readonly user: string; readonly password: Secret }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: Secret };

const NONCE_BYTES = 24;
/** OAUTHBEARER (RFC 7628) separates its fields, and acknowledges a refusal, with this byte. */
const SEPARATOR = '\u0001';

/** Milliseconds that the session lasts; 0: without end. */
export async function login(connection: Connection, sasl: Sasl): Promise<number> {
  const { error, mechanisms } = await connection.send(SASL_HANDSHAKE, { mechanism: sasl.mechanism });
  if (error === UNSUPPORTED_MECHANISM)
    throw new TallyError(
      'E_KAFKA_AUTH',
      `${connection.address} does not offer the login ${sasl.mechanism}; it offers ${mechanisms.join(', ') || 'none'}.`,
      'Choose one that it offers.',
    );
  if (error !== NO_ERROR) throw new BrokerTrouble(`login at ${connection.address}: ${meaningOf(error).words}`);
  const last = await exchange(connection, sasl);
  return last.sessionLifetimeMs;
}

async function exchange(connection: Connection, sasl: Sasl): Promise<SaslAuthenticateAnswer> {
  const step = async (bytes: Uint8Array): Promise<SaslAuthenticateAnswer> => {
    const answer = await connection.send(SASL_AUTHENTICATE, { bytes });
    if (answer.error === NO_ERROR) return answer;
    if (answer.error === AUTHENTICATION_FAILED) throw denied(connection, sasl);
    throw new BrokerTrouble(`login at ${connection.address}: ${meaningOf(answer.error).words}`);
  };
  switch (sasl.mechanism) {
    case 'PLAIN':
      return step(Buffer.from(`\0${sasl.user}\0${await readSecret(sasl.password, passwordOf(sasl.user))}`));
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-512': {
      const scram = new Scram(sasl.mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512', sasl.user, randomHex(NONCE_BYTES));
      const password = await readSecret(sasl.password, passwordOf(sasl.user));
      try {
        const second = await step(scram.first());
        const last = await step(await scram.final(second.bytes, password));
        scram.check(last.bytes);
        return last;
      } catch (error) {
        if (!(error instanceof ScramFault)) throw error;
        throw new TallyError(
          'E_KAFKA_AUTH',
          `login at ${connection.address}: ${error.message}.`,
          'Something else than the broker may answer there.',
        );
      }
    }
    case 'OAUTHBEARER': {
      const token = await readSecret(sasl.token, 'the OAuth token');
      const answer = await step(Buffer.from(`n,,${SEPARATOR}auth=Bearer ${token}${SEPARATOR}${SEPARATOR}`));
      if (answer.bytes.length === 0) return answer;
      // The broker says why it refuses, and closes when that was acknowledged.
      await step(Buffer.from(SEPARATOR)).catch(() => {});
      throw denied(connection, sasl);
    }
  }
}

const passwordOf = (user: string): string => `the password of Kafka's user ${user}`;

function denied(connection: Connection, sasl: Sasl): TallyError {
  const who = sasl.mechanism === 'OAUTHBEARER' ? 'the OAuth token' : `user '${sasl.user}'`;
  return new TallyError(
    'E_KAFKA_AUTH',
    `${connection.address} refused ${who} (${sasl.mechanism}).`,
    sasl.mechanism === 'OAUTHBEARER'
      ? 'The token may have run out, or be for somebody else.'
      : 'User or password is wrong, or the mechanism is not the one that the user was made for.',
  );
}
