/**
 * The verdict of a contract on one record, recomputed from the rules: either a code and a field, or the typed values of all the
 * contract's fields. Fields are asked in the contract's order, and of each MISSING_FIELD, TYPE_MISMATCH, VALUE_OUT_OF_RANGE and
 * INVALID_VALUE in this order; the first that is broken is the verdict. Values: integers and scaled numbers are exact (a
 * bigint when beyond 2^53), other numbers doubles, times epoch milliseconds; null is an absent optional field.
 */
import { compare, isInteger, isMultiple, parseDecimal, scaled } from './decimal.ts';
import type { Decimal } from './decimal.ts';
import { formatHolds, parseDate, parseTime, TIME_MAX, TIME_MIN } from './formats.ts';
import { readObject } from './json-text.ts';
import type { JsonObject } from './json-text.ts';
import type { Code, Contract, Field } from '../../topology/contract/model.ts';

export type Value = string | number | bigint | boolean | null;
export interface Refusal {
  readonly code: Code;
  readonly field: string;
}
type Broken = 'MISSING_FIELD' | 'TYPE_MISMATCH' | 'VALUE_OUT_OF_RANGE' | 'INVALID_VALUE';

interface Bounds {
  readonly minimum: Decimal | null;
  readonly maximum: Decimal | null;
  readonly above: Decimal | null;
  readonly below: Decimal | null;
  readonly multipleOf: Decimal | null;
  readonly valid: readonly Decimal[] | null;
  /** Bounds as doubles, for integers that are safe; infinite where there is none. null: only the exact way will do. */
  readonly safe: { readonly from: number; readonly to: number } | null;
}
interface Rule {
  readonly field: Field;
  readonly bounds: Bounds;
  readonly patterns: readonly RegExp[];
}
export type Judge = (value: Buffer | null) => Refusal | Value[];

export function makeJudge(contract: Contract, maxRecordBytes: number): Judge {
  const rules = contract.fields.map(makeRule);
  return (bytes) => {
    if (bytes !== null && bytes.length > maxRecordBytes) return { code: 'OVERSIZE', field: '' };
    const object = bytes === null ? null : readObject(bytes);
    if (object === null) return { code: 'UNPARSEABLE', field: '' };
    const values: Value[] = [];
    for (const rule of rules) {
      const outcome = judgeField(rule, object);
      if (outcome instanceof Violation) return { code: outcome.code, field: rule.field.name };
      values.push(outcome);
    }
    return values;
  };
}

class Violation {
  readonly code: Broken;
  constructor(code: Broken) {
    this.code = code;
  }
}
const MISSING = new Violation('MISSING_FIELD'),
  TYPE = new Violation('TYPE_MISMATCH');
const RANGE = new Violation('VALUE_OUT_OF_RANGE'),
  INVALID = new Violation('INVALID_VALUE');

function makeRule(field: Field): Rule {
  const patterns = [field.pattern, field.validPattern].filter((p) => p !== null).map((p) => new RegExp(p, 'u'));
  return { field, bounds: makeBounds(field), patterns };
}

function makeBounds(f: Field): Bounds {
  const of = (text: string | null): Decimal | null => (text === null ? null : parseDecimal(text));
  const minimum = of(f.minimum),
    maximum = of(f.maximum),
    above = of(f.exclusiveMinimum),
    below = of(f.exclusiveMaximum);
  const multipleOf = of(f.multipleOf);
  const numeric = f.type === 'integer' || f.type === 'number';
  const valid = f.validValues === null || !numeric ? null : f.validValues.map((v) => parseDecimal(String(v)));
  const simple = above === null && below === null && (multipleOf === null || f.type === 'number') && valid === null;
  const bound = (text: string | null, none: number): number => (text === null ? none : Number(text));
  const from = bound(f.minimum, -Infinity),
    to = bound(f.maximum, Infinity);
  const exact = (n: number): boolean => !Number.isFinite(n) || Number.isSafeInteger(n);
  return { minimum, maximum, above, below, multipleOf, valid, safe: simple && exact(from) && exact(to) ? { from, to } : null };
}

function judgeField(rule: Rule, object: JsonObject): Value | Violation {
  const { field } = rule;
  const value = Object.hasOwn(object.values, field.name) ? object.values[field.name] : null;
  if (value === null) return field.required ? MISSING : null;
  switch (field.type) {
    case 'string':
      return typeof value === 'string' ? judgeString(rule, value) : TYPE;
    case 'boolean':
      if (typeof value !== 'boolean') return TYPE;
      return field.validValues === null || field.validValues.includes(value) ? value : INVALID;
    case 'integer':
    case 'number':
      return typeof value === 'number' ? judgeNumber(rule, object.numbers.get(field.name)!) : TYPE;
    case 'timestamp':
      return judgeTime(field, value, object);
    case 'date':
      return judgeDate(rule, value);
  }
}

function codePoints(text: string): number {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

function judgeString(rule: Rule, text: string): Value | Violation {
  const { field } = rule;
  if (field.minLength !== null || field.maxLength !== null) {
    const n = codePoints(text);
    if (n < (field.minLength ?? 0) || n > (field.maxLength ?? Infinity)) return RANGE;
  }
  for (const pattern of rule.patterns) if (!pattern.test(text)) return INVALID;
  if (field.format !== null && !formatHolds(field.format, text)) return INVALID;
  return field.validValues === null || field.validValues.includes(text) ? text : INVALID;
}

const SHORT_INTEGER = /^-?\d{1,15}$/;

function judgeNumber(rule: Rule, source: string): Value | Violation {
  const { field, bounds } = rule;
  if (bounds.safe !== null && field.scale === 0 && SHORT_INTEGER.test(source)) {
    const n = Number(source);
    return n >= bounds.safe.from && n <= bounds.safe.to ? n + 0 : RANGE;
  }
  const exact = parseDecimal(source);
  if (field.type === 'integer' && !isInteger(exact)) return TYPE;
  let value: Value = Number(source);
  if (field.scale !== null) {
    const digits = scaled(exact, field.scale);
    if (digits === 'fraction' || digits === 'range') return RANGE;
    value = BigInt(Number.MIN_SAFE_INTEGER) <= digits && digits <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(digits) : digits;
  } else if (!Number.isFinite(value)) return RANGE;
  if (outside(bounds, exact)) return RANGE;
  return bounds.valid === null || bounds.valid.some((v) => compare(v, exact) === 0) ? value : INVALID;
}

function outside(b: Bounds, d: Decimal): boolean {
  if (b.minimum !== null && compare(d, b.minimum) < 0) return true;
  if (b.maximum !== null && compare(d, b.maximum) > 0) return true;
  if (b.above !== null && compare(d, b.above) <= 0) return true;
  if (b.below !== null && compare(d, b.below) >= 0) return true;
  return b.multipleOf !== null && !isMultiple(d, b.multipleOf);
}

function inTime(field: Field, ms: number): boolean {
  return ms >= Math.max(TIME_MIN, field.notBefore ?? TIME_MIN) && ms <= Math.min(TIME_MAX, field.notAfter ?? TIME_MAX);
}

function judgeTime(field: Field, value: unknown, object: JsonObject): Value | Violation {
  const ms = timeOf(field, value, object);
  if (typeof ms !== 'number' || field.validValues === null) return ms;
  return field.validValues.some((v) => (typeof v === 'number' ? v : parseTime(String(v))) === ms) ? ms : INVALID;
}

function timeOf(field: Field, value: unknown, object: JsonObject): number | Violation {
  if (field.time === 'epoch_millis') {
    if (typeof value !== 'number') return TYPE;
    const exact = parseDecimal(object.numbers.get(field.name)!);
    if (!isInteger(exact)) return TYPE;
    const ms = scaled(exact, 0);
    return typeof ms === 'bigint' && inTime(field, Number(ms)) ? Number(ms) : RANGE;
  }
  if (typeof value !== 'string') return TYPE;
  const ms = parseTime(value);
  if (ms === null) return INVALID;
  return inTime(field, ms) ? ms : RANGE;
}

function judgeDate(rule: Rule, value: unknown): Value | Violation {
  if (typeof value !== 'string') return TYPE;
  const ms = parseDate(value);
  if (ms === null) return INVALID;
  if (!inTime(rule.field, ms)) return RANGE;
  return rule.field.validValues === null || rule.field.validValues.includes(value) ? value : INVALID;
}
