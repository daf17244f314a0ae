/**
 * Source text for generated code: names in comments, and tests that a place in the record holds given bytes. A test loads
 * eight bytes at once as a double (ASCII is never NaN, so === compares all bits), the last load overlapping the one before it.
 */

/** JSON of a text in printable ASCII, safe in a comment and in a string of generated code. */
export function quoted(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** `at + n`, shorter. */
function plus(at: string, n: number): string {
  return n === 0 ? at : `${at} + ${n}`;
}

/**
 * An expression that is true when the bytes at `at` are `literal`; whoever uses it has asked before that so many bytes are there.
 */
export function bytesAre(literal: Uint8Array, at: string): string {
  const view = new DataView(literal.buffer, literal.byteOffset, literal.byteLength);
  const n = literal.length;
  const ascii = literal.every((c) => c >= 32 && c < 127);
  const width = n >= 8 && ascii ? 8 : n >= 4 ? 4 : 1;
  const tests: string[] = [];
  for (let j = 0; j < n; j += width) {
    const from = Math.min(j, n - width);
    if (width === 8) tests.push(`view.getFloat64(${plus(at, from)}, true) === ${view.getFloat64(from, true)}`);
    else if (width === 4) tests.push(`view.getInt32(${plus(at, from)}, true) === ${view.getInt32(from, true)}`);
    else tests.push(`bytes[${plus(at, from)}] === ${literal[from]}`);
  }
  return tests.length === 0 ? 'true' : tests.join(' && ');
}

export function utf8(text: string): Buffer {
  return Buffer.from(text, 'utf8');
}
