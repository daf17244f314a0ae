/**
 * A contract as the gate sees it: checked, normalised, plain data. `src/contracts/` reads it from ODCS YAML; the scanner,
 * the generated types and the oracle are made from it. Fields stand in the contract's order: rules are asked in that order.
 */
export type FieldType = 'string' | 'integer' | 'number' | 'boolean' | 'timestamp' | 'date';

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly required: boolean;
  /** timestamp only: how it is written. */
  readonly time: 'epoch_millis' | 'iso8601' | null;
  /** string only, counted in Unicode code points. */
  readonly minLength: number | null;
  readonly maxLength: number | null;
  readonly pattern: string | null;
  readonly format: 'uuid' | 'email' | 'uri' | 'ipv4' | 'ipv6' | 'hostname' | null;
  /** integer and number; decimal text as in the YAML, so that 64-bit bounds stay exact. */
  readonly minimum: string | null;
  readonly maximum: string | null;
  readonly exclusiveMinimum: string | null;
  readonly exclusiveMaximum: string | null;
  readonly multipleOf: string | null;
  /** timestamp bounds in epoch ms (also 1970-01-01 and 2105-12-31 always hold). */
  readonly notBefore: number | null;
  readonly notAfter: number | null;
  /** number whose multipleOf is a power of ten 10^-scale: a scaled integer; integer: 0; else null. */
  readonly scale: number | null;
  readonly validValues: readonly (string | number | boolean)[] | null;
  /** second pattern, from `invalidValues` with `arguments.pattern` and mustBe 0: a value must match. */
  readonly validPattern: string | null;
}

export interface Contract {
  readonly id: string;
  readonly version: string;
  readonly topic: string;
  readonly digest: string;
  readonly fields: readonly Field[];
}

/** The codes of the gate in the order in which they win; the last three belong to admission and dedup. */
export const CODES = [
  'OVERSIZE',
  'UNPARSEABLE',
  'MISSING_FIELD',
  'TYPE_MISMATCH',
  'VALUE_OUT_OF_RANGE',
  'INVALID_VALUE',
  'FUTURE_TIME',
  'EXPIRED',
  'ID_CONFLICT',
] as const;
export type Code = (typeof CODES)[number];
