/**
 * What a text may be: formats (by the checks below, stricter than they need be rather than laxer), patterns (as written, Unicode,
 * unanchored) and valid values. Asked of the decoded text; the answer is null: fine, else the rule that it breaks, in words.
 */
import type { Field } from './model.ts';

const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const HOSTNAME = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})*$`);
/** A dot-atom of RFC 5322 (at most 64 characters), and a host name with a dot in it. */
const EMAIL = new RegExp(
  `^(?=.{3,254}$)(?=[^@]{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_\`{|}~-]+(?:\\.[A-Za-z0-9!#$%&'*+/=?^_\`{|}~-]+)*@${LABEL}(?:\\.${LABEL})+$`,
);
/** A scheme, then one or more of RFC 3986's characters; letters beyond ASCII must be percent-encoded. */
const URI = /^[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+$/;
const UUID = /^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$/;
const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);

function isIpv6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [h, half] of halves.entries()) {
    if (half === '') continue;
    const parts = half.split(':');
    for (const [i, part] of parts.entries()) {
      const last = h === halves.length - 1 && i === parts.length - 1;
      if (/^[0-9A-Fa-f]{1,4}$/.test(part)) groups += 1;
      else if (last && IPV4.test(part)) groups += 2;
      else return false;
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

const FORMATS: Record<NonNullable<Field['format']>, (text: string) => boolean> = {
  uuid: (text) => UUID.test(text),
  email: (text) => EMAIL.test(text),
  uri: (text) => URI.test(text),
  ipv4: (text) => IPV4.test(text),
  ipv6: isIpv6,
  hostname: (text) => HOSTNAME.test(text),
};

/** The rules of a string or date field whose break is INVALID_VALUE, in the order in which they are told; null: it has none. */
export function textRules(field: Field): ((text: string) => string | null) | null {
  if (field.pattern === null && field.validPattern === null && field.format === null && field.validValues === null) return null;
  const pattern = field.pattern === null ? null : new RegExp(field.pattern, 'u');
  const validPattern = field.validPattern === null ? null : new RegExp(field.validPattern, 'u');
  const format = field.format;
  const valid = field.validValues === null ? null : new Set(field.validValues);
  return (text) => {
    if (pattern !== null && !pattern.test(text)) return `does not match ${field.pattern}`;
    if (format !== null && !FORMATS[format](text)) return `is no ${format}`;
    if (valid !== null && !valid.has(text)) return 'is not among the valid values';
    if (validPattern !== null && !validPattern.test(text)) return `does not match ${field.validPattern}`;
    return null;
  };
}

const CACHED = 1024,
  CACHED_BYTES = 48;

/**
 * Remembers texts that passed, so that the fast path decodes a value the first time only: a direct-mapped table of copies,
 * compared byte by byte. A miss asks the rules themselves; the answer never depends on what is remembered.
 */
export class KnownTexts {
  private readonly rules: (text: string) => string | null;
  private readonly length = new Int32Array(CACHED).fill(-1);
  private readonly copy = new Uint8Array(CACHED * CACHED_BYTES);

  constructor(rules: (text: string) => string | null) {
    this.rules = rules;
  }

  /** `bytes[s..e)` is valid UTF-8 without escapes. */
  accepts(bytes: Uint8Array, s: number, e: number): boolean {
    const n = e - s;
    if (n > CACHED_BYTES) return this.passes(bytes, s, e);
    let h = n;
    for (let p = s; p < e; p++) h = Math.imul(h ^ bytes[p]!, 0x01000193);
    const slot = (h ^ (h >>> 15)) & (CACHED - 1);
    const at = slot * CACHED_BYTES;
    if (this.length[slot] === n) {
      let same = 0;
      while (same < n && this.copy[at + same] === bytes[s + same]) same++;
      if (same === n) return true;
    }
    if (!this.passes(bytes, s, e)) return false;
    this.length[slot] = n;
    for (let j = 0; j < n; j++) this.copy[at + j] = bytes[s + j]!;
    return true;
  }

  private passes(bytes: Uint8Array, s: number, e: number): boolean {
    return this.rules(Buffer.from(bytes.buffer, bytes.byteOffset + s, e - s).toString('utf8')) === null;
  }
}
