/** The first requests on a connection: which versions the broker knows, and SASL's steps as opaque bytes. */
import type { Api } from './api.ts';

export interface ApiRange {
  readonly key: number;
  readonly min: number;
  readonly max: number;
}
export interface ApiVersionsAnswer {
  readonly error: number;
  readonly ranges: readonly ApiRange[];
}

/** Its answer has the oldest header in every version, and comes in version 0 when the broker doesn't know ours. */
export const API_VERSIONS: Api<{ readonly software: string; readonly softwareVersion: string }, ApiVersionsAnswer> = {
  name: 'ApiVersions',
  key: 18,
  versions: [3, 3],
  flexible: true,
  write(w, { software, softwareVersion }) {
    w.compactString(software);
    w.compactString(softwareVersion);
    w.noTags();
  },
  read(r) {
    const error = r.int16();
    if (error !== 0) return { error, ranges: [] };
    const ranges = r.compactArray(() => {
      const range = { key: r.int16(), min: r.int16(), max: r.int16() };
      r.skipTags();
      return range;
    });
    return { error, ranges };
  },
};

export interface SaslHandshakeAnswer {
  readonly error: number;
  readonly mechanisms: readonly string[];
}
export const SASL_HANDSHAKE: Api<{ readonly mechanism: string }, SaslHandshakeAnswer> = {
  name: 'SaslHandshake',
  key: 17,
  versions: [1, 1],
  flexible: false,
  write(w, { mechanism }) {
    w.string(mechanism);
  },
  read(r) {
    return { error: r.int16(), mechanisms: r.array(() => r.string()) };
  },
};

export interface SaslAuthenticateAnswer {
  readonly error: number;
  readonly bytes: Buffer;
  /** 0: the session has no end. */
  readonly sessionLifetimeMs: number;
}
export const SASL_AUTHENTICATE: Api<{ readonly bytes: Uint8Array }, SaslAuthenticateAnswer> = {
  name: 'SaslAuthenticate',
  key: 36,
  versions: [2, 2],
  flexible: true,
  write(w, { bytes }) {
    w.compactBytes(bytes);
    w.noTags();
  },
  read(r) {
    const error = r.int16();
    r.compactNullableString();
    return { error, bytes: Buffer.from(r.compactBytes()), sessionLifetimeMs: r.int64() };
  },
};
