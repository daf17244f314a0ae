/**
 * Writes a scanner of one source: `scan(bytes, view, from, limit, latest)` walks a record's bytes once, in the layout's key order, and
 * leaves what the job reads in the slots. true: the record is valid. false: it is not, or not as plain as expected: the slow path decides.
 * Expected are that key order (the contract's, unless another was learned), optional fields absent or null, unknown ones absent or
 * any JSON, and at most one space after a comma or a colon.
 */
import { bytesAre, quoted, utf8 } from './literal-text.ts';
import type { Layout } from './layout.ts';
import type { Contract, Field } from './model.ts';
import { valueLines } from './scanner-values.ts';

const indented = (lines: readonly string[]): string[] => lines.map((line) => (line === '' ? '' : `  ${line}`));

function rulesOf(field: Field): string {
  const rules: string[] = [field.type === 'timestamp' ? `timestamp ${field.time}` : field.type, field.required ? 'required' : 'optional'];
  const told: [string, string | number | null][] = [
    ['minLength', field.minLength],
    ['maxLength', field.maxLength],
    ['format', field.format],
    ['pattern', field.pattern],
    ['validPattern', field.validPattern],
    ['minimum', field.minimum],
    ['maximum', field.maximum],
    ['exclusiveMinimum', field.exclusiveMinimum],
    ['exclusiveMaximum', field.exclusiveMaximum],
    ['multipleOf', field.multipleOf],
    ['notBefore', field.notBefore],
    ['notAfter', field.notAfter],
  ];
  for (const [name, value] of told) if (value !== null) rules.push(`${name} ${typeof value === 'number' ? value : quoted(value)}`);
  return rules.join(', ');
}

function absentLines(field: Field, at: number, read: boolean): string[] {
  if (!read) return [];
  if (field.type === 'string' || field.type === 'date') return [`start[${at}] = -1; end[${at}] = -1;`];
  return [`lo[${at}] = 0; hi[${at}] = NaN;`];
}

/** Whether a field before place `n` is always there decides what may separate: the comma, or the brace, or either. */
function separator(fields: readonly Field[], layout: Layout, n: number): string {
  if (n === 0) return '123';
  return layout.slice(0, n).some((entry) => typeof entry === 'number' && fields[entry]!.required) ? '44' : '(p === from ? 123 : 44)';
}

/** The key behind its separator as JSON.stringify writes it (another notation goes the slow path), and the step to its value. */
function keyLines(name: string, separates: string): { reach: string[]; match: string; enter: string[] } {
  const key = utf8(`${JSON.stringify(name)}:`);
  return {
    reach: ['q = p + 1;', 'if (bytes[q] === 32) q++;'],
    match: `bytes[p] === ${separates} && limit - q > ${key.length} && ${bytesAre(key, 'q')}`,
    enter: [`p = q + ${key.length};`, 'if (bytes[p] === 32) p++;'],
  };
}

function fieldLines(field: Field, at: number, separates: string, read: boolean, isId: boolean): string[] {
  const { reach, match, enter } = keyLines(field.name, separates);
  const value = valueLines(field, { at, read, isId });
  if (field.required) return [...reach, `if (!(${match})) return false;`, ...enter, ...value];
  const absent = absentLines(field, at, read);
  return [
    ...reach,
    `if (${match}) {`,
    ...indented([
      ...enter,
      `if (limit - p > 4 && ${bytesAre(utf8('null'), 'p')}) {`,
      ...indented(['p += 4;', ...absent]),
      '} else {',
      ...indented(value),
      '}',
    ]),
    ...(absent.length === 0 ? ['}'] : ['} else {', ...indented(absent), '}']),
  ];
}

function unknownLines(name: string, separates: string): string[] {
  const { reach, match, enter } = keyLines(name, separates);
  return [...reach, `if (${match}) {`, ...indented([...enter, 'p = anyValue(bytes, view, p, limit);', 'if (p < 0) return false;']), '}'];
}

export function scannerText(contract: Contract, read: ReadonlySet<string>, id: string, time: string, layout: Layout): string {
  const { fields } = contract;
  const timeAt = fields.findIndex((f) => f.name === time);
  const sections = layout.flatMap((entry, n) => {
    const separates = separator(fields, layout, n);
    if (typeof entry === 'string')
      return ['', `{ // ${n + 1}. ${quoted(entry)}: not in the contract`, ...indented(unknownLines(entry, separates)), '}'];
    const field = fields[entry]!,
      isRead = read.has(field.name);
    return [
      '',
      `{ // ${n + 1}. ${quoted(field.name)}: ${rulesOf(field)}${isRead ? '; read by the job' : ''}`,
      ...indented(fieldLines(field, entry, separates, isRead, field.name === id)),
      '}',
    ];
  });
  const never = fields.flatMap((field, at) => (layout.includes(at) ? [] : absentLines(field, at, read.has(field.name))));
  return [
    `// The scanner of contract ${quoted(contract.id)} ${quoted(contract.version)}, topic ${quoted(contract.topic)}.`,
    '// p: the next byte; q: where a key begins, s: where a text or number begins. "return false" hands the record to the slow path.',
    'function scan(bytes, view, from, limit, latest) {',
    '  let p = from, q = 0, s = 0, c = 0, n = 0, w = 0, v = 0;',
    '  ready[0] = 0;',
    ...indented(never),
    ...indented(sections),
    '',
    '  // the closing brace is the last byte; the event is not from the future',
    '  if (bytes[p] !== 125 || p + 1 !== limit) return false;',
    `  return hi[${timeAt}] * 4294967296 + lo[${timeAt}] <= latest;`,
    '}',
  ].join('\n');
}
