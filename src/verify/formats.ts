/**
 * Texts that a contract gives a shape: points in time, dates, and the named formats of strings. Written from the rules alone.
 * A time is epoch milliseconds, null when the text is malformed; whether it lies in range is asked elsewhere.
 */
const TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
const MINUTE = 60_000;

export const TIME_MIN = 0;
/** The last millisecond of 2105. */
export const TIME_MAX = Date.UTC(2106, 0, 1) - 1;

function midnight(year: number, month: number, day: number): number | null {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  if (month < 1 || month > 12 || day < 1 || day > days[month - 1]!) return null;
  // Date.UTC takes years below 100 for the 1900s; 400 years are a whole number of weeks and 146,097 days.
  return Date.UTC(year + 400, month - 1, day) - 146_097 * 86_400_000;
}

export function parseTime(text: string): number | null {
  const m = TIME.exec(text);
  if (m === null) return null;
  const date = midnight(Number(m[1]), Number(m[2]), Number(m[3]));
  const hour = Number(m[4]),
    minute = Number(m[5]),
    second = Number(m[6] ?? '0');
  const zoneHour = Number(m[9] ?? '0'),
    zoneMinute = Number(m[10] ?? '0');
  if (date === null || hour > 23 || minute > 59 || second > 59 || zoneHour > 23 || zoneMinute > 59) return null;
  const millis = Number((m[7] ?? '').slice(0, 3).padEnd(3, '0'));
  const offset = (zoneHour * 60 + zoneMinute) * MINUTE * (m[8] === '-' ? -1 : 1);
  return date + hour * 60 * MINUTE + minute * MINUTE + second * 1000 + millis - offset;
}

export function parseDate(text: string): number | null {
  const m = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  return m === null ? null : midnight(Number(m[1]), Number(m[2]), Number(m[3]));
}

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const HOSTNAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`, 'i');
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

const ATOM = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+$/i;
/** A scheme, then what RFC 3986 lets stand there; all else must be percent-encoded. */
const URI = /^[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+$/i;

function isIpv6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [h, half] of halves.entries()) {
    const parts = half === '' ? [] : half.split(':');
    for (const [i, part] of parts.entries()) {
      const last = h === halves.length - 1 && i === parts.length - 1;
      if (last && part.includes('.')) {
        if (!IPV4.test(part)) return false;
        groups += 2;
      } else {
        if (!/^[0-9a-f]{1,4}$/i.test(part)) return false;
        groups++;
      }
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

/** A dot-atom of at most 64 characters, and a host name that has a dot. */
function isEmail(text: string): boolean {
  const at = text.indexOf('@'),
    local = text.slice(0, at),
    host = text.slice(at + 1);
  if (at < 1 || at > 64 || text.length > 254) return false;
  return local.split('.').every((atom) => ATOM.test(atom)) && host.includes('.') && HOSTNAME.test(host);
}

export function formatHolds(format: 'uuid' | 'email' | 'uri' | 'ipv4' | 'ipv6' | 'hostname', text: string): boolean {
  switch (format) {
    case 'uuid':
      return UUID.test(text);
    case 'email':
      return isEmail(text);
    case 'uri':
      return URI.test(text);
    case 'ipv4':
      return IPV4.test(text);
    case 'ipv6':
      return isIpv6(text);
    case 'hostname':
      return text.length <= 253 && HOSTNAME.test(text);
  }
}
