/**
 * One of a few valid texts, found without a guess: the first bytes, which all of them have, pick the only candidate from a small
 * table, and its words decide. (A chain of comparisons is mispredicted on nearly every event: 22 ns against 9.)
 * Row of the table: how long the text is, then for each four bytes a mask and what must stand there, the closing quote included.
 */
import { utf8 } from './literal-text.ts';

export interface Choice {
  readonly table: Int32Array;
  /** Of the first four bytes: what the hash may look at. */
  readonly mask: number;
  readonly multiplier: number;
  readonly shift: number;
  readonly words: number;
}

const VALUES_MAX = 64,
  WORDS_MAX = 4,
  TRIES = 4000;

/** null: too many or too long, or alike at their beginning. */
export function choiceOf(values: readonly string[]): Choice | null {
  const texts = [...new Set(values)].map((value) => utf8(`${value}"`));
  const longest = Math.max(...texts.map((t) => t.length)),
    shortest = Math.min(4, ...texts.map((t) => t.length));
  if (texts.length === 0 || texts.length > VALUES_MAX || longest > 4 * WORDS_MAX) return null;
  const words = Math.ceil(longest / 4),
    stride = 1 + 2 * words;
  const mask = shortest === 4 ? -1 : 2 ** (8 * shortest) - 1;
  const rows = texts.map((text) => rowOf(text, words));
  const bits = Math.ceil(Math.log2(texts.length)) + 2;
  let multiplier = 0x9e3779b1 | 0;
  for (let attempt = 0; attempt < TRIES; attempt++, multiplier = (Math.imul(multiplier, 0x2c9277b5) + 0x1d2f3b46) | 1) {
    const places = rows.map((row) => Math.imul(row[2]! & mask, multiplier) >>> (32 - bits));
    if (new Set(places).size !== places.length) continue;
    // An empty row has a mask of zero and asks for one: nothing passes it.
    const table = new Int32Array(stride << bits).fill(0);
    for (let j = 2; j < table.length; j += stride) table[j] = 1;
    for (const [r, row] of rows.entries()) table.set(row, places[r]! * stride);
    return { table, mask, multiplier, shift: 32 - bits, words };
  }
  return null;
}

function rowOf(text: Buffer, words: number): number[] {
  const row = [text.length - 1];
  for (let w = 0; w < words; w++) {
    let mask = 0,
      word = 0;
    for (let j = 0; j < 4 && 4 * w + j < text.length; j++) {
      mask |= 255 << (8 * j);
      word |= text[4 * w + j]! << (8 * j);
    }
    row.push(mask, word);
  }
  return row;
}
