/**
 * Decimal numbers as text, exactly: bounds of 64-bit fields do not fit a double. Canonical: no exponent, no plus sign, no
 * zeros that say nothing, so that 1e3 and 1000.0 are one bound and one digest.
 */
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/;
const PLACES_MAX = 400;

/** undefined: not a decimal number of a size that a JSON number can have. */
export function canonicalDecimal(text: string): string | undefined {
  const parts = DECIMAL.exec(text);
  if (parts === null) return undefined;
  const whole = parts[2]!,
    fraction = parts[3] ?? '',
    exponent = Number(parts[4] ?? 0);
  if (whole === '' && fraction === '') return undefined;
  const places = fraction.length - exponent;
  if (Math.abs(places) > PLACES_MAX || whole.length > PLACES_MAX) return undefined;
  const digits = `${whole}${fraction}${'0'.repeat(Math.max(0, -places))}`.padStart(Math.max(0, places) + 1, '0');
  const point = digits.length - Math.max(0, places);
  const before = digits.slice(0, point).replace(/^0+(?=\d)/, ''),
    after = digits.slice(point).replace(/0+$/, '');
  const value = after === '' ? before : `${before}.${after}`;
  return parts[1] === '-' && value !== '0' ? `-${value}` : value;
}

/** Digits after the point of a canonical decimal. */
export function decimalPlaces(text: string): number {
  const point = text.indexOf('.');
  return point < 0 ? 0 : text.length - point - 1;
}

/** value x 10^places; `places` is at least the value's own. */
export function scaled(text: string, places: number): bigint {
  const own = decimalPlaces(text);
  return BigInt(text.replace('.', '')) * 10n ** BigInt(places - own);
}
