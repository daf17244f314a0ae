/**
 * One property of a contract becomes one `Field` of the gate. Whatever the gate would not check is refused here, so that a
 * contract never promises more than is asked of each event.
 */
import type { Field, FieldType } from '../../topology/contract/model.ts';
import { didYouMean } from '../../topology/nearest.ts';
import { readBounds, scaleOf } from './bounds.ts';
import type { OdcsProperty } from './odcs.ts';
import { readRules } from './quality.ts';
import { canonicalDecimal } from './decimal-text.ts';
import type { Path, YamlFile } from './yaml-file.ts';

const TYPES: readonly FieldType[] = ['string', 'integer', 'number', 'boolean', 'timestamp', 'date'];
const FORMATS = ['uuid', 'email', 'uri', 'ipv4', 'ipv6', 'hostname'] as const;
const TIMES = ['epoch_millis', 'iso8601'] as const;
const TIME_MAX_MS = 4_291_747_200_000;

type Options = Readonly<Record<string, unknown>>;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function readField(yaml: YamlFile, path: Path, property: OdcsProperty, warnings: string[]): Field {
  checkName(yaml, path, property);
  const field = blank(property.name, typeOf(yaml, path, property), property.required ?? false);
  const options: Options = property.logicalTypeOptions ?? {},
    at = [...path, 'logicalTypeOptions'];
  switch (field.type) {
    case 'string':
      readText(yaml, at, options, field);
      break;
    case 'integer':
    case 'number': {
      Object.assign(field, readBounds(yaml, at, field.type, options));
      field.scale = field.type === 'integer' ? 0 : scaleOf(field.multipleOf);
      break;
    }
    case 'timestamp':
      readTime(yaml, path, property.physicalType, options, field);
      break;
    case 'date':
      checkDate(yaml, at, options);
      break;
    case 'boolean': {
      const [key] = Object.keys(options);
      if (key !== undefined) throw yaml.fault([...at, key], 'a boolean has no options', 'Remove it.');
    }
  }
  const rules = readRules(yaml, [...path, 'quality'], property.quality ?? [], warnings);
  if (rules.validPattern !== null) {
    if (field.type !== 'string')
      throw yaml.fault(rules.validPattern.path, `a pattern is for text, but the field is of type ${field.type}`, 'Remove it.');
    field.validPattern = checkPattern(yaml, rules.validPattern.path, rules.validPattern.pattern);
  }
  if (rules.validValues !== null) field.validValues = checkValues(yaml, rules.validValues.path, rules.validValues.values, field);
  if (property.unique === true && property.primaryKey !== true) {
    warnings.push(
      `${yaml.file}:${yaml.line(path)}: field "${property.name}": unique is not executed: only the primary key is, by deduplication`,
    );
  }
  return field;
}

function blank(name: string, type: FieldType, required: boolean): Mutable<Field> {
  return {
    name,
    type,
    required,
    time: null,
    minLength: null,
    maxLength: null,
    pattern: null,
    format: null,
    minimum: null,
    maximum: null,
    exclusiveMinimum: null,
    exclusiveMaximum: null,
    multipleOf: null,
    notBefore: null,
    notAfter: null,
    scale: null,
    validValues: null,
    validPattern: null,
  };
}

function checkName(yaml: YamlFile, path: Path, property: OdcsProperty): void {
  const { name } = property;
  // JSON has keys that JavaScript objects keep a meaning of their own for.
  const isPlain = name !== '' && name.length <= 255 && name !== '__proto__' && name.isWellFormed() && !/\p{Cc}/u.test(name);
  if (!isPlain)
    throw yaml.fault(
      [...path, 'name'],
      `${JSON.stringify(name)} cannot be a field's name`,
      'It is the key in the JSON: 1 to 255 visible characters.',
    );
  if (property.physicalName !== undefined && property.physicalName !== name) {
    throw yaml.fault(
      [...path, 'physicalName'],
      `the field is read under its name "${name}", not under another`,
      'Name the field as its JSON key, and remove physicalName.',
    );
  }
}

function typeOf(yaml: YamlFile, path: Path, property: OdcsProperty): FieldType {
  const type = property.logicalType;
  if (type === undefined) throw yaml.fault(path, 'logicalType is missing', `It is one of: ${TYPES.join(', ')}.`);
  const known = TYPES.find((t) => t === type);
  if (known !== undefined) return known;
  throw yaml.fault(
    [...path, 'logicalType'],
    `${type} is not checked by the gate`,
    `Remove the field (fields that no contract names are let through), or make it one of: ${TYPES.join(', ')}.`,
  );
}

function readText(yaml: YamlFile, at: Path, options: Options, field: Mutable<Field>): void {
  field.minLength = (options['minLength'] as number | undefined) ?? null;
  field.maxLength = (options['maxLength'] as number | undefined) ?? null;
  if (field.minLength !== null && field.maxLength !== null && field.minLength > field.maxLength) {
    throw yaml.fault(at, `no value can pass: minLength ${field.minLength}, maxLength ${field.maxLength}`, 'Correct the lengths.');
  }
  const { pattern, format } = options;
  if (typeof pattern === 'string') field.pattern = checkPattern(yaml, [...at, 'pattern'], pattern);
  if (format === undefined) return;
  const known = FORMATS.find((f) => f === format);
  if (known === undefined) {
    throw yaml.fault(
      [...at, 'format'],
      `format "${String(format)}" is not checked by the gate${didYouMean(String(format), FORMATS)}`,
      `Checked are: ${FORMATS.join(', ')}.`,
    );
  }
  field.format = known;
}

function checkPattern(yaml: YamlFile, path: Path, pattern: string): string {
  try {
    new RegExp(pattern, 'u');
  } catch (cause) {
    const reason = (cause as Error).message.replace(/^Invalid regular expression: /, '');
    throw yaml.fault(path, `not a regular expression: ${reason}`, "Patterns are JavaScript's, with the flag u.");
  }
  return pattern;
}

function readTime(yaml: YamlFile, path: Path, physicalType: string | undefined, options: Options, field: Mutable<Field>): void {
  const known = TIMES.find((t) => t === (physicalType ?? 'iso8601'));
  if (known === undefined) {
    throw yaml.fault(
      [...path, 'physicalType'],
      `"${physicalType}" is not a way to write a timestamp${didYouMean(physicalType!, TIMES)}`,
      `It is one of: ${TIMES.join(', ')}.`,
    );
  }
  field.time = known;
  const at = [...path, 'logicalTypeOptions'];
  if (options['format'] !== undefined)
    throw yaml.fault(
      [...at, 'format'],
      'formats of timestamps are not checked by the gate',
      'Say physicalType: epoch_millis or iso8601 instead.',
    );
  if (options['timezone'] === false)
    throw yaml.fault([...at, 'timezone'], 'timestamps must say their zone', 'Remove it: iso8601 asks for a zone.');
  const zone = options['defaultTimezone'];
  if (zone !== undefined && zone !== 'UTC' && zone !== 'Etc/UTC')
    throw yaml.fault([...at, 'defaultTimezone'], 'a timestamp without a zone is turned away, so no default is taken', 'Remove it.');
  const lows = [instant(yaml, at, options, 'minimum', 0), instant(yaml, at, options, 'exclusiveMinimum', 1)].filter((v) => v !== null);
  const highs = [instant(yaml, at, options, 'maximum', 0), instant(yaml, at, options, 'exclusiveMaximum', -1)].filter((v) => v !== null);
  if (lows.length > 0) field.notBefore = Math.max(...lows);
  if (highs.length > 0) field.notAfter = Math.min(...highs);
  const from = Math.max(0, field.notBefore ?? 0),
    to = Math.min(TIME_MAX_MS - 1, field.notAfter ?? TIME_MAX_MS);
  if (from > to) throw yaml.fault(at, 'no time can pass: the bounds leave nothing between 1970 and 2105', 'Correct the bounds.');
}

function instant(yaml: YamlFile, at: Path, options: Options, key: string, shift: number): number | null {
  const text = options[key];
  if (text === undefined) return null;
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(String(text)) ? Date.parse(String(text)) : Number.NaN;
  if (Number.isNaN(ms))
    throw yaml.fault([...at, key], `${JSON.stringify(text)} is not a time with a zone`, 'For example "2026-01-01T00:00:00Z".');
  return ms + shift;
}

function checkDate(yaml: YamlFile, at: Path, options: Options): void {
  for (const key of Object.keys(options)) {
    if (key === 'format' && options[key] === 'yyyy-MM-dd') continue;
    throw yaml.fault(
      [...at, key],
      'is not checked by the gate for a date',
      'Dates are text such as "2026-01-31"; their only option is format: yyyy-MM-dd.',
    );
  }
}

function checkValues(yaml: YamlFile, path: Path, values: readonly unknown[], field: Field): Field['validValues'] {
  const type = field.type;
  if (type === 'timestamp' || type === 'date') throw yaml.fault(path, `a ${type} has no list of valid values`, 'Remove it.');
  const seen = new Set<unknown>();
  return values.map((value, i) => {
    const at = [...path, i],
      text = JSON.stringify(value);
    const isRight = type === 'integer' ? Number.isSafeInteger(value) : type === 'number' ? Number.isFinite(value) : typeof value === type;
    if (!isRight)
      throw yaml.fault(at, `${text} is not a value of type ${type}`, type === 'string' ? 'Write it in quotes.' : 'Correct the list.');
    if (seen.has(value)) throw yaml.fault(at, `${text} is named twice`, 'Name each value once.');
    seen.add(value);
    if (!canPass(value as string | number | boolean, field))
      throw yaml.fault(at, `${text} can never pass the field's other rules`, 'Correct the list, or the rules.');
    return value as string | number | boolean;
  });
}

/** Only what is plain to see: bounds, length, patterns. */
function canPass(value: string | number | boolean, f: Field): boolean {
  if (typeof value === 'string') {
    const length = [...value].length;
    const matches = [f.pattern, f.validPattern].every((p) => p === null || new RegExp(p, 'u').test(value));
    return matches && length >= (f.minLength ?? 0) && length <= (f.maxLength ?? length);
  }
  if (typeof value === 'boolean') return true;
  if (canonicalDecimal(String(value)) === undefined) return false;
  return (
    value >= Number(f.minimum ?? -Infinity) &&
    value <= Number(f.maximum ?? Infinity) &&
    value > Number(f.exclusiveMinimum ?? -Infinity) &&
    value < Number(f.exclusiveMaximum ?? Infinity)
  );
}
