/** Generated code for numbers: an integer, a scaled decimal or a double at `p` is read, held to its bounds and kept in its slot. */
import { decimalOf, INT64_MAX, INT64_MIN, integerBound } from './decimal.ts';
import type { Field } from './model.ts';
import { indented, INLINE_VALUES, keepNumber, type Place, splitLines } from './scanner-place.ts';

const SHORT_MAX = 10n ** 9n - 1n,
  DECIMAL_MAX = 10n ** 15n - 1n;

interface Bounds {
  readonly low: bigint;
  readonly high: bigint;
}

/** All bounds of a field as integers at its scale, 64 bits included. */
function bounds(field: Field, scale: number): Bounds {
  let low = INT64_MIN,
    high = INT64_MAX;
  const raise = (to: bigint): void => void (low = to > low ? to : low);
  const lower = (to: bigint): void => void (high = to < high ? to : high);
  if (field.minimum !== null) raise(integerBound(decimalOf(field.minimum), scale, true));
  if (field.exclusiveMinimum !== null) raise(integerBound(decimalOf(field.exclusiveMinimum), scale, false) + 1n);
  if (field.maximum !== null) lower(integerBound(decimalOf(field.maximum), scale, false));
  if (field.exclusiveMaximum !== null) lower(integerBound(decimalOf(field.exclusiveMaximum), scale, true) - 1n);
  return { low, high };
}

/** Lines for a value `x` of at most `limit` in size, so that bounds outside of it need no test and all others are exact doubles. */
function boundLines(b: Bounds, x: string, most: bigint): string[] {
  if (b.low > most || b.high < -most) return ['return false; // out of bounds whatever it is'];
  const lines: string[] = [];
  if (b.low > -most) lines.push(`if (${x} < ${b.low}) return false;`);
  if (b.high < most) lines.push(`if (${x} > ${b.high}) return false;`);
  return lines;
}

/** The integer m for which "x at this scale is a multiple of multipleOf" means x % m === 0; null: none that fits. */
function divisor(field: Field, scale: number): bigint | null {
  if (field.multipleOf === null) return 1n;
  const unit = decimalOf(field.multipleOf);
  const exponent = unit.exponent + scale;
  if (unit.digits === '' || Math.abs(exponent) > 30 || unit.digits.length > 15) return null;
  if (exponent >= 0) return BigInt(unit.digits) * 10n ** BigInt(exponent);
  let a = BigInt(unit.digits),
    b = 10n ** BigInt(-exponent);
  while (b > 0n) [a, b] = [b, a % b];
  return BigInt(unit.digits) / a;
}

function validNumberLines(field: Field, x: string): string[] {
  if (field.validValues === null) return [];
  const numbers = field.validValues.filter((v) => typeof v === 'number');
  if (numbers.length > INLINE_VALUES) return ['return false; // many valid numbers: the slow path'];
  return [`if (${numbers.map((n) => `${x} !== ${n}`).join(' && ') || 'true'}) return false; // valid: ${numbers.join(', ')}`];
}

export function integerLines(field: Field, place: Place): string[] {
  const b = bounds(field, 0);
  const unit = divisor(field, 0);
  const signed = b.low < 0n;
  const word = (n: bigint): string => `${n >> 32n}, ${n & 0xffffffffn}`;
  const long =
    field.validValues !== null || unit !== 1n
      ? ['return false; // more than nine digits, and more rules than bounds: the slow path']
      : [
          `p = longInteger(bytes, s, limit, ${signed ? 'minus' : 'false'}, pair);`,
          'if (p < 0) return false;',
          ...(b.low > -(10n ** 18n) ? [`if (below(pair[1], pair[0], ${word(b.low)})) return false;`] : []),
          ...(b.high < 10n ** 18n ? [`if (below(${word(b.high)}, pair[1], pair[0])) return false;`] : []),
          ...keepNumber(place, 'pair[0]', 'pair[1]'),
        ];
  const x = signed ? 'x' : 'w';
  return [
    ...(signed ? ['const minus = bytes[p] === 45; if (minus) p++;'] : []),
    's = p; w = 0;',
    'while ((c = bytes[p] - 48) >= 0 && c <= 9 && p - s < 9) { w = (Math.imul(w, 10) + c) | 0; p++; }',
    'if (p === s || (p - s > 1 && bytes[s] === 48)) return false;',
    'if (c >= 0 && c <= 9) {',
    ...indented(long),
    '} else {',
    ...indented([
      ...(signed ? ['const x = minus ? 0 - w : w;'] : []),
      ...boundLines(b, x, SHORT_MAX),
      ...(unit === 1n
        ? []
        : unit === null || unit > SHORT_MAX
          ? ['return false; // multipleOf: the slow path']
          : [`if (${x} % ${unit} !== 0) return false;`]),
      ...validNumberLines(field, x),
      ...(signed ? keepNumber(place, 'x < 0 ? x + 4294967296 : x', 'x < 0 ? -1 : 0') : keepNumber(place, 'w', '0')),
    ]),
    '}',
  ];
}

export function numberLines(field: Field, place: Place): string[] {
  return field.scale === null ? plainNumberLines(field, place) : scaledLines(field, place, field.scale);
}

function multipleLines(field: Field, scale: number): string[] {
  const unit = divisor(field, scale);
  if (unit === 1n) return [];
  return unit === null || unit > DECIMAL_MAX ? ['return false; // multipleOf: the slow path'] : [`if (v % ${unit} !== 0) return false;`];
}

function scaledLines(field: Field, place: Place, scale: number): string[] {
  if (scale < 0 || scale > 15) return ['return false; // this scale: the slow path'];
  return [
    'p = shortDecimal(bytes, p, limit, pair);',
    `if (p < 0 || pair[1] > ${scale}) return false;`,
    `v = pair[0] * POWER[${scale} - pair[1]] + 0; // at scale ${scale}`,
    'if (v > 999999999999999 || v < -999999999999999) return false;',
    ...boundLines(bounds(field, scale), 'v', DECIMAL_MAX),
    ...multipleLines(field, scale),
    ...(field.validValues === null ? [] : validNumberLines(field, `v / POWER[${scale}]`)),
    ...splitLines(place),
  ];
}

/** A bound as a double; on the double itself only a short decimal decides, which has no second text of its length. */
function plainBound(text: string | null, inside: '<' | '>', open: boolean): string[] {
  if (text === null) return [];
  const bound = decimalOf(text);
  const double = Number(`${bound.negative ? '-' : ''}${bound.digits || '0'}e${bound.exponent}`);
  const vanished = double === 0 && bound.digits !== '';
  const onIt =
    open || vanished || bound.digits.length > 15 || !Number.isFinite(double) ? `v === ${double}` : `(v === ${double} && pair[1] < 0)`;
  return [`if (v ${inside} ${double} || ${onIt}) return false;`];
}

function plainNumberLines(field: Field, place: Place): string[] {
  const scale = field.multipleOf === null ? 0 : Math.max(0, -decimalOf(field.multipleOf).exponent);
  const checked = field.multipleOf !== null || field.validValues !== null;
  const long = checked
    ? ['return false;']
    : ['p = longDecimal(bytes, s, limit, pair);', 'if (p < 0) return false;', 'pair[1] = -1; v = pair[0];'];
  const multiple =
    field.multipleOf === null
      ? []
      : scale > 15
        ? ['return false; // multipleOf: the slow path']
        : [
            `if (pair[1] > ${scale}) return false;`,
            `v = pair[0] * POWER[${scale} - pair[1]];`,
            'if (v > 999999999999999 || v < -999999999999999) return false;',
            ...multipleLines(field, scale),
          ];
  return [
    's = p;',
    'p = shortDecimal(bytes, s, limit, pair);',
    'if (p < 0) {',
    ...indented(long),
    '} else {',
    ...indented([...multiple, 'v = pair[0] / POWER[pair[1]] + 0;']),
    '}',
    ...plainBound(field.minimum, '<', false),
    ...plainBound(field.exclusiveMinimum, '<', true),
    ...plainBound(field.maximum, '>', false),
    ...plainBound(field.exclusiveMaximum, '>', true),
    ...validNumberLines(field, 'v'),
    ...keepNumber(place, 'v', '0'),
  ];
}
