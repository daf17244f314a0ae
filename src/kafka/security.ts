/** How connections are secured: files of TLS, read anew for every connection so that a renewed certificate counts, and the login. */
import tls from 'node:tls';
import { TallyError } from '../errors.ts';
import type { Sasl } from './login.ts';
import { readSecret, readSecretFile } from './secret.ts';
import type { Secret } from './secret.ts';

export interface TlsFiles {
  /** PEM; without it, the authorities that Node knows. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly keyPassphrase?: Secret | undefined;
  /** What the certificate must be for, when it isn't the host that is connected to. */
  readonly serverName?: string | undefined;
}
export interface Security {
  readonly tls?: TlsFiles | undefined;
  readonly sasl?: Sasl | undefined;
}

export async function tlsOptions(files: TlsFiles): Promise<tls.ConnectionOptions> {
  if ((files.certFile === undefined) !== (files.keyFile === undefined))
    throw new TallyError(
      'E_SECRET_MISSING',
      'A client certificate for TLS needs both its file and the file of its key.',
      'Name both, or neither.',
    );
  const context: tls.SecureContextOptions = {
    minVersion: 'TLSv1.2',
    ...(files.caFile === undefined ? {} : { ca: await readSecretFile(files.caFile, 'the certificate authority for Kafka') }),
    ...(files.certFile === undefined ? {} : { cert: await readSecretFile(files.certFile, 'the client certificate for Kafka') }),
    ...(files.keyFile === undefined ? {} : { key: await readSecretFile(files.keyFile, 'the key of the client certificate for Kafka') }),
    ...(files.keyPassphrase === undefined
      ? {}
      : { passphrase: await readSecret(files.keyPassphrase, "the passphrase of Kafka's client key") }),
  };
  let secureContext: tls.SecureContext;
  try {
    secureContext = tls.createSecureContext(context);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new TallyError(
      'E_KAFKA_TLS',
      `The certificates for Kafka cannot be used (${code ?? 'unknown reason'}): ${[files.caFile, files.certFile, files.keyFile].filter(Boolean).join(', ')}.`,
      'They are PEM files; the key must fit the certificate, and its passphrase the key.',
    );
  }
  return { secureContext, ...(files.serverName === undefined ? {} : { servername: files.serverName }) };
}
