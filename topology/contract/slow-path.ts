/**
 * The complete judge of one record, written for exactness: any notation that JSON knows. In: the record's bytes; out: a verdict
 * (code, field, detail) or, when all rules hold, the values in `slots`. It is the meaning of the contract; the scanner is its shortcut.
 */
import { compareDecimal, decimalOf, type Decimal, isInteger, isMultiple, parseDecimal, scaledInteger } from './decimal.ts';
import { dateMs, isoMs, TIME_MAX, TIME_MIN } from './iso-time.ts';
import type { Layout } from './layout.ts';
import type { Code, Contract, Field } from './model.ts';
import { ABSENT, FALSE, NESTED, NULL, NUMBER, RecordReader, TEXT, TRUE } from './record-reader.ts';
import type { Slots } from './slots.ts';
import { textRules } from './text-rules.ts';
import { codePoints } from './value-bytes.ts';

export interface Verdict {
  readonly code: Code;
  readonly field: string;
  readonly detail: string;
}

interface Rule {
  readonly field: Field;
  readonly minimum: Decimal | null;
  readonly maximum: Decimal | null;
  readonly above: Decimal | null;
  readonly under: Decimal | null;
  readonly unit: Decimal | null;
  readonly text: ((text: string) => string | null) | null;
  readonly validNumbers: readonly Decimal[] | null;
  readonly validTimes: readonly number[] | null;
}

const SHOWN = 80;

/** A value for people, cut to 80 characters. */
export function shown(text: string): string {
  return (text.length <= SHOWN ? text : `${text.slice(0, SHOWN - 1)}…`).toWellFormed();
}

const bound = (text: string | null): Decimal | null => (text === null ? null : decimalOf(text));

function msOf(value: string | number | boolean): number {
  if (typeof value === 'number') return value;
  const bytes = Buffer.from(String(value), 'utf8');
  return isoMs(bytes, 0, bytes.length);
}

function ruleOf(field: Field): Rule {
  const numeric = field.type === 'integer' || field.type === 'number';
  return {
    field,
    minimum: bound(field.minimum),
    maximum: bound(field.maximum),
    above: bound(field.exclusiveMinimum),
    under: bound(field.exclusiveMaximum),
    unit: bound(field.multipleOf),
    text: textRules(field),
    validNumbers:
      numeric && field.validValues !== null
        ? field.validValues.filter((v) => typeof v === 'number').map((v) => decimalOf(String(v)))
        : null,
    validTimes: field.type === 'timestamp' && field.validValues !== null ? field.validValues.map(msOf) : null,
  };
}

export class SlowPath {
  private readonly rules: readonly Rule[];
  private readonly reader: RecordReader;
  private readonly slots: Slots;
  private readonly timeAt: number;
  private bytes: Buffer = Buffer.alloc(0);

  constructor(contract: Contract, time: string, slots: Slots) {
    this.rules = contract.fields.map(ruleOf);
    this.reader = new RecordReader(contract.fields.map((f) => f.name));
    this.slots = slots;
    this.timeAt = contract.fields.findIndex((f) => f.name === time);
  }

  /** The bytes that text slots point into after `judge`. */
  get text(): Buffer {
    return this.reader.text;
  }

  /** In which order the last record, which was valid, wrote its keys; null: in none that can be learned. */
  order(): Layout | null {
    return this.reader.order();
  }

  /** null: the record is valid and its values stand in the slots. `latest`: the last event time before the fence. */
  judge(bytes: Buffer, start: number, end: number, latest: number): Verdict | null {
    if (!this.reader.read(bytes, start, end)) return { code: 'UNPARSEABLE', field: '', detail: `the value ${this.reader.why}` };
    this.bytes = bytes;
    this.slots.ready[0] = 0;
    for (let i = 0; i < this.rules.length; i++) {
      const verdict = this.field(this.rules[i]!, i);
      if (verdict !== null) return verdict;
    }
    const time = this.slots.hi[this.timeAt]! * 4294967296 + this.slots.lo[this.timeAt]!;
    if (time > latest)
      return this.no(
        'FUTURE_TIME',
        this.rules[this.timeAt]!.field,
        `${new Date(time).toISOString()} is later than the record's own time by more than the fence`,
      );
    return null;
  }

  private no(code: Code, field: Field, detail: string): Verdict {
    return { code, field: field.name, detail };
  }

  /** The value as it was written, for a detail. */
  private source(i: number): string {
    const { kind, start, end } = this.reader;
    // Four bytes a character are enough to cut in whole characters.
    const to = Math.min(end[i]!, start[i]! + 4 * SHOWN + 4);
    if (kind[i] === TEXT) return JSON.stringify(shown(this.reader.text.toString('utf8', start[i]!, to)));
    return shown(this.bytes.toString('utf8', start[i]!, to));
  }

  private field(rule: Rule, i: number): Verdict | null {
    const { field } = rule;
    const kind = this.reader.kind[i]!;
    if (kind === ABSENT || kind === NULL) {
      this.slots.start[i] = -1;
      this.slots.end[i] = -1;
      this.slots.lo[i] = 0;
      this.slots.hi[i] = NaN;
      return field.required ? this.no('MISSING_FIELD', field, kind === NULL ? 'is null and must have a value' : 'is absent') : null;
    }
    switch (field.type) {
      case 'string':
        return kind === TEXT ? this.string(rule, i) : this.mismatch(field, i, 'a string');
      case 'date':
        return kind === TEXT ? this.date(rule, i) : this.mismatch(field, i, 'a string (YYYY-MM-DD)');
      case 'boolean':
        return kind === TRUE || kind === FALSE ? this.boolean(rule, i, kind === TRUE) : this.mismatch(field, i, 'true or false');
      case 'integer':
        return kind === NUMBER ? this.integer(rule, i) : this.mismatch(field, i, 'an integer');
      case 'number':
        return kind === NUMBER ? this.number(rule, i) : this.mismatch(field, i, 'a number');
      case 'timestamp':
        if (field.time === 'epoch_millis')
          return kind === NUMBER ? this.epoch(rule, i) : this.mismatch(field, i, 'an integer of milliseconds');
        return kind === TEXT ? this.iso(rule, i) : this.mismatch(field, i, 'a string (a time with a zone)');
    }
  }

  private mismatch(field: Field, i: number, asked: string): Verdict {
    const got = this.reader.kind[i] === NESTED ? 'a nested value' : this.source(i);
    return this.no('TYPE_MISMATCH', field, `${got} is not ${asked}`);
  }

  private keepText(i: number): void {
    this.slots.start[i] = this.reader.start[i]!;
    this.slots.end[i] = this.reader.end[i]!;
  }

  private keepInteger(i: number, value: bigint): void {
    this.slots.hi[i] = Number(value >> 32n);
    this.slots.lo[i] = Number(value & 0xffffffffn);
  }

  private string(rule: Rule, i: number): Verdict | null {
    const { field } = rule;
    const start = this.reader.start[i]!,
      end = this.reader.end[i]!;
    if (field.minLength !== null || field.maxLength !== null) {
      const length = codePoints(this.reader.text, start, end);
      if (field.minLength !== null && length < field.minLength)
        return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} has ${length} characters, at least ${field.minLength} are asked`);
      if (field.maxLength !== null && length > field.maxLength)
        return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} has ${length} characters, at most ${field.maxLength} are allowed`);
    }
    return this.textRules(rule, i);
  }

  private textRules(rule: Rule, i: number): Verdict | null {
    const broken = rule.text === null ? null : rule.text(this.reader.text.toString('utf8', this.reader.start[i]!, this.reader.end[i]!));
    if (broken !== null) return this.no('INVALID_VALUE', rule.field, `${this.source(i)} ${broken}`);
    this.keepText(i);
    return null;
  }

  private date(rule: Rule, i: number): Verdict | null {
    const start = this.reader.start[i]!,
      end = this.reader.end[i]!;
    const ms = dateMs(this.reader.text, start, end);
    if (Number.isNaN(ms)) return this.no('INVALID_VALUE', rule.field, `${this.source(i)} is no date (YYYY-MM-DD)`);
    const outside = this.outside(rule.field, i, ms);
    if (outside !== null) return outside;
    return this.textRules(rule, i);
  }

  private boolean(rule: Rule, i: number, value: boolean): Verdict | null {
    const valid = rule.field.validValues;
    if (valid !== null && !valid.includes(value)) return this.no('INVALID_VALUE', rule.field, `${value} is not among the valid values`);
    this.slots.lo[i] = value ? 1 : 0;
    this.slots.hi[i] = 0;
    return null;
  }

  private decimal(i: number): Decimal {
    return parseDecimal(this.bytes.toString('latin1', this.reader.start[i]!, this.reader.end[i]!))!;
  }

  /** Bounds, multipleOf, then valid values: of every number alike. */
  private numberRules(rule: Rule, i: number, value: Decimal): Verdict | null {
    const { field } = rule;
    const out = (detail: string): Verdict => this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} ${detail}`);
    if (rule.minimum !== null && compareDecimal(value, rule.minimum) < 0) return out(`is less than ${field.minimum}`);
    if (rule.above !== null && compareDecimal(value, rule.above) <= 0) return out(`is not more than ${field.exclusiveMinimum}`);
    if (rule.maximum !== null && compareDecimal(value, rule.maximum) > 0) return out(`is more than ${field.maximum}`);
    if (rule.under !== null && compareDecimal(value, rule.under) >= 0) return out(`is not less than ${field.exclusiveMaximum}`);
    if (rule.unit !== null && !isMultiple(value, rule.unit)) return out(`is not a multiple of ${field.multipleOf}`);
    if (rule.validNumbers !== null && !rule.validNumbers.some((v) => compareDecimal(v, value) === 0)) {
      return this.no('INVALID_VALUE', field, `${this.source(i)} is not among the valid values`);
    }
    return null;
  }

  private integer(rule: Rule, i: number): Verdict | null {
    const value = this.decimal(i);
    if (!isInteger(value)) return this.mismatch(rule.field, i, 'an integer');
    const exact = scaledInteger(value, 0);
    if (typeof exact === 'string') return this.no('VALUE_OUT_OF_RANGE', rule.field, `${this.source(i)} does not fit 64 bits`);
    const verdict = this.numberRules(rule, i, value);
    if (verdict === null) this.keepInteger(i, exact);
    return verdict;
  }

  private number(rule: Rule, i: number): Verdict | null {
    const { field } = rule;
    const value = this.decimal(i);
    if (field.scale === null) {
      const double = Number(`${value.negative ? '-' : ''}${value.digits || '0'}e${value.exponent}`);
      if (!Number.isFinite(double)) return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} does not fit a double`);
      const verdict = this.numberRules(rule, i, value);
      this.slots.lo[i] = double + 0;
      this.slots.hi[i] = 0;
      return verdict;
    }
    const exact = scaledInteger(value, field.scale);
    if (exact === 'fraction') return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} has more than ${field.scale} decimal places`);
    if (exact === 'wide')
      return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} does not fit 64 bits at ${field.scale} decimal places`);
    const verdict = this.numberRules(rule, i, value);
    if (verdict === null) this.keepInteger(i, exact);
    return verdict;
  }

  private epoch(rule: Rule, i: number): Verdict | null {
    const value = this.decimal(i);
    if (!isInteger(value)) return this.mismatch(rule.field, i, 'an integer of milliseconds');
    const exact = scaledInteger(value, 0);
    return this.time(rule, i, typeof exact === 'string' ? Infinity : Number(exact));
  }

  private iso(rule: Rule, i: number): Verdict | null {
    const ms = isoMs(this.reader.text, this.reader.start[i]!, this.reader.end[i]!);
    if (Number.isNaN(ms)) return this.no('INVALID_VALUE', rule.field, `${this.source(i)} is no time with a zone (YYYY-MM-DDTHH:MM:SSZ)`);
    return this.time(rule, i, ms);
  }

  private outside(field: Field, i: number, ms: number): Verdict | null {
    if (ms < TIME_MIN || ms > TIME_MAX) return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} is outside 1970 to 2105`);
    if (field.notBefore !== null && ms < field.notBefore)
      return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} is before ${new Date(field.notBefore).toISOString()}`);
    if (field.notAfter !== null && ms > field.notAfter)
      return this.no('VALUE_OUT_OF_RANGE', field, `${this.source(i)} is after ${new Date(field.notAfter).toISOString()}`);
    return null;
  }

  private time(rule: Rule, i: number, ms: number): Verdict | null {
    const { field } = rule;
    const outside = this.outside(field, i, ms);
    if (outside !== null) return outside;
    if (rule.validTimes !== null && !rule.validTimes.includes(ms))
      return this.no('INVALID_VALUE', field, `${this.source(i)} is not among the valid values`);
    this.slots.hi[i] = Math.floor(ms / 4294967296);
    this.slots.lo[i] = ms % 4294967296;
    return null;
  }
}
