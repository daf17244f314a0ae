/** One measure of a job, checked against the contract that it reads: field, type, conditions. */
import type { Contract, Field } from './contract/model.ts';
import { JobError } from './job-error.ts';
import type { Measure } from './job.ts';
import { show } from './names.ts';
import { didYouMean } from './nearest.ts';
import type { MeasureType, PlanCondition, PlanMeasure } from './plan.ts';

const KINDS = ['count', 'sum', 'min', 'max'];

export function buildMeasure(name: string, measure: Measure, sources: readonly Contract[]): PlanMeasure {
  const what = `measure "${name}"`;
  if (!KINDS.includes(measure?.kind))
    throw new JobError(`${what} is no measure`, 'A measure is count(), sum(), min() or max() of a contract.');
  const source = sources.findIndex((c) => c.id === measure.contract);
  const contract = sources[source];
  if (contract === undefined) {
    const ids = sources.map((c) => c.id);
    const meant = typeof measure.contract === 'string' ? didYouMean(measure.contract, ids) : '';
    throw new JobError(
      `${what} is over contract ${show(measure.contract)}, which the job does not read${meant}`,
      `It reads: ${ids.join(', ')}.`,
    );
  }
  const where = conditions(what, measure.where ?? {}, contract);
  if (measure.kind === 'count') return { name, kind: 'count', source, field: null, where, type: 'int64', scale: 0 };
  const field = fieldOf(what, measure.field, contract);
  const type = measure.kind === 'sum' ? sumType(what, field, contract) : comparedType(what, measure.kind, field, contract);
  return { name, kind: measure.kind, source, field: field.name, where, type, scale: type === 'decimal' ? field.scale! : 0 };
}

function fieldOf(what: string, name: unknown, contract: Contract): Field {
  const field = contract.fields.find((f) => f.name === name);
  if (field !== undefined) return field;
  const names = contract.fields.map((f) => f.name);
  const meant = typeof name === 'string' ? didYouMean(name, names) : '';
  throw new JobError(`${what}: contract "${contract.id}" has no field ${show(name)}${meant}`, `Its fields are: ${names.join(', ')}.`);
}

function sumType(what: string, field: Field, contract: Contract): MeasureType {
  const type = exactType(field);
  if (type !== null) return type;
  const could = contract.fields.filter((f) => exactType(f) !== null).map((f) => f.name);
  if (field.type === 'number') {
    throw new JobError(
      `${what}: field "${field.name}" of contract "${contract.id}" is a number without decimal places of its own, so its sum would not be exact`,
      'Say logicalTypeOptions.multipleOf: 0.01 (or another power of ten) in the contract.',
    );
  }
  throw new JobError(
    `${what}: field "${field.name}" of contract "${contract.id}" is of type ${field.type}, which cannot be summed${didYouMean(field.name, could)}`,
    could.length === 0 ? 'The contract has no field that can be summed.' : `Fields that can be summed: ${could.join(', ')}.`,
  );
}

function comparedType(what: string, kind: string, field: Field, contract: Contract): MeasureType {
  if (field.type === 'timestamp') return 'timestamp';
  if (field.type === 'number' && field.scale === null) return 'float64';
  const type = exactType(field);
  if (type !== null) return type;
  throw new JobError(
    `${what}: field "${field.name}" of contract "${contract.id}" is of type ${field.type}, which has no ${kind}`,
    'min() and max() take integers, numbers and timestamps.',
  );
}

function exactType(field: Field): 'int64' | 'decimal' | null {
  if (field.type === 'integer') return 'int64';
  return field.type === 'number' && field.scale !== null ? 'decimal' : null;
}

/** In name order, so that the same condition written in another order is the same plan. */
function conditions(what: string, where: Readonly<Record<string, unknown>>, contract: Contract): PlanCondition[] {
  return Object.keys(where)
    .sort()
    .map((name) => {
      const field = fieldOf(`${what}, condition`, name, contract),
        equals = where[name];
      const at = `${what}: condition on field "${name}" of contract "${contract.id}"`;
      if (field.type !== 'string' && field.type !== 'integer' && field.type !== 'boolean') {
        throw new JobError(`${at} is on a ${field.type}`, 'Conditions compare text, integers and booleans.');
      }
      const isRight = field.type === 'integer' ? Number.isSafeInteger(equals) && !Object.is(equals, -0) : typeof equals === field.type;
      if (!isRight)
        throw new JobError(
          `${at} compares it with ${show(equals)}, but it is of type ${field.type}`,
          `Compare it with a value of type ${field.type}.`,
        );
      const value = equals as PlanCondition['equals'];
      if (field.validValues !== null && !field.validValues.includes(value)) {
        const valid = field.validValues.map(String);
        throw new JobError(
          `${at} can never hold: ${show(value)} is not among its valid values${didYouMean(String(value), valid)}`,
          `They are: ${valid.join(', ')}.`,
        );
      }
      return { field: name, equals: value };
    });
}
