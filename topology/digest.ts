/**
 * Plain data in, its SHA-256 out: the same for the same meaning on every machine, whatever the order in which keys were
 * written. Digests of contracts and plans are stored with every run; to change this text is to make every state unreadable.
 */
import { createHash } from 'node:crypto';
import type { Plan } from './plan.ts';

type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

export function digestOf(value: unknown): string {
  return createHash('sha256')
    .update(canonicalJson(value as Plain))
    .digest('hex');
}

/** `sources[].digest` covers the contracts, so that a plan digest changes when a contract's meaning does. */
export const planDigest = (plan: Plan): string => digestOf(plan);

/** JSON without white space, the keys of every object in code unit order. */
function canonicalJson(value: Plain): string {
  if (Array.isArray(value)) return `[${value.map((v) => canonicalJson(v)).join(',')}]`;
  if (value === null || typeof value !== 'object') {
    if (typeof value === 'number' && !Number.isFinite(value)) throw new Error('a number without JSON text in digested data');
    return JSON.stringify(value);
  }
  const keys = Object.keys(value).sort();
  return `{${keys.map((k) => `${JSON.stringify(k)}:${canonicalJson((value as Record<string, Plain>)[k]!)}`).join(',')}}`;
}
