/**
 * Generated code for one value of the scanner: a field in; lines out that read its value at `p`, leave `p` behind it, and
 * `return false` for all that isn't plainly fine. A line never rejects, so each may be stricter than the contract, never laxer.
 */
import { bytePattern, type ByteStep } from './byte-pattern.ts';
import { type Choice, choiceOf } from './choice.ts';
import { TIME_MAX, TIME_MIN } from './iso-time.ts';
import { bytesAre, quoted, utf8 } from './literal-text.ts';
import type { Field } from './model.ts';
import { integerLines, numberLines } from './scanner-numbers.ts';
import { indented, INLINE_VALUES, keepNumber, keepText, type Place, splitLines } from './scanner-place.ts';

/** How a text is checked: as bytes on the way, as one of a few literals, and what is left to the table of known texts. */
export interface TextPlan {
  readonly steps: readonly ByteStep[] | null;
  readonly literals: readonly string[] | null;
  /** All valid values, when they are texts. */
  readonly values: readonly string[] | null;
  /** The rules that neither of the two covers stand: ask KnownTexts. */
  readonly known: boolean;
}

export function textPlan(field: Field): TextPlan {
  const patterns = [field.pattern, field.validPattern].filter((p) => p !== null);
  const compiled = patterns.map(bytePattern);
  const usable = field.type === 'string' ? compiled.findIndex((steps) => steps !== null) : -1;
  const values = field.validValues;
  const texts = values?.every((v) => typeof v === 'string') ? values : null;
  const few = texts !== null && texts.length > 0 && texts.length <= INLINE_VALUES;
  const open = patterns.length - (usable < 0 ? 0 : 1) + (field.format === null ? 0 : 1) + (values === null || few ? 0 : 1);
  return { steps: usable < 0 ? null : compiled[usable]!, literals: few ? texts : null, values: texts, known: open > 0 };
}

/** The length in bytes that every valid text has; null: they differ. */
export function fixedLength(field: Field): number | null {
  const steps = textPlan(field).steps;
  if (steps === null || steps.some((step) => step.min !== step.max)) return null;
  return steps.reduce((sum, step) => sum + step.min, 0);
}

/** Whether the scanner may take a UUID as the id without looking at its text. */
function bareId(field: Field, place: Place): boolean {
  const plan = textPlan(field);
  const fits = (field.minLength ?? 0) <= 36 && (field.maxLength ?? 36) >= 36;
  const only =
    plan.steps === null &&
    plan.literals === null &&
    (!plan.known || (field.format === 'uuid' && field.pattern === null && field.validPattern === null && field.validValues === null));
  return place.isId && fits && only;
}

export function valueLines(field: Field, place: Place): string[] {
  switch (field.type) {
    case 'string':
      return bareId(field, place) ? idLines(field, place) : textLines(field, place);
    case 'date':
      return dateLines(field, place);
    case 'boolean':
      return booleanLines(field, place);
    case 'integer':
      return integerLines(field, place);
    case 'number':
      return numberLines(field, place);
    case 'timestamp':
      return field.time === 'epoch_millis' ? epochLines(field, place) : isoLines(field, place);
  }
}

function idLines(field: Field, place: Place): string[] {
  const other = field.format === 'uuid' ? ['return false;'] : textLines(field, place);
  return [
    `if (limit - p > 38 && bytes[p] === 34 && bytes[p + 37] === 34 && uuidWords(view, p + 1, words)) {`,
    '  ready[0] = 1;',
    ...indented(keepText(place).map((line) => line.replace('= s;', '= p + 1;').replace('= p;', '= p + 37;'))),
    '  p += 38;',
    '} else {',
    ...indented(other),
    '}',
  ];
}

/** A check per byte class: a few of a fixed number one by one, a run as a loop. */
function stepLines(step: ByteStep): string[] {
  const ranges = step.ranges.map(([a, b]) => (a === b ? `c === ${a}` : `(c >= ${a} && c <= ${b})`));
  const test = ranges.length === 0 ? 'false' : ranges.join(' || ');
  if (step.min === step.max && step.min <= 4) {
    return Array.from({ length: step.min }, () => `c = bytes[p++]; if (!(${test})) return false;`);
  }
  const most = step.max === Infinity ? '' : `n < ${step.max} && `;
  return [
    'n = 0;',
    `while (${most}(c = bytes[p], ${test})) { p++; n++; }`,
    ...(step.min > 0 ? [`if (n < ${step.min}) return false;`] : []),
  ];
}

/** Whether valid values are all that a text must be, and stand for themselves in JSON: then no byte is looked at twice. */
export function choiceFor(field: Field): Choice | null {
  const plan = textPlan(field);
  const plain = plan.values?.every((text) => /^[ !#-[\]-~\x80-\uffff]*$/.test(text) && text.isWellFormed()) ?? false;
  if (!plain || plan.steps !== null || field.format !== null || field.validPattern !== null || field.pattern !== null) return null;
  return field.type === 'string' && field.minLength === null && field.maxLength === null ? choiceOf(plan.values!) : null;
}

function choiceLines(choice: Choice, values: readonly string[], place: Place): string[] {
  const stride = 1 + 2 * choice.words;
  const tests = Array.from({ length: choice.words }, (_, w) => {
    const word = w === 0 ? 'n' : `view.getInt32(s + ${4 * w}, true)`;
    return `(${word} & choice[c + ${1 + 2 * w}]) !== choice[c + ${2 + 2 * w}]`;
  });
  return [
    `// valid: ${values.map(quoted).join(', ')}`,
    `if (bytes[p] !== 34 || bytes.length - p <= ${4 * choice.words}) return false;`,
    `const choice = choices[${place.at}];`,
    's = p + 1;',
    'n = view.getInt32(s, true);',
    `c = (Math.imul(n${choice.mask === -1 ? '' : ` & ${choice.mask}`}, ${choice.multiplier}) >>> ${choice.shift}) * ${stride}; // the row of the only candidate`,
    `if (${tests.join(' || ')}) return false;`,
    'p = s + choice[c];',
    ...keepText(place),
    'p++;',
  ];
}

function textLines(field: Field, place: Place): string[] {
  const plan = textPlan(field);
  const bounded = field.minLength !== null || field.maxLength !== null;
  const choice = choiceFor(field);
  if (choice !== null) return choiceLines(choice, plan.values!, place);
  const lines = ['if (bytes[p] !== 34) return false;', 's = ++p;'];
  if (plan.steps !== null) {
    for (const step of plan.steps) lines.push(...stepLines(step));
    lines.push('if (bytes[p] !== 34) return false;');
    if (bounded) lines.push('n = p - s;');
  } else {
    lines.push('p = plainEnd(view, p, limit);');
    if (bounded) lines.push('n = p - s;');
    lines.push('if (bytes[p] !== 34) {', '  p = restOfText(bytes, p, limit); // letters beyond ASCII', '  if (p < 0) return false;');
    if (bounded) lines.push('  n = codePoints(bytes, s, p);');
    lines.push('}');
  }
  if (field.minLength !== null) lines.push(`if (n < ${field.minLength}) return false;`);
  if (field.maxLength !== null) lines.push(`if (n > ${field.maxLength}) return false;`);
  lines.push(...validLines(place, plan), ...keepText(place), 'p++;');
  return lines;
}

function validLines(place: Place, plan: TextPlan): string[] {
  const lines: string[] = [];
  if (plan.literals !== null) {
    const tests = plan.literals.map((text) => {
      const literal = utf8(text);
      return `(p - s === ${literal.length} && ${bytesAre(literal, 's')})`;
    });
    lines.push(`// valid: ${plan.literals.map(quoted).join(', ')}`, `if (!(${tests.join(' || ')})) return false;`);
  }
  if (plan.known) lines.push(`if (p >= limit || !known[${place.at}].accepts(bytes, s, p)) return false;`);
  return lines;
}

function dateLines(field: Field, place: Place): string[] {
  const { from, to } = times(field);
  return [
    'if (limit - p < 12 || bytes[p] !== 34 || bytes[p + 11] !== 34) return false;',
    's = p + 1; p += 11;',
    'v = dateMs(bytes, s, p);',
    `if (!(v >= ${from} && v <= ${to})) return false;`,
    ...validLines(place, textPlan(field)),
    ...keepText(place),
    'p++;',
  ];
}

function times(field: Field): { from: number; to: number } {
  return { from: Math.max(TIME_MIN, field.notBefore ?? TIME_MIN), to: Math.min(TIME_MAX, field.notAfter ?? TIME_MAX) };
}

/** Valid times are rare: the slow path knows them. */
function timeLines(field: Field, place: Place): string[] {
  const { from, to } = times(field);
  return [
    ...(field.validValues === null ? [] : ['return false; // valid values of a time: the slow path']),
    `if (!(v >= ${from} && v <= ${to})) return false;`,
    ...splitLines(place),
  ];
}

function epochLines(field: Field, place: Place): string[] {
  return [
    '{ // thirteen digits: 2001 and later',
    '  if (limit - p < 14) return false;',
    '  const a = fourDigits(view.getInt32(p, true)), b = fourDigits(view.getInt32(p + 4, true));',
    '  const d = fourDigits(view.getInt32(p + 8, true)), e = bytes[p + 12] - 48;',
    '  if (a < 1000 || b < 0 || d < 0 || e < 0 || e > 9) return false;',
    '  v = a * 1000000000 + b * 100000 + (d * 10 + e);',
    '}',
    'p += 13;',
    ...timeLines(field, place),
  ];
}

function isoLines(field: Field, place: Place): string[] {
  return [
    'if (bytes[p] !== 34) return false;',
    's = ++p;',
    'while (p < limit && bytes[p] !== 34) p++;',
    'v = isoMs(bytes, s, p);',
    ...timeLines(field, place),
    'p++;',
  ];
}

function booleanLines(field: Field, place: Place): string[] {
  const valid = (value: boolean): boolean => field.validValues === null || field.validValues.includes(value);
  const branch = (value: boolean): string[] =>
    valid(value) ? [`p += ${value ? 4 : 5};`, ...keepNumber(place, value ? '1' : '0', '0')] : ['return false;'];
  return [
    `if (limit - p > 4 && ${bytesAre(utf8('true'), 'p')}) {`,
    ...indented(branch(true)),
    `} else if (limit - p > 5 && ${bytesAre(utf8('false'), 'p')}) {`,
    ...indented(branch(false)),
    '} else return false;',
  ];
}
