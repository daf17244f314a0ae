/**
 * The types behind the language: a contract as the compiler sees it (generated from the YAML by `tally types`), and which of
 * its fields may stand where. All of it erases; at run time a handle is the contract's id and the plan is checked from YAML alone.
 */
/** `decimal` is a `number` whose multipleOf is a power of ten: a scaled integer, so that it can be summed exactly. */
export type FieldKind = 'string' | 'integer' | 'decimal' | 'number' | 'boolean' | 'timestamp' | 'date';

export interface FieldShape {
  readonly type: FieldKind;
  readonly required: boolean;
  /** What a condition may compare the field with. */
  readonly value: string | number | boolean;
}
export interface Shape {
  readonly [field: string]: FieldShape;
}
export interface ContractHandle<Id extends string = string, S extends Shape = Shape> {
  readonly contract: Id;
  /** Never there at run time: it carries the fields' types. */
  readonly fields?: S;
}
/** Fields of a contract that the compiler knows nothing of: every name is let through, and checked when the job is loaded. */
export interface Untyped {
  readonly [field: string]: { readonly type: never; readonly required: never; readonly value: string | number | boolean };
}

/**
 * Names of the fields of S that are as wanted; of several contracts (a union) those that are so in each of them. A key type
 * rather than an index type, so that the compiler's message lists the names.
 */
type Fields<S extends Shape, Wanted> = keyof { [K in keyof S & string as S[K] extends Wanted ? K : never]: K };

type RequiredOf<Type extends FieldKind> = { readonly type: Type; readonly required: true };
/** Whether a field is, in all contracts alike, A, B or C; in a tuple, so that a union of contracts is not taken apart. */
type Same<F, A, B, C = B> = [F] extends [A] ? true : [F] extends [B] ? true : [F] extends [C] ? true : false;

/** Text or an integer, required, of one type in all contracts. */
export type KeyField<S extends Shape> = keyof {
  [K in keyof S & string as Same<S[K], RequiredOf<'string'>, RequiredOf<'integer'>> extends true ? K : never]: K;
};
export type DimensionField<S extends Shape> = keyof {
  [K in keyof S & string as Same<S[K], RequiredOf<'string'>, RequiredOf<'integer'>, RequiredOf<'boolean'>> extends true ? K : never]: K;
};
export type TimeField<S extends Shape> = Fields<S, RequiredOf<'timestamp'>>;
export type SummableField<S extends Shape> = Fields<S, { readonly type: 'integer' | 'decimal' }>;
export type ComparableField<S extends Shape> = Fields<S, { readonly type: 'integer' | 'decimal' | 'number' | 'timestamp' }>;
export type Where<S extends Shape> = {
  readonly [K in Fields<S, { readonly type: 'string' | 'integer' | 'boolean' }>]?: S[K]['value'];
};
