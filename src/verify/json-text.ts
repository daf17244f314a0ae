/**
 * What a record's bytes say: one JSON object, or null when they are not (UNPARSEABLE). JSON.parse gives the values; a small walk
 * over the same text gives what it keeps silent about: the source text of numbers, keys named twice, unpaired surrogates, depth.
 */
export interface JsonObject {
  readonly values: Readonly<Record<string, unknown>>;
  /** Source text of the top level's numbers. */
  readonly numbers: ReadonlyMap<string, string>;
}

export const DEPTH_MAX = 512;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function readObject(bytes: Uint8Array): JsonObject | null {
  try {
    const text = decoder.decode(bytes);
    const values: unknown = JSON.parse(text);
    if (values === null || typeof values !== 'object' || Array.isArray(values)) return null;
    const numbers = walk(text);
    return numbers === null ? null : { values: values as Record<string, unknown>, numbers };
  } catch {
    return null;
  }
}

const QUOTE = 34,
  COMMA = 44,
  COLON = 58,
  OPEN_LIST = 91,
  BACKSLASH = 92,
  CLOSE_LIST = 93,
  OPEN = 123,
  CLOSE = 125;

/** Index of the closing quote of the string that opens at `from`. */
function stringEnd(text: string, from: number): number {
  for (let i = from + 1; ; i++) {
    i = text.indexOf('"', i);
    let slashes = 0;
    while (text.charCodeAt(i - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return i;
  }
}

/** The string's value; null when it holds an unpaired surrogate. */
function stringValue(text: string, from: number, end: number): string | null {
  const raw = text.slice(from + 1, end);
  if (!raw.includes('\\')) return raw;
  const value = JSON.parse(text.slice(from, end + 1)) as string;
  return value.isWellFormed() ? value : null;
}

/** Walks text that JSON.parse took. null: a key twice, an unpaired surrogate, or nested too deep. */
function walk(text: string): Map<string, string> | null {
  const numbers = new Map<string, string>();
  const names: (Set<string> | null)[] = [];
  let key = '',
    expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      const end = stringEnd(text, i);
      const value = stringValue(text, i, end);
      if (value === null) return null;
      i = end;
      if (!expectKey) continue;
      const here = names[names.length - 1]!;
      if (here.has(value)) return null;
      here.add(value);
      key = value;
      expectKey = false;
    } else if (c === OPEN || c === OPEN_LIST) {
      names.push(c === OPEN ? new Set() : null);
      if (names.length > DEPTH_MAX) return null;
      expectKey = c === OPEN;
    } else if (c === CLOSE || c === CLOSE_LIST) {
      names.pop();
      expectKey = false;
    } else if (c === COMMA) {
      expectKey = names[names.length - 1] !== null;
    } else if (c !== COLON && (c === 45 || (c >= 48 && c <= 57))) {
      const start = i;
      while (isNumberPart(text.charCodeAt(i + 1))) i++;
      if (names.length === 1) numbers.set(key, text.slice(start, i + 1));
    }
  }
  return numbers;
}

function isNumberPart(c: number): boolean {
  return (c >= 48 && c <= 57) || c === 46 || c === 45 || c === 43 || c === 69 || c === 101;
}
