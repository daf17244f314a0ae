/** Where a value of the scanner is kept: the slot of its field, as text, a number of two words, or both. */
/** So many valid values are compared one by one; more are looked up. */
export const INLINE_VALUES = 8;

export interface Place {
  /** Index of the field in the contract, and so of its slot. */
  readonly at: number;
  /** Whether anything reads its slot. */
  readonly read: boolean;
  readonly isId: boolean;
}

export function keepText(place: Place): string[] {
  return place.read ? [`start[${place.at}] = s; end[${place.at}] = p;`] : [];
}

export function keepNumber(place: Place, lo: string, hi: string): string[] {
  return place.read ? [`lo[${place.at}] = ${lo}; hi[${place.at}] = ${hi};`] : [];
}

/** The integer `v` in two halves; a division and a product, for % on doubles costs ten times as much. */
export function splitLines(place: Place): string[] {
  return place.read ? ['w = Math.floor(v / 4294967296);', ...keepNumber(place, 'v - w * 4294967296', 'w')] : [];
}

export const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
