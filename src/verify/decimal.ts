/**
 * Exact decimals, as text says them: digits x 10^-scale. Numbers are judged and compared by what stands in the source, never by
 * the double nearest to it. Exponents are not written out before they are known to be small.
 */
export interface Decimal {
  readonly digits: bigint;
  /** Decimal places; negative: zeros at the end that are not written out. */
  readonly scale: number;
}

/** Beyond the length of any text, so that a larger exponent decides as this one does. */
const EXPONENT_MAX = 1e12;

/** Text in JSON's number grammar (a sign, digits, fraction, exponent), normalised: no zeros at the end of the digits. */
export function parseDecimal(text: string): Decimal {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) throw new Error(`not a number: ${text}`);
  const fraction = match[3] ?? '';
  const all = `${match[2] ?? ''}${fraction}`,
    bare = all.replace(/0+$/, '');
  if (/^0*$/.test(bare)) return { digits: 0n, scale: 0 };
  const digits = BigInt(bare);
  const exponent = Math.max(-EXPONENT_MAX, Math.min(EXPONENT_MAX, Number(match[4] ?? '0')));
  return { digits: match[1] === '-' ? -digits : digits, scale: fraction.length - exponent - (all.length - bare.length) };
}

const length = (d: Decimal): number => (d.digits < 0n ? -d.digits : d.digits).toString().length;

/** Position of the first digit before (positive) or behind the point: 1234 is 4, 0.1 is 0. */
const magnitude = (d: Decimal): number => length(d) - d.scale;

function compareDigits(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function compare(a: Decimal, b: Decimal): number {
  const left = compareDigits(a.digits, 0n),
    right = compareDigits(b.digits, 0n);
  if (left !== right) return left < right ? -1 : 1;
  if (left === 0) return 0;
  const byMagnitude = magnitude(a) - magnitude(b);
  if (byMagnitude !== 0) return byMagnitude > 0 ? left : -left;
  // The same magnitude: the scales differ by no more than the texts are long.
  const scale = Math.max(a.scale, b.scale);
  return compareDigits(a.digits * 10n ** BigInt(scale - a.scale), b.digits * 10n ** BigInt(scale - b.scale));
}

export const isInteger = (d: Decimal): boolean => d.scale <= 0;

/** d x 10^scale when that is an integer of 64 bits; 'fraction' or 'range' when not. */
export function scaled(d: Decimal, scale: number): bigint | 'fraction' | 'range' {
  if (d.digits === 0n) return 0n;
  if (d.scale > scale) return 'fraction';
  if (magnitude(d) + scale > 19) return 'range';
  const value = d.digits * 10n ** BigInt(scale - d.scale);
  return BigInt.asIntN(64, value) === value ? value : 'range';
}

export function isMultiple(d: Decimal, of: Decimal): boolean {
  if (d.digits === 0n) return true;
  // Digits do not end in a zero: what has more places than `of` cannot be a whole number of it.
  if (d.scale > of.scale) return false;
  return (d.digits * 10n ** BigInt(of.scale - d.scale)) % of.digits === 0n;
}
