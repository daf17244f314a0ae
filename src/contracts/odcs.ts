/**
 * A YAML file against the official JSON schema of ODCS 3.1.0. Of all that the validator complains about, the one that a
 * person can act on is told: an unknown key with the nearest right one, a value out of a list, a wrong type, a missing key.
 */
import { Ajv2019 } from 'ajv/dist/2019.js';
import type { ErrorObject, ValidateFunction } from 'ajv/dist/2019.js';
import formats from 'ajv-formats';
import { didYouMean } from '../../topology/nearest.ts';
import schema from './odcs-v3.1.0.schema.json' with { type: 'json' };
import type { Path, YamlFile } from './yaml-file.ts';

const HINT = 'Contracts are Open Data Contract Standard 3.1 files: see https://bitol-io.github.io/open-data-contract-standard/v3.1.0/.';

/** The part of a checked file that Tally reads; everything else in it is for people and other tools. */
export interface OdcsFile {
  readonly apiVersion: string;
  readonly id: string;
  readonly version: string;
  readonly schema?: readonly OdcsObject[];
}
export interface OdcsObject {
  readonly name: string;
  readonly physicalName?: string;
  readonly physicalType?: string;
  readonly properties?: readonly OdcsProperty[];
  readonly quality?: readonly OdcsQuality[];
}
export interface OdcsProperty {
  readonly name: string;
  readonly physicalName?: string;
  readonly physicalType?: string;
  readonly logicalType?: string;
  readonly logicalTypeOptions?: Readonly<Record<string, unknown>>;
  readonly required?: boolean;
  readonly unique?: boolean;
  readonly primaryKey?: boolean;
  readonly quality?: readonly OdcsQuality[];
}
export interface OdcsQuality {
  readonly id?: string;
  readonly name?: string;
  readonly type?: string;
  readonly metric?: string;
  readonly mustBe?: unknown;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

let validator: ValidateFunction | undefined;

export function checkOdcs(yaml: YamlFile): OdcsFile {
  validator ??= compile();
  if (!validator(yaml.data)) throw explain(yaml, validator.errors ?? []);
  const file = yaml.data as OdcsFile;
  if (!file.apiVersion.startsWith('v3.')) throw yaml.fault(['apiVersion'], `${file.apiVersion} is too old`, 'Write apiVersion: v3.1.0.');
  return file;
}

function compile(): ValidateFunction {
  // The schema is the official one, and asked once: what a person waits for at each start is its compilation.
  const ajv = new Ajv2019({ allErrors: true, strict: false, verbose: true, validateSchema: false, code: { optimize: false } });
  formats.default(ajv);
  return ajv.compile(schema);
}

/** The likeliest mistake first; what only follows from another error comes last. */
const KEYWORDS = ['additionalProperties', 'unevaluatedProperties', 'enum', 'const', 'type', 'required', 'pattern', 'format', 'oneOf'];

function explain(yaml: YamlFile, errors: readonly ErrorObject[]): Error {
  const rank = (e: ErrorObject): number => {
    const at = KEYWORDS.indexOf(e.keyword);
    const isUnevaluated =
      e.keyword === 'unevaluatedProperties' &&
      errors.some((o) => o !== e && o.instancePath.startsWith(e.instancePath) && o.keyword !== e.keyword && o.keyword !== 'if');
    return isUnevaluated ? KEYWORDS.length + 1 : at < 0 ? KEYWORDS.length : at;
  };
  const [error] = [...errors].sort((a, b) => rank(a) - rank(b));
  if (error === undefined) return yaml.fault([], 'not a data contract', HINT);
  const path = toPath(error.instancePath, yaml.data);
  return yaml.fault(...tell(error, path));
}

function tell(e: ErrorObject, path: Path): [Path, string, string] {
  const params = e.params as Record<string, unknown>;
  switch (e.keyword) {
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const key = String(params['additionalProperty'] ?? params['unevaluatedProperty']);
      return [[...path, key], `there is no such key in ODCS 3.1${didYouMean(key, keysBeside(e))}`, HINT];
    }
    case 'enum': {
      const allowed = (params['allowedValues'] as unknown[]).map(String);
      return [path, `${JSON.stringify(e.data)} is not allowed${didYouMean(String(e.data), allowed)}`, `Allowed: ${allowed.join(', ')}.`];
    }
    case 'type':
      return [path, `${JSON.stringify(e.data)} must be of type ${String(params['type'])}`, HINT];
    case 'required':
      return [path, `"${String(params['missingProperty'])}" is missing`, HINT];
    case 'oneOf':
      return [
        path,
        path.includes('quality') ? 'a quality check has exactly one operator, such as mustBe: 0' : 'has more than one form, or none',
        HINT,
      ];
    default:
      return [path, `${JSON.stringify(e.data) ?? 'it'} ${e.message ?? 'is not valid'}`, HINT];
  }
}

/** Keys that may stand where a wrong one stands. Composed schemas keep theirs apart, so those of all the likely ones. */
function keysBeside(e: ErrorObject): string[] {
  const keys = Object.keys((e.parentSchema as { properties?: object } | undefined)?.properties ?? {});
  if (e.keyword === 'additionalProperties') return keys;
  const defs = schema.$defs;
  const groups: { properties?: object }[] = e.instancePath.includes('/quality')
    ? [defs.DataQuality, defs.DataQualityLibrary, defs.DataQualitySql, defs.DataQualityCustom, ...defs.DataQualityOperators.oneOf]
    : [defs.SchemaElement, defs.SchemaObject, defs.SchemaBaseProperty];
  return [...keys, ...groups.flatMap((g) => Object.keys(g.properties ?? {}))];
}

function toPath(pointer: string, data: unknown): Path {
  let value = data;
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      const step = Array.isArray(value) ? Number(key) : key;
      value = (value as Record<string | number, unknown> | undefined)?.[step];
      return step;
    });
}
