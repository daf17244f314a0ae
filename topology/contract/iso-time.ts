/**
 * Text of times and dates, read from bytes without allocation: RFC 3339 with a zone (seconds optional, 1 to 9 digits of
 * fraction, cut to milliseconds) to epoch ms, and YYYY-MM-DD. Only real calendar dates; no second 60, no hour 24.
 * Shared by the fast and the slow path. NaN: malformed; whether a time lies in range is asked elsewhere.
 */
const DAYS_BEFORE = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAYS_IN = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DAYS_TO_1970 = 719528;

export const TIME_MIN = 0,
  TIME_MAX = 4291747199999;

/** Two digits at `at`, or -1. */
function two(bytes: Uint8Array, at: number): number {
  const a = bytes[at]! - 48,
    b = bytes[at + 1]! - 48;
  return a >= 0 && a <= 9 && b >= 0 && b <= 9 ? a * 10 + b : -1;
}

/** Days since 1970-01-01 of the ten bytes YYYY-MM-DD at `at`; NaN when they are no date. */
function daysAt(bytes: Uint8Array, at: number): number {
  const century = two(bytes, at),
    rest = two(bytes, at + 2),
    month = two(bytes, at + 5),
    day = two(bytes, at + 8);
  if (century < 0 || rest < 0 || month < 1 || month > 12 || day < 1) return NaN;
  if (bytes[at + 4] !== 45 || bytes[at + 7] !== 45) return NaN;
  const year = century * 100 + rest;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day > DAYS_IN[month - 1]! + (leap && month === 2 ? 1 : 0)) return NaN;
  const before =
    year === 0 ? 0 : 366 + 365 * (year - 1) + Math.floor((year - 1) / 4) - Math.floor((year - 1) / 100) + Math.floor((year - 1) / 400);
  return before + DAYS_BEFORE[month - 1]! + (leap && month > 2 ? 1 : 0) + day - 1 - DAYS_TO_1970;
}

/** Epoch ms of the midnight (UTC) of YYYY-MM-DD, which must fill bytes[start..end); else NaN. */
export function dateMs(bytes: Uint8Array, start: number, end: number): number {
  return end - start === 10 ? daysAt(bytes, start) * 86400000 : NaN;
}

/** Epoch ms of bytes[start..end), or NaN. */
export function isoMs(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 17 || end - start > 35) return NaN;
  const days = daysAt(bytes, start);
  const hour = two(bytes, start + 11),
    minute = two(bytes, start + 14);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return NaN;
  if ((bytes[start + 10]! | 32) !== 116 || bytes[start + 13] !== 58) return NaN;
  let p = start + 16,
    second = 0,
    ms = 0;
  if (bytes[p] === 58) {
    second = two(bytes, p + 1);
    if (second < 0 || second > 59) return NaN;
    p += 3;
    if (bytes[p] === 46) {
      const from = ++p;
      for (let d = bytes[p]! - 48, unit = 100; d >= 0 && d <= 9 && p < end; d = bytes[p]! - 48) {
        ms += d * unit;
        unit = unit === 100 ? 10 : unit === 10 ? 1 : 0;
        p++;
      }
      if (p === from || p - from > 9) return NaN;
    }
  }
  const offset = zoneMinutes(bytes, p, end);
  return days * 86400000 + (hour * 60 + minute - offset) * 60000 + second * 1000 + ms;
}

/** Minutes east of UTC of `Z` or ±HH:MM, which must fill bytes[p..end); else NaN. */
function zoneMinutes(bytes: Uint8Array, p: number, end: number): number {
  const sign = bytes[p]!;
  if ((sign | 32) === 122) return end - p === 1 ? 0 : NaN;
  if ((sign !== 43 && sign !== 45) || end - p !== 6 || bytes[p + 3] !== 58) return NaN;
  const hours = two(bytes, p + 1),
    minutes = two(bytes, p + 4);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return NaN;
  return sign === 45 ? -(hours * 60 + minutes) : hours * 60 + minutes;
}
