/**
 * A topology and the contracts that it reads become a plan, or a JobError that says what is wrong and which name was meant.
 * Nothing is trusted to the compiler: a job in plain JavaScript, or against changed contracts, is checked here in full.
 */
import type { Contract, Field } from './contract/model.ts';
import { sourceInputs } from './inputs.ts';
import { JobError } from './job-error.ts';
import type { DedupeSpec, JobSpec, Limits, TopologyValue, WatermarkSpec, Window } from './job.ts';
import { buildMeasure } from './measures.ts';
import { checkColumn, checkJobName, checkTable, show } from './names.ts';
import { didYouMean, nearest } from './nearest.ts';
import type { DimensionType, Plan, PlanMeasure, PlanTable } from './plan.ts';

const HOUR_MS = 3_600_000,
  DAY_MS = 24 * HOUR_MS;
const HORIZON_MS = 30 * DAY_MS,
  HORIZON_MIN_MS = HOUR_MS,
  HORIZON_MAX_MS = 42 * DAY_MS;
const FENCE_MS = HOUR_MS;
const RECORD_BYTES = 1 << 20,
  RECORD_BYTES_MAX = 64 << 20;
/** One bit of a 32-bit word each. */
const CONDITIONS_MAX = 32;
const SOURCES_MAX = 32,
  DIMENSIONS_MAX = 32,
  MEASURES_MAX = 200,
  TABLES_MAX = 16;

export function buildPlan(job: TopologyValue, contracts: ReadonlyMap<string, Contract>): Plan {
  const spec: JobSpec = job.spec;
  checkJobName(spec.name);
  const sources = readSources(spec, contracts);
  const dedupe: DedupeSpec = part(spec, 'dedupe', '.dedupe({ by: "event_id", horizon: days(30) })');
  const watermark: WatermarkSpec = part(spec, 'watermark', '.watermark({ by: "event_time", outOfOrder: minutes(5) })');
  const id = sharedField(sources, dedupe.by, 'dedupe by', ['string', 'integer']).name;
  const time = sharedField(sources, watermark.by, 'watermark by', ['timestamp']).name;
  const producerKey =
    dedupe.producerKey === undefined ? null : sharedField(sources, dedupe.producerKey, 'producerKey', ['string', 'integer']).name;
  if (spec.repartition !== undefined && producerKey !== null)
    throw new JobError(
      'the job says both repartition and producerKey',
      'With .repartition() nobody asks by what producers key: leave producerKey out.',
    );
  const horizonMs = bounded(
    'horizon',
    dedupe.horizon ?? HORIZON_MS,
    HORIZON_MIN_MS,
    HORIZON_MAX_MS,
    'from 1 hour to 42 days, such as days(30)',
  );
  const outOfOrderMs = bounded('outOfOrder', watermark.outOfOrder, 0, horizonMs, 'from 0 to the horizon, such as minutes(5)');
  const fenceMs = bounded('fence', watermark.fence ?? FENCE_MS, 0, HORIZON_MAX_MS, 'from 0 to 42 days, such as hours(1)');
  const limits: Limits = spec.limits ?? {};
  const maxRecordBytes = bounded('maxRecordBytes', limits.maxRecordBytes ?? RECORD_BYTES, 1, RECORD_BYTES_MAX, 'bytes from 1 to 64 MiB');
  const columns = new Set<string>();
  const dimensions = readDimensions(spec, sources, columns);
  const plan: Plan = {
    format: 1,
    job: spec.name,
    sources: sources.map((c) => ({ contract: c.id, version: c.version, digest: c.digest, topic: c.topic })),
    id,
    time,
    horizonMs,
    outOfOrderMs,
    fenceMs,
    maxRecordBytes,
    producerKey,
    ...(spec.repartition === undefined
      ? {}
      : { repartition: { by: sharedField(sources, spec.repartition.by, 'repartition by', ['string', 'integer']).name } }),
    dimensions,
    measures: readMeasures(spec, sources, columns),
    tables: readTables(spec),
  };
  checkConditions(plan);
  return plan;
}

function part<K extends 'sources' | 'dedupe' | 'watermark' | 'dimensions' | 'measures' | 'windows'>(
  spec: JobSpec,
  name: K,
  example: string,
): NonNullable<JobSpec[K]> {
  const value = spec[name];
  if (value === undefined) throw new JobError(`the topology says no ${example.slice(1, example.indexOf('('))}`, `It needs ${example}.`);
  return value as NonNullable<JobSpec[K]>;
}

function readSources(spec: JobSpec, contracts: ReadonlyMap<string, Contract>): Contract[] {
  const ids = part(spec, 'sources', '.read(adsClick)');
  inRange('read', ids.length, 1, SOURCES_MAX, 'contracts');
  const seen = new Set<string>();
  return ids.map((id: unknown) => {
    if (typeof id !== 'string')
      throw new JobError('read() was given something that is no contract', 'Give it a generated handle, or contract("id").');
    const found = contracts.get(id);
    if (found === undefined) {
      throw new JobError(
        `there is no contract "${id}"${didYouMean(id, contracts.keys())}`,
        `The contracts are: ${[...contracts.keys()].sort().join(', ')}.`,
      );
    }
    if (seen.has(id))
      throw new JobError(`contract "${id}" is read twice`, 'Once is enough: measures may say what they count with a condition.');
    seen.add(id);
    return found;
  });
}

/** A field that every source must have: required, and of one type out of `types`. */
function sharedField(sources: readonly Contract[], name: unknown, what: string, types: readonly Field['type'][]): Field {
  const found = sources.map((c) => {
    const field = c.fields.find((f) => f.name === name);
    const names = c.fields.map((f) => f.name);
    if (field === undefined) {
      const meant = typeof name === 'string' ? didYouMean(name, names) : '';
      throw new JobError(`${what}: contract "${c.id}" has no field ${show(name)}${meant}`, `Its fields are: ${names.join(', ')}.`);
    }
    if (!field.required) {
      throw new JobError(
        `${what}: field "${field.name}" of contract "${c.id}" is not required`,
        'Say required: true in the contract, or take another field.',
      );
    }
    if (!types.includes(field.type)) {
      throw new JobError(
        `${what}: field "${field.name}" of contract "${c.id}" is of type ${field.type}, not ${types.join(' or ')}`,
        fits(c, types, name as string),
      );
    }
    return { contract: c, field };
  });
  const [first, ...rest] = found as [{ contract: Contract; field: Field }];
  for (const other of rest as typeof found) {
    if (other.field.type === first.field.type) continue;
    throw new JobError(
      `${what}: field "${first.field.name}" is of type ${first.field.type} in contract "${first.contract.id}", but ${other.field.type} in "${other.contract.id}"`,
      'It must be of one type in every contract that the job reads.',
    );
  }
  return first.field;
}

function fits(c: Contract, types: readonly Field['type'][], wrong: string): string {
  const names = c.fields.filter((f) => f.required && types.includes(f.type)).map((f) => f.name);
  if (names.length === 0) return `Contract "${c.id}" has no such field.`;
  const meant = nearest(wrong, names);
  return meant === undefined ? `It could be: ${names.join(', ')}.` : `Did you mean "${meant}"?`;
}

function readDimensions(spec: JobSpec, sources: readonly Contract[], columns: Set<string>): { name: string; type: DimensionType }[] {
  const names = part(spec, 'dimensions', '.keyBy("campaign_id")');
  inRange('keyBy', names.length, 0, DIMENSIONS_MAX, 'dimensions');
  return names.map((name) => {
    const field = sharedField(sources, name, 'keyBy', ['string', 'integer', 'boolean']);
    checkColumn('dimension', field.name, columns);
    columns.add(field.name);
    return { name: field.name, type: field.type as DimensionType };
  });
}

function readMeasures(spec: JobSpec, sources: readonly Contract[], columns: Set<string>): PlanMeasure[] {
  const measures = Object.entries(part(spec, 'measures', '.aggregate({ clicks: count(adsClick) })'));
  inRange('aggregate', measures.length, 1, MEASURES_MAX, 'measures');
  return measures.map(([name, measure]) => {
    checkColumn('measure', name, columns);
    columns.add(name);
    return buildMeasure(name, measure, sources);
  });
}

function readTables(spec: JobSpec): PlanTable[] {
  const windows: readonly Window[] = part(spec, 'windows', '.window(tumbling(hour).into("ads_hourly"))');
  inRange('window', windows.length, 1, TABLES_MAX, 'windows');
  const names = new Set<string>();
  return windows.map((w) => {
    if (w?.table === undefined) throw new JobError('a window says no table', 'For example tumbling(hour).into("ads_hourly").');
    checkTable(w.table, names);
    names.add(w.table);
    if (w.size !== 'hour' && w.size !== 'day')
      throw new JobError(
        `table "${w.table}": a window is tumbling(hour) or tumbling(day), not ${show(w.size)}`,
        'Other sizes are sums over these.',
      );
    checkZone(w.table, w.zone);
    return { name: w.table, size: w.size, zone: w.zone };
  });
}

/** A zone's name as IANA writes it: offsets such as +02:00 have no history, and another letter case would be another plan. */
function checkZone(table: string, zone: unknown): void {
  const known = Intl.supportedValuesOf('timeZone');
  const name = typeof zone === 'string' ? zone : '';
  const hint = 'Zones are named as in the IANA database, for example UTC or Europe/Berlin.';
  const other = ['UTC', ...known].find((z) => z !== name && z.toLowerCase() === name.toLowerCase());
  if (other !== undefined) throw new JobError(`table "${table}": there is no zone "${name}"; did you mean "${other}"?`, hint);
  let isKnown = /^[A-Za-z]/.test(name);
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
  } catch {
    isKnown = false;
  }
  if (!isKnown) throw new JobError(`table "${table}": there is no zone ${show(zone)}${didYouMean(name, known)}`, hint);
}

function bounded(what: string, value: unknown, least: number, most: number, expected: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new JobError(
    `${what} ${value === undefined ? 'is missing' : `is ${show(value)}`}: it must be ${expected}`,
    'Lengths of time are made by seconds(), minutes(), hours() and days().',
  );
}

function inRange(what: string, count: number, least: number, most: number, things: string): void {
  if (count >= least && count <= most) return;
  throw new JobError(`${what}() has ${count} ${things}: it takes ${least} to ${most}`, 'Split the job in two if it needs more.');
}

function checkConditions(plan: Plan): void {
  plan.sources.forEach((source, index) => {
    const conditions = sourceInputs(plan, index).wheres.length;
    if (conditions <= CONDITIONS_MAX) return;
    throw new JobError(
      `the measures over contract "${source.contract}" have ${conditions} different conditions: ${CONDITIONS_MAX} at most`,
      "Make the condition's field a dimension instead.",
    );
  });
}
