/**
 * The record key of a JSON line: the text of one of its top-level fields. A string gives its decoded text (a UUID, by shape, in lower
 * case, as identities are compared), a number its text in the source, a boolean its name. Whatever is no JSON object, or has
 * no such field, gets no key.
 */
import { isUtf8 } from 'node:buffer';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function keyOf(line: Buffer, field: string): Buffer | null {
  if (!isUtf8(line)) return null;
  const text = line.toString('utf8');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) || !Object.hasOwn(parsed, field)) return null;
  const value = (parsed as Record<string, unknown>)[field];
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? Buffer.from(UUID.test(value) ? value.toLowerCase() : value) : null;
    case 'boolean':
      return Buffer.from(String(value));
    case 'number':
      return Buffer.from(sourceOf(text, field));
    default:
      return null;
  }
}

/** A reviver sees a value's source, and the object that holds it; the outermost object comes last of all. */
function sourceOf(text: string, field: string): string {
  const sources = new Map<unknown, string>();
  let source = '';
  const reviver = function (this: unknown, name: string, value: unknown, context: { source?: string }): unknown {
    if (name === field && context.source !== undefined) sources.set(this, context.source);
    if (name === '' && typeof value === 'object' && sources.has(value)) source = sources.get(value)!;
    return value;
  };
  JSON.parse(text, reviver as (this: unknown, name: string, value: unknown) => unknown);
  return source;
}
