/**
 * Writes `run` of one source: record after record through a scanner, and from the slots of each valid one (texts in `bytes`) one more event
 * into the columns, up to the first that the scanner does not take. The only place that makes events: fast and slow path both end here, so
 * equal slots give equal columns.
 * The fingerprint takes, in name order, each field that the job reads but the id and the dimensions, then the group key's hash.
 */
import type { SourceInputs } from '../inputs.ts';
import { sourceInputs } from '../inputs.ts';
import type { Plan, PlanCondition } from '../plan.ts';
import { decimalOf, scaledInteger } from './decimal.ts';
import { mixText } from './identity.ts';
import { isoMs } from './iso-time.ts';
import { bytesAre, quoted, utf8 } from './literal-text.ts';
import type { Contract, Field } from './model.ts';
import { fixedLength } from './scanner-values.ts';

interface Source {
  readonly fields: ReadonlyMap<string, { readonly field: Field; readonly at: number }>;
  readonly inputs: SourceInputs;
}

const isText = (field: Field): boolean => field.type === 'string' || field.type === 'date';
const isFloat = (field: Field): boolean => field.type === 'number' && field.scale === null;

function fieldOf(source: Source, name: string): { readonly field: Field; readonly at: number } {
  const found = source.fields.get(name);
  if (found === undefined) throw new Error(`the plan reads field ${name}, which the contract does not have`);
  return found;
}

function idLines(source: Source, plan: Plan): string[] {
  const { field, at } = fieldOf(source, plan.id);
  const words = ['id[4 * i] = words[0]; id[4 * i + 1] = words[1]; id[4 * i + 2] = words[2]; id[4 * i + 3] = words[3];'];
  if (!field.required) throw new Error(`the id ${field.name} must be required`);
  if (field.type === 'integer') return [`integerIdentity(lo[${at}], hi[${at}], k0, k1, words);`, ...words];
  if (field.type !== 'string') throw new Error(`the id ${field.name} must be a string or an integer`);
  return [`if (ready[0] === 0) textIdentity(view, start[${at}], end[${at}], k0, k1, words);`, ...words];
}

const UNROLLED = 16;

/** A text of the key; unrolled when all valid values are equally long. The same bytes and the same hash as `keyText`. */
function textKeyLines(field: Field, at: number): string[] {
  const n = field.type === 'string' ? fixedLength(field) : null;
  if (n === null || n === 0 || n > UNROLLED)
    return [`h = keyText(bytes, view, start[${at}], end[${at}], key, keyView, t, h); t += keySize(end[${at}] - start[${at}]);`];
  const lines = [`s = start[${at}]; key[t] = ${n};`, mixText('h', String(n))];
  if (n < 4) {
    const bytes = Array.from({ length: n }, (_, j) => `key[t + ${j + 1}] = bytes[s + ${j}];`);
    const word = Array.from({ length: n }, (_, j) => `bytes[s + ${j}] << ${8 * (n - 1 - j)}`);
    lines.push(bytes.join(' '), mixText('h', word.join(' | ')));
  } else {
    for (let j = 0; j < n; j += 4) {
      const from = Math.min(j, n - 4);
      lines.push(`w = view.getInt32(s + ${from}, true); keyView.setInt32(t + ${from + 1}, w, true); ${mixText('h', 'w')}`);
    }
  }
  return [...lines, `t += ${n + 1};`];
}

/** The key's bytes, dimension by dimension; `t` is where the next one goes. */
function keyLines(source: Source, plan: Plan): string[] {
  const rooms: string[] = [],
    lines: string[] = [];
  for (const dimension of plan.dimensions) {
    const { field, at } = fieldOf(source, dimension.name);
    if (!field.required) throw new Error(`the dimension ${dimension.name} must be required`);
    if ((dimension.type === 'string') !== isText(field) || isFloat(field))
      throw new Error(`the dimension ${dimension.name} is no ${dimension.type}`);
    lines.push(`// ${quoted(dimension.name)}: ${dimension.type}`);
    if (dimension.type === 'string') {
      rooms.push(`end[${at}] - start[${at}] + 5`);
      lines.push(...textKeyLines(field, at));
    } else if (dimension.type === 'integer') {
      rooms.push('8');
      lines.push(
        `keyView.setUint32(t, lo[${at}], true); keyView.setInt32(t + 4, hi[${at}], true); t += 8;`,
        mixText('h', `lo[${at}]`, `hi[${at}]`),
      );
    } else {
      rooms.push('1');
      lines.push(`key[t++] = lo[${at}];`, mixText('h', `lo[${at}]`));
    }
  }
  const room =
    rooms.length === 0
      ? []
      : [
          `const room = keyFrom + ${rooms.join(' + ')};`,
          'if (room > key.length) {',
          '  out.growKeys(room);',
          '  key = out.keyBytes; keyView = new DataView(key.buffer, key.byteOffset, key.byteLength);',
          '}',
        ];
  return [
    'const keyFrom = i === 0 ? 0 : keyEnd[i - 1];',
    'let t = keyFrom, h = keySeed, s = 0, w = 0, m = 0;',
    ...room,
    ...lines,
    'keyEnd[i] = t;',
    'keyHash[i] = avalanche(h);',
  ];
}

function fingerprintLines(source: Source, plan: Plan): string[] {
  const inKey = new Set([plan.id, ...plan.dimensions.map((d) => d.name)]);
  const lines = ['let f = printSeed;'];
  for (const name of source.inputs.read) {
    if (inKey.has(name)) continue;
    const { field, at } = fieldOf(source, name);
    const absent = isText(field) ? `start[${at}] < 0` : `hi[${at}] !== hi[${at}]`;
    const words = isText(field)
      ? `f = mixBytes(f, view, start[${at}], end[${at}], secret);`
      : isFloat(field)
        ? `double[0] = lo[${at}]; ${mixText('f', 'doubleWords[0]', 'doubleWords[1]')}`
        : mixText('f', ...(field.type === 'boolean' ? [`lo[${at}]`] : [`lo[${at}]`, `hi[${at}]`]));
    lines.push(`// ${quoted(name)}`);
    // The word before a value keeps "absent" apart from 0 and from "".
    if (field.required) lines.push(words);
    else lines.push(`if (${absent}) { ${mixText('f', '1')} }`, `else { ${mixText('f', '2')} ${words} }`);
  }
  return [...lines, mixText('f', 'h'), 'fingerprint[i] = avalanche(f);'];
}

/** The test of one condition on the slots, by typed value; absent is false. */
function conditionText(source: Source, condition: PlanCondition): string {
  const { field, at } = fieldOf(source, condition.field);
  const { equals } = condition;
  if (isText(field)) {
    if (typeof equals !== 'string') return 'false';
    const literal = utf8(equals);
    return `(end[${at}] - start[${at}] === ${literal.length} && start[${at}] >= 0 && ${bytesAre(literal, `start[${at}]`)})`;
  }
  if (field.type === 'boolean') return typeof equals === 'boolean' ? `(hi[${at}] === 0 && lo[${at}] === ${equals ? 1 : 0})` : 'false';
  if (typeof equals === 'boolean') return 'false';
  if (isFloat(field)) return typeof equals === 'number' ? `(hi[${at}] === 0 && lo[${at}] === ${equals})` : 'false';
  const exact =
    field.type === 'timestamp' && typeof equals === 'string'
      ? msOf(equals)
      : scaledInteger(decimalOf(String(equals)), field.type === 'number' ? field.scale! : 0);
  return typeof exact === 'bigint' ? `(hi[${at}] === ${exact >> 32n} && lo[${at}] === ${exact & 0xffffffffn})` : 'false';
}

function msOf(text: string): bigint | 'fraction' {
  const bytes = utf8(text);
  const ms = isoMs(bytes, 0, bytes.length);
  return Number.isNaN(ms) ? 'fraction' : BigInt(ms);
}

function whereLines(source: Source): string[] {
  const { wheres } = source.inputs;
  if (wheres.length > 32) throw new Error('more than 32 conditions on one source');
  if (wheres.length === 0) return ['where[i] = 0;'];
  const bits = wheres.map((conditions, bit) => `(${conditions.map((c) => conditionText(source, c)).join(' && ')} ? ${(1 << bit) | 0} : 0)`);
  return [
    ...wheres.map(
      (conditions, bit) => `// bit ${bit}: ${conditions.map((c) => `${quoted(c.field)} is ${quoted(String(c.equals))}`).join(' and ')}`,
    ),
    `where[i] = ${bits.join('\n  | ')};`,
  ];
}

function inputLines(source: Source): string[] {
  return source.inputs.fields.flatMap((input, j) => {
    const { field, at } = fieldOf(source, input.name);
    if (isText(field)) throw new Error(`a measure reads ${input.name}, which is text`);
    if (input.type === 'float64' && !isFloat(field)) {
      const unit = field.type === 'number' ? ` / POWER[${field.scale}]` : '';
      return [
        `// ${quoted(input.name)}, as a double`,
        `inLo${j}[i] = (hi[${at}] * 4294967296 + lo[${at}])${unit}; inHi${j}[i] = hi[${at}] !== hi[${at}] ? NaN : 0;`,
      ];
    }
    if (input.type !== 'float64' && isFloat(field)) throw new Error(`a measure reads ${input.name} as ${input.type}, and it has no scale`);
    if (input.type === 'decimal' && input.scale !== (field.scale ?? 0)) throw new Error(`a measure reads ${input.name} at another scale`);
    return [`// ${quoted(input.name)}: ${input.type}`, `inLo${j}[i] = lo[${at}]; inHi${j}[i] = hi[${at}];`];
  });
}

export function runText(contract: Contract, plan: Plan, number: number): string {
  const source: Source = {
    fields: new Map(contract.fields.map((field, at) => [field.name, { field, at }])),
    inputs: sourceInputs(plan, number),
  };
  const time = fieldOf(source, plan.time);
  if (time.field.type !== 'timestamp' || !time.field.required) throw new Error(`the event time ${plan.time} must be a required timestamp`);
  const section = (title: string, lines: readonly string[]): string[] => ['', `    // ${title}`, ...lines.map((line) => `    ${line}`)];
  const columns = source.inputs.fields.map((_, j) => `inLo${j} = out.lo[${j}], inHi${j} = out.hi[${j}]`);
  return [
    '// Events of the records from..to, behind those in `out`; gives the first record that is null, too large or that `scan` does not take.',
    'function run(scan, bytes, view, records, from, to, most, fence, out, after) {',
    '  const { valueStart, valueEnd, timestamp } = records;',
    '  const { record, id, time, fingerprint, keyHash, keyEnd, where } = out;',
    ...columns.map((pair) => `  const ${pair};`),
    '  let key = out.keyBytes, keyView = new DataView(key.buffer, key.byteOffset, key.byteLength);',
    '  for (let at = from; at < to; at++) {',
    '    const begin = valueStart[at], stop = valueEnd[at];',
    '    if (begin < 0 || stop - begin > most || !scan(bytes, view, begin, stop, timestamp[at] + fence)) return at;',
    '    const i = out.count;',
    '    record[i] = at;',
    ...section(`identity: ${quoted(plan.id)}`, idLines(source, plan)),
    ...section(`event time: ${quoted(plan.time)}`, [`time[i] = hi[${time.at}] * 4294967296 + lo[${time.at}];`]),
    ...section('group key', keyLines(source, plan)),
    ...section('fingerprint', fingerprintLines(source, plan)),
    ...section('conditions', whereLines(source)),
    ...section('inputs of the measures', inputLines(source)),
    '    out.count = i + 1;',
    '    if (after !== null) after(at, bytes, view);',
    '  }',
    '  return to;',
    '}',
  ].join('\n');
}
