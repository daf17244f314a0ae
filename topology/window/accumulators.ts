/**
 * What a row holds: for each measure a few doubles (its slots) in a row-major Float64Array, in the plan's order.
 *   count          1 slot    the number, exact below 2^53
 *   sum            2 slots   lo, hi of a signed 64-bit integer as in topology/batch.ts; checked at every add
 *   min, max       2 slots   lo, hi; hi = NaN: nothing yet
 *   min, max of float64   1 slot, NaN: nothing yet; -0 is kept as 0, so that order does not show
 * The step that adds events of one source to rows is generated from the plan: straight code, no look at the plan per event.
 */
import { sourceInputs, whereKey } from '../inputs.ts';
import type { Plan, PlanMeasure } from '../plan.ts';

export interface Accumulator {
  readonly measure: PlanMeasure;
  readonly kind: 'count' | 'sum' | 'least' | 'least-float';
  /** First slot of the row. */
  readonly slot: number;
  readonly slots: 1 | 2;
}
export interface RowShape {
  readonly accumulators: readonly Accumulator[];
  /** Doubles a row. */
  readonly stride: number;
  /** Slots that are NaN in a row that nothing was added to; the others are 0. */
  readonly nothing: readonly number[];
}

export function rowShape(plan: Plan): RowShape {
  let stride = 0;
  const nothing: number[] = [];
  const accumulators = plan.measures.map((measure): Accumulator => {
    const float = measure.type === 'float64' && measure.kind !== 'count';
    if (float && measure.kind === 'sum') throw new Error(`measure ${measure.name}: a sum of floating point numbers is not exact`);
    const least = measure.kind === 'min' || measure.kind === 'max';
    const kind = least ? (float ? 'least-float' : 'least') : (measure.kind as 'count' | 'sum');
    const slots = kind === 'count' || kind === 'least-float' ? 1 : 2,
      slot = stride;
    if (least) nothing.push(slot + slots - 1);
    stride += slots;
    return { measure, kind, slot, slots };
  });
  return { accumulators, stride, nothing };
}

/** A sum beyond signed 64 bits: never a wrong number, the run stops and what was committed stays. */
export class OverflowError extends Error {
  readonly table: string;
  readonly measure: string;
  readonly windowStart: number;
  readonly key: string;
  constructor(table: string, measure: string, windowStart: number, key: string) {
    super(`the sum ${measure} of table ${table} exceeds 64 bits in the window from ${new Date(windowStart).toISOString()} for ${key}`);
    this.name = 'OverflowError';
    this.table = table;
    this.measure = measure;
    this.windowStart = windowStart;
    this.key = key;
  }
}

/**
 * Adds events at[from..to) to their rows (row numbers in row[from..to)). `lo` and `hi` are the input columns of the source.
 * `overflow` must throw.
 */
export type AddEvents = (
  from: number,
  to: number,
  at: Int32Array,
  row: Int32Array,
  sums: Float64Array,
  touched: Uint8Array,
  where: Uint32Array,
  lo: readonly Float64Array[],
  hi: readonly Float64Array[],
  overflow: (measure: number, row: number) => never,
) => void;

/** The text of the step for one source: readable, so that it can be shown and debugged. */
export function addEventsText(plan: Plan, source: number, shape: RowShape): string {
  const inputs = sourceInputs(plan, source),
    used = new Set<number>(),
    lines: string[] = [];
  for (const [index, a] of shape.accumulators.entries()) {
    const m = a.measure;
    if (m.source !== source) continue;
    const input = inputs.fields.findIndex((f) => f.name === m.field);
    if (m.kind !== 'count') used.add(input);
    const bit = m.where.length === 0 ? -1 : inputs.wheres.findIndex((w) => whereKey(w) === whereKey(m.where));
    const body = step(a, index, input);
    lines.push(`    // ${inComment(`${m.kind} ${m.name}${bit < 0 ? '' : `, where ${JSON.stringify(m.where)}`}`)}`);
    lines.push(...(bit < 0 ? body : [`    if ((where[i] >>> ${bit}) & 1) {`, ...body.map((l) => `  ${l}`), '    }']));
  }
  return [
    ...[...used].sort((a, b) => a - b).map((x) => `  const lo${x} = lo[${x}], hi${x} = hi[${x}];`),
    '  for (let k = from; k < to; k++) {',
    `    const i = at[k], r = row[k], b = r * ${shape.stride};`,
    '    touched[r] = 1;',
    ...lines,
    '  }',
  ].join('\n');
}

/** Text from a job or contract must not end the comment that it stands in. */
const inComment = (text: string): string => text.replace(/[\u0000-\u001f\u2028\u2029]/g, ' ');

function step(a: Accumulator, index: number, input: number): string[] {
  const lo = `sums[b + ${a.slot}]`,
    hi = `sums[b + ${a.slot + 1}]`,
    smaller = a.measure.kind === 'min';
  switch (a.kind) {
    case 'count':
      return [`    ${lo} += 1;`];
    case 'sum':
      return [
        `    const x${index} = hi${input}[i];`,
        `    if (x${index} === x${index}) {`,
        `      let l = ${lo} + lo${input}[i], h = ${hi} + x${index};`,
        '      if (l >= 4294967296) { l -= 4294967296; h += 1; }',
        `      if (h > 2147483647 || h < -2147483648) overflow(${index}, r);`,
        `      ${lo} = l; ${hi} = h;`,
        '    }',
      ];
    case 'least':
      return [
        `    const x${index} = hi${input}[i];`,
        `    if (x${index} === x${index}) {`,
        `      const h = ${hi}, l = lo${input}[i];`,
        `      if (!(x${index} ${smaller ? '>=' : '<='} h) || (x${index} === h && l ${smaller ? '<' : '>'} ${lo})) { ${lo} = l; ${hi} = x${index}; }`,
        '    }',
      ];
    case 'least-float':
      return [
        `    if (hi${input}[i] === hi${input}[i]) {`,
        `      const v = lo${input}[i] + 0;`,
        `      if (!(v ${smaller ? '>=' : '<='} ${lo})) ${lo} = v;`,
        '    }',
      ];
  }
}

export function compileAddEvents(plan: Plan, source: number, shape: RowShape): AddEvents {
  const make = new Function(
    `"use strict"; return function addEventsOfSource${source}(from, to, at, row, sums, touched, where, lo, hi, overflow) {\n${addEventsText(plan, source, shape)}\n};`,
  ) as () => AddEvents;
  return make();
}

/** The dimensions of a key in words, for messages. */
export function keyText(plan: Plan, bytes: Uint8Array): string {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    parts: string[] = [];
  let p = 0;
  for (const d of plan.dimensions) {
    if (d.type === 'string') {
      let length = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = b[p++]!;
        length += (byte & 127) * 2 ** shift;
        if (byte < 128) break;
      }
      parts.push(`${d.name}=${JSON.stringify(b.toString('utf8', p, p + length))}`);
      p += length;
    } else if (d.type === 'integer') {
      parts.push(`${d.name}=${b.readBigInt64LE(p)}`);
      p += 8;
    } else parts.push(`${d.name}=${b[p++] === 1}`);
  }
  return parts.length === 0 ? 'all events' : parts.join(', ');
}
