/**
 * Writes the scanner of one source: `scan(bytes, view, from, limit, latest)` walks a record's bytes once, in the contract's key order,
 * and leaves what the job reads in the slots. true: the record is valid. false: it is not, or not as plain as expected: the slow path decides.
 * Expected are the contract's key order, optional fields absent or null, and at most one space after a comma or a colon.
 */
import { bytesAre, quoted, utf8 } from './literal-text.ts';
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

/** The key as JSON.stringify writes it; another notation goes the slow path. */
function keyOf(field: Field): Buffer {
  return utf8(`${JSON.stringify(field.name)}:`);
}

function absentLines(field: Field, at: number, read: boolean): string[] {
  if (!read) return [];
  if (field.type === 'string' || field.type === 'date') return [`start[${at}] = -1; end[${at}] = -1;`];
  return [`lo[${at}] = 0; hi[${at}] = NaN;`];
}

/** Whether a field before `at` is always there decides what may separate: the comma, or the brace, or either. */
function separator(fields: readonly Field[], at: number): string {
  if (at === 0) return '123';
  return fields.slice(0, at).some((f) => f.required) ? '44' : '(p === from ? 123 : 44)';
}

function fieldLines(fields: readonly Field[], at: number, read: boolean, isId: boolean): string[] {
  const field = fields[at]!;
  const key = keyOf(field);
  const value = valueLines(field, { at, read, isId });
  const reach = ['q = p + 1;', 'if (bytes[q] === 32) q++;'];
  const match = `bytes[p] === ${separator(fields, at)} && limit - q > ${key.length} && ${bytesAre(key, 'q')}`;
  const enter = [`p = q + ${key.length};`, 'if (bytes[p] === 32) p++;'];
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

export function scannerText(contract: Contract, read: ReadonlySet<string>, id: string, time: string): string {
  const { fields } = contract;
  const timeAt = fields.findIndex((f) => f.name === time);
  const sections = fields.flatMap((field, at) => [
    '',
    `{ // ${at + 1}. ${quoted(field.name)}: ${rulesOf(field)}${read.has(field.name) ? '; read by the job' : ''}`,
    ...indented(fieldLines(fields, at, read.has(field.name), field.name === id)),
    '}',
  ]);
  return [
    `// The scanner of contract ${quoted(contract.id)} ${quoted(contract.version)}, topic ${quoted(contract.topic)}.`,
    '// p: the next byte; q: where a key begins, s: where a text or number begins. "return false" hands the record to the slow path.',
    'function scan(bytes, view, from, limit, latest) {',
    '  let p = from, q = 0, s = 0, c = 0, n = 0, w = 0, v = 0;',
    '  ready[0] = 0;',
    ...indented(sections),
    '',
    '  // the closing brace is the last byte; the event is not from the future',
    '  if (bytes[p] !== 125 || p + 1 !== limit) return false;',
    `  return hi[${timeAt}] * 4294967296 + lo[${timeAt}] <= latest;`,
    '}',
  ].join('\n');
}
