/**
 * Decimal numbers by their source text: sign, digits without outer zeros, and a power of ten. Nothing is rounded and
 * nothing is expanded: `1e999999999` costs as much as `1`. Serves the slow path and the compilation of bounds;
 * invariant: value = ±digits x 10^exponent, and zero has no digits and no sign.
 */
export interface Decimal {
  readonly negative: boolean;
  readonly digits: string;
  readonly exponent: number;
}

const ZERO: Decimal = { negative: false, digits: '', exponent: 0 };
const SYNTAX = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;
/** Larger than any shift that the digits of one record can cause, so that a saturated exponent still decides. */
const EXPONENT_MAX = 1e12;

export const INT64_MIN = -(2n ** 63n),
  INT64_MAX = 2n ** 63n - 1n;

/** null: not a number. Takes JSON's notation and what YAML adds to it (`+1`, `.5`, `5.`). */
export function parseDecimal(text: string): Decimal | null {
  const parts = SYNTAX.exec(text);
  if (parts === null) return null;
  const whole = parts[2] ?? '',
    fraction = parts[3] ?? '';
  if (whole.length + fraction.length === 0) return null;
  const all = whole + fraction;
  let from = 0,
    to = all.length;
  while (from < to && all.charCodeAt(from) === 48) from++;
  if (from === to) return ZERO;
  while (all.charCodeAt(to - 1) === 48) to--;
  const written = Math.max(-EXPONENT_MAX, Math.min(EXPONENT_MAX, Number(parts[4] ?? '0')));
  return { negative: parts[1] === '-', digits: all.slice(from, to), exponent: written - fraction.length + (all.length - to) };
}

/** Of a contract's own number, which was checked when the contract was read. */
export function decimalOf(text: string): Decimal {
  const value = parseDecimal(text);
  if (value === null) throw new Error(`not a decimal number: ${text}`);
  return value;
}

export function isInteger(value: Decimal): boolean {
  return value.exponent >= 0;
}

/** Negative, 0 or positive, as a - b is. */
export function compareDecimal(a: Decimal, b: Decimal): number {
  const signA = a.digits === '' ? 0 : a.negative ? -1 : 1,
    signB = b.digits === '' ? 0 : b.negative ? -1 : 1;
  if (signA !== signB) return signA - signB;
  const magnitude = a.digits.length + a.exponent - (b.digits.length + b.exponent);
  if (magnitude !== 0) return magnitude * signA;
  return a.digits === b.digits ? 0 : a.digits < b.digits ? -signA : signA;
}

/** value x 10^scale as a 64-bit integer; 'fraction': it is none; 'wide': it is one, beyond 64 bits. */
export function scaledInteger(value: Decimal, scale: number): bigint | 'fraction' | 'wide' {
  if (value.digits === '') return 0n;
  const exponent = value.exponent + scale;
  if (exponent < 0) return 'fraction';
  const length = value.digits.length + exponent;
  if (length > 19) return 'wide';
  if (length <= 15) return BigInt((value.negative ? -1 : 1) * Number(`${value.digits}e${exponent}`));
  const magnitude = BigInt(value.digits) * 10n ** BigInt(exponent);
  const result = value.negative ? -magnitude : magnitude;
  return result < INT64_MIN || result > INT64_MAX ? 'wide' : result;
}

/** Whether value is a whole multiple of `unit` > 0. The digits have no zero at their end, so they hold no factor of ten. */
export function isMultiple(value: Decimal, unit: Decimal): boolean {
  if (value.digits === '') return true;
  const shift = value.exponent - unit.exponent;
  if (shift < 0 || unit.digits === '') return false;
  const modulus = BigInt(unit.digits);
  let rest = 0n;
  for (let at = 0; at < value.digits.length; at += 15) {
    const chunk = value.digits.slice(at, at + 15);
    rest = (rest * 10n ** BigInt(chunk.length) + BigInt(chunk)) % modulus;
  }
  let power = 10n % modulus;
  for (let left = shift; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) rest = (rest * power) % modulus;
    power = (power * power) % modulus;
  }
  return rest === 0n;
}

/** The least (`up`) or greatest integer that is not below, or above, value x 10^scale; clamped to just outside 64 bits. */
export function integerBound(value: Decimal, scale: number, up: boolean): bigint {
  if (value.digits === '') return 0n;
  const exponent = value.exponent + scale;
  const magnitude = value.digits.length + exponent;
  if (magnitude > 20) return value.negative ? INT64_MIN - 1n : INT64_MAX + 1n;
  if (magnitude <= 0) return value.negative ? (up ? 0n : -1n) : up ? 1n : 0n;
  const whole = exponent >= 0 ? BigInt(value.digits) * 10n ** BigInt(exponent) : BigInt(value.digits.slice(0, magnitude));
  const signed = value.negative ? -whole : whole;
  if (exponent >= 0) return signed;
  if (value.negative) return up ? signed : signed - 1n;
  return up ? signed + 1n : signed;
}
