/**
 * Patterns that bytes can be checked against without a regular expression: `^`, then ASCII letters, escapes, \d, \w and classes, each
 * with an optional quantifier, then `$`. What comes out is used to accept only: each step takes as many bytes as it may and never goes
 * back, so what it accepts the pattern accepts too, and what it misses the slow path decides. null: not of this kind.
 */
export interface ByteStep {
  /** Inclusive ranges of bytes that stand for themselves in a JSON string. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly min: number;
  readonly max: number;
}

const ESCAPED = /[\^$\\.*+?()[\]{}|/]/;
const WORD: [number, number][] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const DIGIT: [number, number][] = [[48, 57]];

export function bytePattern(pattern: string): ByteStep[] | null {
  if (!pattern.startsWith('^') || !pattern.endsWith('$') || pattern.endsWith('\\$')) return null;
  const text = pattern.slice(1, -1);
  const steps: ByteStep[] = [];
  let p = 0;
  while (p < text.length) {
    const atom = text[p] === '[' ? readClass(text, p + 1) : readLetter(text, p, false);
    if (atom === null) return null;
    p = atom.end;
    const quantifier = /^(?:\{(\d{1,4})(?:(,)(\d{1,4})?)?\}|([*+?]))(?![?+*])/.exec(text.slice(p));
    let min = 1,
      max = 1;
    if (quantifier !== null) {
      p += quantifier[0].length;
      const [, least, comma, most, sign] = quantifier;
      min = sign === undefined ? Number(least) : sign === '+' ? 1 : 0;
      max = sign === undefined ? (comma === undefined ? min : most === undefined ? Infinity : Number(most)) : sign === '?' ? 1 : Infinity;
    } else if (/^[{*+?]/.test(text.slice(p))) return null;
    steps.push({ ranges: atom.ranges, min, max });
  }
  return steps;
}

interface Atom {
  readonly ranges: [number, number][];
  readonly end: number;
}

/** One letter or escape at `p`; inside a class the usual special letters stand for themselves. */
function readLetter(text: string, p: number, inClass: boolean): Atom | null {
  const letter = text[p]!;
  if (letter === '\\') {
    const next = text[p + 1] ?? '';
    if (next === 'd') return { ranges: DIGIT, end: p + 2 };
    if (next === 'w') return { ranges: WORD, end: p + 2 };
    if (next !== '' && (ESCAPED.test(next) || (next === '-' && inClass))) return single(next, p + 2);
    return null;
  }
  if (inClass ? letter === '[' || letter === '^' : ESCAPED.test(letter) && letter !== '/') return null;
  return single(letter, p + 1);
}

/** A quote or a backslash is escaped in JSON, so no byte stands for it: such a step is left without it. */
function single(letter: string, end: number): Atom | null {
  const c = letter.charCodeAt(0);
  if (c < 32 || c > 126) return null;
  return { ranges: c === 34 || c === 92 ? [] : [[c, c]], end };
}

function readClass(text: string, p: number): Atom | null {
  const ranges: [number, number][] = [];
  if (text[p] === '^') return null;
  while (p < text.length && text[p] !== ']') {
    const from = readLetter(text, p, true);
    if (from === null) return null;
    p = from.end;
    if (text[p] === '-' && text[p + 1] !== ']') {
      const to = readLetter(text, p + 1, true);
      const one = from.ranges[0],
        other = to?.ranges[0];
      if (to === null || one === undefined || other === undefined || one[0] !== one[1] || other[0] !== other[1]) return null;
      for (let c = one[0]; c <= other[0]; c++) if (c !== 34 && c !== 92) ranges.push([c, c]);
      p = to.end;
    } else ranges.push(...from.ranges);
  }
  return p < text.length ? { ranges: merged(ranges), end: p + 1 } : null;
}

function merged(ranges: [number, number][]): [number, number][] {
  const all: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = all.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else all.push([from, to]);
  }
  return all;
}
