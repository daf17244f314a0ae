/** A whole number out of an option's text, or a sentence that says what was expected. */
import { usage } from '../errors.ts';

export function wholeNumber(option: string, text: string, least: number, most: number): number {
  const n = Number(text);
  if (/^\d+$/.test(text) && n >= least && n <= most) return n;
  throw usage('E_USAGE', `${option} is a whole number from ${least} to ${most}, not ${text}`, `for example ${option} ${least}`);
}
