/**
 * The keys that events are grouped by: key k gives each of the grouping fields its value, a different tuple for each k. Free texts
 * form a hierarchy, the last the finest (an ad belongs to one campaign, a campaign to one advertiser); the other fields vary a little
 * within the finest one.
 */
import { scatter } from './random.ts';
import { cannotMake, textsOf } from './values.ts';
import type { Field } from '../../topology/contract/model.ts';

/** Children of one parent in the hierarchy, and values that another field takes beside one finest value. */
const CHILDREN = 6,
  VARIANTS = 4;

interface Choice {
  readonly field: Field;
  /** How many values it has at most. */
  readonly count: number;
  /** JSON text of its n-th value. */
  json(n: number): string;
}
export type KeyValues = ReadonlyMap<string, string>;

function choiceOf(field: Field): Choice {
  if (field.type === 'boolean') return { field, count: 2, json: (n) => (n % 2 === 0 ? 'true' : 'false') };
  if (field.type === 'string') {
    const texts = textsOf(field);
    return { field, count: texts.count, json: (n) => JSON.stringify(texts.text(n)) };
  }
  if (field.type !== 'integer') throw cannotMake(field, `events are not grouped by a ${field.type}`);
  if (field.validValues !== null)
    return { field, count: field.validValues.length, json: (n) => String(field.validValues![n % field.validValues!.length]) };
  const step = Number(field.multipleOf ?? '1'),
    low = field.minimum ?? (field.exclusiveMinimum === null ? '0' : String(Number(field.exclusiveMinimum) + 1));
  const from = Math.ceil(Number(low) / step) * step,
    high = Number(field.maximum ?? (field.exclusiveMaximum === null ? Infinity : Number(field.exclusiveMaximum) - 1));
  const count = Math.max(1, Math.min(2 ** 31, Math.floor((high - from) / step) + 1));
  return { field, count, json: (n) => String(from + (n % count) * step) };
}

const isFree = (f: Field): boolean =>
  f.type === 'string' && f.validValues === null && f.pattern === null && f.validPattern === null && f.format === null;

export class GroupKeys {
  private readonly hierarchy: readonly Choice[];
  private readonly others: readonly { choice: Choice; radix: number }[];

  constructor(fields: readonly Field[]) {
    const choices = fields.map(choiceOf);
    let hierarchy = choices.filter((c) => isFree(c.field));
    // No free text: the field with the most values stands for it.
    if (hierarchy.length === 0 && choices.length > 0) hierarchy = [choices.reduce((a, b) => (b.count > a.count ? b : a))];
    this.hierarchy = hierarchy;
    this.others = choices.filter((c) => !hierarchy.includes(c)).map((choice) => ({ choice, radix: Math.min(choice.count, VARIANTS) }));
  }

  /** JSON texts by field name. */
  values(k: number): KeyValues {
    const out = new Map<string, string>();
    let rest = k;
    const digits = this.others.map(({ radix }) => {
      const digit = rest % radix;
      rest = Math.floor(rest / radix);
      return digit;
    });
    for (const [i, { choice }] of this.others.entries()) {
      // Turned by the finest value: all values occur, and within one finest value they stay different.
      out.set(choice.field.name, choice.json((digits[i]! + (scatter(rest * 31 + i) % choice.count)) % choice.count));
    }
    for (let i = this.hierarchy.length - 1; i >= 0; i--) {
      const { field, json } = this.hierarchy[i]!;
      out.set(field.name, json(rest));
      rest = Math.floor(rest / CHILDREN);
    }
    return out;
  }
}
