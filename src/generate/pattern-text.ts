/**
 * Texts that match a simple pattern: characters, classes such as [A-Z0-9_], \d and \w, groups of alternatives without nesting, each with
 * a count ({2}, {2,5}, +, *, ?), between ^ and $. Number n gives the n-th text, different texts for different numbers below `count`;
 * null when the pattern is none of the simple ones.
 */
export interface PatternTexts {
  readonly count: number;
  text(n: number): string;
  /** All texts are this and the number. */
  readonly prefix?: string;
}

const ATOM = /\\d|\\w|\\[.\-/_^$*+?()[\]{}|\\]|\[(?!\^)(?:\\.|[^\]\\])+\]|\((?:\?:)?([^()[\]{}*+?\\]+)\)|[^\\[\](){}*+?.^$|]/y;
const COUNT = /\{(\d+)(,?)(\d*)\}|[*+?]/y;
/** A repeat that may be longer is made about this long: enough for many different texts. */
const REPEAT = 3;
const COUNT_MAX = 2 ** 40;

function range(from: string, to: string): string[] {
  const out: string[] = [];
  for (let c = from.codePointAt(0)!; c <= to.codePointAt(0)!; c++) out.push(String.fromCodePoint(c));
  return out;
}
const DIGITS = range('0', '9'),
  WORD = [...range('a', 'z'), ...range('A', 'Z'), ...DIGITS, '_'];

function classMembers(body: string): string[] {
  const chars = body.match(/\\?./gsu)!,
    out: string[] = [];
  for (let i = 0; i < chars.length; i++) {
    const c = chars[i]!;
    if (c === '\\d') out.push(...DIGITS);
    else if (c === '\\w') out.push(...WORD);
    else if (chars[i + 1] === '-' && chars[i + 2] !== undefined) {
      out.push(...range(c.at(-1)!, chars[i + 2]!.at(-1)!));
      i += 2;
    } else out.push(c.at(-1)!);
  }
  return [...new Set(out)];
}

function members(atom: string, group: string | undefined): string[] {
  if (group !== undefined) return group.split('|');
  if (atom === '\\d') return DIGITS;
  if (atom === '\\w') return WORD;
  if (atom.startsWith('[')) return classMembers(atom.slice(1, -1));
  return [atom.at(-1)!];
}

function repeats(text: string, m: RegExpExecArray): number {
  if (text === '*' || text === '+') return REPEAT;
  if (text === '?') return 1;
  const least = Number(m[1]),
    most = m[2] === '' ? least : m[3] === '' ? Infinity : Number(m[3]);
  return Math.min(most, Math.max(least, REPEAT));
}

export function patternTexts(pattern: string): PatternTexts | null {
  const body = pattern.replace(/^\^/, '').replace(/(?<!\\)\$$/, ''),
    slots: string[][] = [];
  for (let at = 0; at < body.length;) {
    ATOM.lastIndex = at;
    const atom = ATOM.exec(body);
    if (atom === null) return null;
    at = ATOM.lastIndex;
    COUNT.lastIndex = at;
    const count = COUNT.exec(body),
      set = members(atom[0], atom[1]);
    if (count !== null) at = COUNT.lastIndex;
    for (let i = count === null ? 1 : repeats(count[0], count); i > 0; i--) slots.push(set);
  }
  const count = Math.min(
    COUNT_MAX,
    slots.reduce((n, set) => n * set.length, 1),
  );
  const text = (n: number): string => {
    let out = '',
      rest = n % count;
    for (let i = slots.length - 1; i >= 0; i--) {
      const set = slots[i]!;
      out = set[rest % set.length]! + out;
      rest = Math.floor(rest / set.length);
    }
    return out;
  };
  return new RegExp(pattern, 'u').test(text(0)) ? { count, text } : null;
}
