/** A plan in text, from the topics at the top to the tables at the bottom; what each stage keeps, drops or adds stands beside it. */
import type { Contract, Field } from '../../topology/contract/model.ts';
import { hopTopic } from '../../topology/hop/topic.ts';
import type { Plan, PlanMeasure, PlanTable } from '../../topology/plan.ts';

const UNITS: readonly (readonly [number, string])[] = [
  [86_400_000, 'day'],
  [3_600_000, 'hour'],
  [60_000, 'minute'],
  [1000, 'second'],
];

export function drawPlan(plan: Plan, contracts: readonly Contract[], digest: string): string {
  const stages: [string, string[]][] = [
    ['read', aligned(plan.sources.map((s) => [s.topic, `contract ${s.contract} ${s.version}`, s.digest.slice(0, 12)]))],
    [
      'gate',
      [
        ...aligned(contracts.map((c) => [c.id, rules(c)])),
        `records up to ${plan.maxRecordBytes} bytes, ${plan.time} at most ${span(plan.fenceMs)} after the log's own time`,
        'else -> tally_quarantine',
      ],
    ],
    ...(plan.repartition === undefined ? [] : [hop(plan, plan.repartition.by)]),
    [
      'dedup',
      [
        `each ${plan.id} once in ${span(plan.horizonMs)}; older -> tally_quarantine (EXPIRED)`,
        ...(plan.producerKey === null ? [] : [`producers' record key: ${plan.producerKey}`]),
      ],
    ],
    ['watermark', [`${plan.time}, ${span(plan.outOfOrderMs)} out of order`]],
    ['key', [plan.dimensions.length === 0 ? 'none: one row a window' : plan.dimensions.map((d) => `${d.name} ${d.type}`).join(', ')]],
    ['measures', aligned(plan.measures.map((m) => [m.name, formula(plan, m), resultType(m)]))],
    ['windows', aligned(plan.tables.map((t) => [`${t.size}, ${t.zone}`, '->', views(t)]))],
  ];
  const width = Math.max(...stages.map(([name]) => name.length));
  const lines = stages.flatMap(([name, texts], i) => [
    ...(i === 0 ? [] : [`  ${' '.repeat(width)}  |`]),
    ...texts.map((text, row) => `  ${(row === 0 ? name : '').padStart(width)}  ${row === 0 ? '+-' : '| '} ${text}`),
  ]);
  return `${plan.job}  plan ${digest.slice(0, 12)}\n\n${lines.map((l) => l.trimEnd()).join('\n')}\n`;
}

/** What only several shards need. */
function hop(plan: Plan, by: string): [string, string[]] {
  const topics = plan.sources.map((_, source) => `-> ${hopTopic(plan, source)}`);
  return ['hop', [`with several shards, each record to the shard of its ${by}, through`, ...topics]];
}

function rules(c: Contract): string {
  const required = c.fields.filter((f) => f.required).length;
  const asked = c.fields.reduce((sum, f) => sum + rulesOf(f), 0);
  return `${c.fields.length} fields, ${required} required, ${asked} rules beside their types`;
}

function rulesOf(f: Field): number {
  const all = [
    f.minLength,
    f.maxLength,
    f.pattern,
    f.format,
    f.minimum,
    f.maximum,
    f.exclusiveMinimum,
    f.exclusiveMaximum,
    f.multipleOf,
    f.notBefore,
    f.notAfter,
    f.validValues,
    f.validPattern,
  ];
  return all.filter((rule) => rule !== null).length;
}

function formula(plan: Plan, m: PlanMeasure): string {
  const of = plan.sources[m.source]!.contract;
  const where = m.where.map((c) => `${c.field} = ${JSON.stringify(c.equals)}`).join(' and ');
  return `${m.kind}(${of}${m.field === null ? '' : `.${m.field}`})${where === '' ? '' : ` where ${where}`}`;
}

function resultType(m: PlanMeasure): string {
  return m.type === 'decimal' ? `decimal, ${m.scale} places` : m.type;
}

const views = (t: PlanTable): string => `${t.name} (final), ${t.name}_live, ${t.name}_changes`;

function span(ms: number): string {
  for (const [size, unit] of UNITS) {
    if (ms >= size && ms % size === 0) return `${ms / size} ${unit}${ms === size ? '' : 's'}`;
  }
  return `${ms} ms`;
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
}
