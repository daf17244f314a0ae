/**
 * Bounds of integers and numbers as exact decimal text. An integer format (i32, u8) is a pair of bounds; the tighter one
 * counts. A range in which no value lies is a mistake in the contract, not a rule.
 */
import { canonicalDecimal, decimalPlaces, scaled } from './decimal-text.ts';
import type { Path, YamlFile } from './yaml-file.ts';

export interface Bounds {
  minimum: string | null;
  maximum: string | null;
  exclusiveMinimum: string | null;
  exclusiveMaximum: string | null;
  multipleOf: string | null;
}
const KEYS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'] as const;
const INT64_MIN = -(2n ** 63n),
  INT64_MAX = 2n ** 63n - 1n;
const FORMATS: Readonly<Record<string, readonly [string, string] | null>> = {
  i8: ['-128', '127'],
  i16: ['-32768', '32767'],
  i32: ['-2147483648', '2147483647'],
  i64: null,
  u8: ['0', '255'],
  u16: ['0', '65535'],
  u32: ['0', '4294967295'],
  f64: null,
};

export function readBounds(yaml: YamlFile, path: Path, type: 'integer' | 'number', options: Readonly<Record<string, unknown>>): Bounds {
  const bounds: Bounds = { minimum: null, maximum: null, exclusiveMinimum: null, exclusiveMaximum: null, multipleOf: null };
  for (const key of KEYS) {
    if (options[key] !== undefined) bounds[key] = readDecimal(yaml, [...path, key], type, options[key]);
  }
  const format = options['format'];
  if (typeof format === 'string') addFormat(yaml, [...path, 'format'], format, bounds);
  checkRange(yaml, path, type, bounds);
  return bounds;
}

/** 10^-scale as a multipleOf makes a number a scaled integer; a Decimal64 has 18 places at most. */
export function scaleOf(multipleOf: string | null): number | null {
  if (multipleOf === null || !/^(10*|0\.0*1)$/.test(multipleOf)) return null;
  const places = decimalPlaces(multipleOf);
  return places <= 18 ? places : null;
}

function readDecimal(yaml: YamlFile, path: Path, type: 'integer' | 'number', value: unknown): string {
  const text = canonicalDecimal(yaml.text(path) ?? String(value));
  if (text === undefined) throw yaml.fault(path, `${String(value)} is not a decimal number`, 'Write it in decimal digits.');
  if (type === 'number') return text;
  if (decimalPlaces(text) > 0)
    throw yaml.fault(path, `${text} is not a whole number, but the field is an integer`, 'Write a whole number, or logicalType: number.');
  if (BigInt(text) < INT64_MIN || BigInt(text) > INT64_MAX)
    throw yaml.fault(path, `${text} is beyond 64 bits`, `Integers lie between ${INT64_MIN} and ${INT64_MAX}.`);
  return text;
}

function addFormat(yaml: YamlFile, path: Path, format: string, bounds: Bounds): void {
  const range = FORMATS[format];
  if (range === undefined) {
    throw yaml.fault(
      path,
      `format "${format}" is not checked by the gate`,
      `Checked are: ${Object.keys(FORMATS).join(', ')}; integers have 64 bits and a sign, numbers are doubles.`,
    );
  }
  if (range === null) return;
  if (bounds.minimum === null || BigInt(bounds.minimum) < BigInt(range[0])) bounds.minimum = range[0];
  if (bounds.maximum === null || BigInt(bounds.maximum) > BigInt(range[1])) bounds.maximum = range[1];
}

function checkRange(yaml: YamlFile, path: Path, type: 'integer' | 'number', b: Bounds): void {
  const given = [b.minimum, b.maximum, b.exclusiveMinimum, b.exclusiveMaximum, b.multipleOf].filter((v) => v !== null);
  const places = Math.max(0, ...given.map(decimalPlaces));
  const lows: bigint[] = [],
    highs: bigint[] = [];
  const grid = b.multipleOf !== null ? scaled(b.multipleOf, places) : type === 'integer' ? 1n : null;
  // Without a grid there is always a value between two different bounds: an exclusive one only forbids itself.
  const step = grid === null ? 0n : 1n;
  if (b.minimum !== null) lows.push(scaled(b.minimum, places));
  if (b.exclusiveMinimum !== null) lows.push(scaled(b.exclusiveMinimum, places) + step);
  if (b.maximum !== null) highs.push(scaled(b.maximum, places));
  if (b.exclusiveMaximum !== null) highs.push(scaled(b.exclusiveMaximum, places) - step);
  if (lows.length === 0 || highs.length === 0) return;
  const low = lows.reduce((x, y) => (x > y ? x : y)),
    high = highs.reduce((x, y) => (x < y ? x : y));
  const isTouching =
    grid === null && low === high && [b.exclusiveMinimum, b.exclusiveMaximum].some((v) => v !== null && scaled(v, places) === low);
  const isEmpty = low > high || isTouching || (grid !== null && floorTo(high, grid) < low);
  if (isEmpty) throw yaml.fault(path, `no value can pass: ${describe(b)}`, 'Correct the bounds: the lower one lies below the upper one.');
}

/** The greatest multiple of `grid` that is not above `value`. */
function floorTo(value: bigint, grid: bigint): bigint {
  const rest = ((value % grid) + grid) % grid;
  return value - rest;
}

const describe = (b: Bounds): string =>
  KEYS.filter((k) => b[k] !== null)
    .map((k) => `${k} ${b[k]}`)
    .join(', ');
