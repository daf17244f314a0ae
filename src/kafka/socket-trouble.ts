/** What a socket's end means to a person, and whether another try may help: a TlsTrouble stays what it is until somebody changes something. */
import { BrokerTrouble } from './faults.ts';

/** Certificates and protocol of TLS: another try gets the same answer. */
export class TlsTrouble extends BrokerTrouble {}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
  ETIMEDOUT: 'it does not answer',
  EHOSTUNREACH: 'there is no way to the host',
  ENETUNREACH: 'there is no way to its network',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
};

const PLAIN_PORT = 'The port may be a plain one: connect without TLS, or to the TLS port.';

export function socketTrouble(cause: NodeJS.ErrnoException, address: string, isTls: boolean): BrokerTrouble {
  const code = cause.code ?? '';
  const words = WORDS[code];
  if (words !== undefined) {
    const isCut = code === 'ECONNRESET' || code === 'EPIPE';
    return new BrokerTrouble(`${address}: ${words} (${code})`, isCut && isTls ? PLAIN_PORT : '', cause);
  }
  if (!isTls) return new BrokerTrouble(`${address}: ${code === '' ? 'the connection failed' : code}`, '', cause);
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return new TlsTrouble(`${address} does not speak TLS`, PLAIN_PORT, cause);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new TlsTrouble(
      `the certificate of ${address} is for another host`,
      'Connect by a name that the certificate carries, or name it as the server name of TLS.',
      cause,
    );
  if (code.startsWith('ERR_SSL_') && code.includes('ALERT'))
    return new TlsTrouble(
      `${address} refused the TLS handshake (${code})`,
      'The broker may ask for a client certificate, or not trust ours: set certificate and key of a client that it knows.',
      cause,
    );
  return new TlsTrouble(
    `the certificate of ${address} is not trusted (${code === '' ? 'unknown reason' : code})`,
    'Name the file of the certificate authority that signed it.',
    cause,
  );
}

/** The broker closed the connection: what it was asked last says most about why. */
export function closedTrouble(address: string, waitingFor: string | undefined, isTls: boolean): BrokerTrouble {
  if (waitingFor === undefined) return new BrokerTrouble(`${address} closed the connection`);
  const sentence = `${address} closed the connection before it answered ${waitingFor}`;
  if (waitingFor === 'ApiVersions' && !isTls) return new BrokerTrouble(sentence, 'The port may want TLS, or be no Kafka broker.');
  if (waitingFor === 'Metadata') return new BrokerTrouble(sentence, 'The broker may want a login (SASL).');
  return new BrokerTrouble(sentence);
}
