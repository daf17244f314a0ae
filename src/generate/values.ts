/**
 * What may stand in a field, from its rules: a writer that puts one valid value, quotes included, into the line. Fields that an event
 * is grouped by are no business of this file, nor are the id and the event's time.
 */
import type { Line } from './line.ts';
import { patternTexts } from './pattern-text.ts';
import type { PatternTexts } from './pattern-text.ts';
import type { Random } from './random.ts';
import { usage } from '../errors.ts';
import type { Field } from '../../topology/contract/model.ts';

/** Puts the field's value; `time` is the event's. */
export type WriteValue = (line: Line, random: Random, time: number) => void;

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
/** Integers without a maximum: most are small, as amounts are. */
const USUAL_MAX = 100_000;

export function cannotMake(field: Field, why: string): Error {
  return usage(
    'E_GENERATE',
    `Values of field ${field.name} cannot be made: ${why}.`,
    'Give it validValues or a simpler pattern in the contract, or make the field optional.',
  );
}

/** Texts of a string field, numbered; a text without further rules is NAME-number. */
export function textsOf(field: Field): PatternTexts {
  if (field.validValues !== null) {
    const valid = field.validValues.map(String).filter((v) => allows(field, v));
    if (valid.length === 0) throw cannotMake(field, 'no valid value meets the other rules');
    return { count: valid.length, text: (n) => valid[n % valid.length]! };
  }
  const pattern = field.pattern ?? field.validPattern;
  if (pattern !== null) {
    const texts = patternTexts(pattern);
    if (texts === null || !allows(field, texts.text(0))) throw cannotMake(field, `the pattern ${pattern} is not one of the simple ones`);
    return texts;
  }
  const shaped = formatted(field);
  if (!allows(field, shaped.text(0))) throw cannotMake(field, 'its rules leave too little room');
  return shaped;
}

function allows(f: Field, text: string): boolean {
  const length = [...text].length;
  if (length < (f.minLength ?? 0) || length > (f.maxLength ?? Infinity)) return false;
  return [f.pattern, f.validPattern].every((p) => p === null || new RegExp(p, 'u').test(text));
}

function formatted(f: Field): PatternTexts {
  const many = 2 ** 31,
    hex = (n: number, digits: number): string => n.toString(16).padStart(digits, '0');
  switch (f.format) {
    case 'uuid':
      return { count: many, text: (n) => `${hex(n, 8)}-0000-4000-8000-${hex(n, 12)}` };
    case 'email':
      return { count: many, text: (n) => `user${n}@example.com` };
    case 'uri':
      return { count: many, text: (n) => `https://example.com/${n}` };
    case 'ipv4':
      return { count: 2 ** 24, text: (n) => `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` };
    case 'ipv6':
      return { count: many, text: (n) => `2001:db8::${hex((n >>> 16) & 0xffff, 1)}:${hex(n & 0xffff, 1)}` };
    case 'hostname':
      return { count: many, text: (n) => `host-${n}.example.com` };
    case null:
      return named(f);
  }
}

/** "campaign_id" gives cam-17; a short field digits alone. */
function named(f: Field): PatternTexts {
  const most = f.maxLength ?? 64,
    least = f.minLength ?? 0;
  if (most < 8) {
    const count = Math.min(2 ** 31, LETTERS.length ** most);
    return { count, text: (n) => (n % count).toString(36).padStart(least, '0') };
  }
  const prefix = `${f.name.replace(/_id$/, '').slice(0, 3)}-`;
  const count = Math.min(2 ** 31, 10 ** (most - prefix.length));
  if (least <= prefix.length + 1) return { count, prefix, text: (n) => `${prefix}${n}` };
  return { count, text: (n) => `${prefix}${String(n).padStart(least - prefix.length, '0')}` };
}

/** Puts a valid value of the field. */
export function writerOf(f: Field): WriteValue {
  switch (f.type) {
    case 'string': {
      const texts = textsOf(f),
        known: Buffer[] = [];
      if (texts.count <= 4096) {
        for (let n = 0; n < texts.count; n++) known.push(Buffer.from(JSON.stringify(texts.text(n))));
        return (line, random) => line.put(known[random.below(known.length)]!);
      }
      const many = Math.min(texts.count, 1_000_000);
      if (texts.prefix === undefined) return (line, random) => line.text(JSON.stringify(texts.text(random.below(many))));
      const open = Buffer.from(JSON.stringify(texts.prefix).slice(0, -1)),
        quote = Buffer.from('"');
      return (line, random) => {
        line.put(open);
        line.integer(random.below(many));
        line.put(quote);
      };
    }
    case 'boolean': {
      const values = (f.validValues ?? [true, false]).map((v) => Buffer.from(String(v)));
      return (line, random) => line.put(values[random.below(values.length)]!);
    }
    case 'integer':
    case 'number':
      return numberWriter(f);
    case 'timestamp':
      return timeWriter(f);
    case 'date':
      return dateWriter(f);
  }
}

interface Steps {
  readonly least: number;
  readonly most: number;
  /** Decimal places, and units of the last one a step. */
  readonly places: number;
  readonly unit: number;
}

function stepsOf(f: Field): Steps {
  const places = f.multipleOf === null ? (f.type === 'integer' ? 0 : 3) : (/\.(\d*)/.exec(f.multipleOf)?.[1]?.length ?? 0);
  const power = 10 ** places,
    unit = f.multipleOf === null ? 1 : Math.max(1, Math.round(Number(f.multipleOf) * power));
  const bound = (inclusive: string | null, exclusive: string | null, none: number, step: number): number =>
    inclusive !== null ? Number(inclusive) * power : exclusive !== null ? Number(exclusive) * power + step : none;
  const from = bound(f.minimum, f.exclusiveMinimum, 0, 1);
  const to = bound(f.maximum, f.exclusiveMaximum, Math.max(from, 0) + USUAL_MAX * (places === 0 ? 1 : power), -1);
  const least = Math.ceil(from / unit - 1e-9),
    most = Math.min(Math.floor(to / unit + 1e-9), Number.MAX_SAFE_INTEGER / unit);
  if (most < least) throw cannotMake(f, 'no number lies within its bounds');
  return { least, most: Math.min(most, least + 2 ** 32 - 1), places, unit };
}

function numberWriter(f: Field): WriteValue {
  if (f.validValues !== null) {
    const values = f.validValues.map((v) => Buffer.from(String(v)));
    return (line, random) => line.put(values[random.below(values.length)]!);
  }
  const { least, most, places, unit } = stepsOf(f),
    span = most - least + 1,
    power = 10 ** places;
  return (line, random) => {
    // The square of a unit: amounts are mostly small and sometimes large.
    const u = random.unit(),
      n = (least + Math.floor(u * u * span)) * unit;
    if (places === 0) return line.integer(n);
    if (n < 0) line.text('-');
    const whole = Math.abs(n);
    line.integer(Math.floor(whole / power));
    line.text('.');
    line.padded(whole % power, places);
  };
}

function timeWriter(f: Field): WriteValue {
  const least = f.notBefore ?? 0,
    most = f.notAfter ?? Infinity;
  const iso = f.time === 'iso8601',
    quote = Buffer.from('"');
  return (line, random, time) => {
    const ms = Math.min(most, Math.max(least, time - random.below(60_000)));
    if (!iso) return line.integer(ms);
    line.put(quote);
    line.time(ms);
    line.put(quote);
  };
}

function dateWriter(f: Field): WriteValue {
  const from = Math.max(0, f.notBefore ?? Date.UTC(2025, 0, 1)),
    days = Math.max(1, Math.min(365, Math.floor(((f.notAfter ?? Infinity) - from) / 86_400_000)));
  const values =
    f.validValues?.map(String) ?? Array.from({ length: days }, (_, n) => new Date(from + n * 86_400_000).toISOString().slice(0, 10));
  const known = values.map((v) => Buffer.from(JSON.stringify(v)));
  return (line, random) => line.put(known[random.below(known.length)]!);
}
