/**
 * The quality checks of a contract. `invalidValues` with `mustBe: 0` is a rule that every event is asked by the gate;
 * everything else is a check over many events, which nothing executes yet: that is said aloud, never passed over.
 */
import { didYouMean } from '../../topology/nearest.ts';
import type { OdcsQuality } from './odcs.ts';
import type { Path, YamlFile } from './yaml-file.ts';

export interface GateRules {
  validValues: { readonly values: readonly unknown[]; readonly path: Path } | null;
  validPattern: { readonly pattern: string; readonly path: Path } | null;
}
const ARGUMENTS = ['validValues', 'pattern'];

/** Of a property: rules go into the result, the rest into `warnings`. */
export function readRules(yaml: YamlFile, path: Path, checks: readonly OdcsQuality[], warnings: string[]): GateRules {
  const rules: GateRules = { validValues: null, validPattern: null };
  checks.forEach((check, i) => {
    const at: Path = [...path, i];
    if (!isRule(check)) warnings.push(notExecuted(yaml, at, check));
    else readRule(yaml, [...at, 'arguments'], check.arguments, rules);
  });
  return rules;
}

export function notExecuted(yaml: YamlFile, path: Path, check: OdcsQuality): string {
  const name = check.name ?? check.id ?? check.metric ?? check.type ?? 'without a name';
  return `${yaml.file}:${yaml.line(path)}: quality check "${name}" is not executed: only invalidValues with mustBe: 0 is, event by event`;
}

function isRule(check: OdcsQuality): boolean {
  return (check.type ?? 'library') === 'library' && check.metric === 'invalidValues' && check.mustBe === 0;
}

function readRule(yaml: YamlFile, path: Path, given: Readonly<Record<string, unknown>> | undefined, rules: GateRules): void {
  const keys = Object.keys(given ?? {});
  const wrong = keys.find((k) => !ARGUMENTS.includes(k));
  if (wrong !== undefined)
    throw yaml.fault(
      [...path, wrong],
      `invalidValues takes no such argument${didYouMean(wrong, ARGUMENTS)}`,
      'It takes validValues and pattern.',
    );
  if (given === undefined || keys.length === 0)
    throw yaml.fault(path, 'invalidValues needs validValues or a pattern', 'For example arguments: {validValues: [feed, story]}.');
  if ('validValues' in given) {
    const at = [...path, 'validValues'],
      values = given['validValues'];
    if (!Array.isArray(values) || values.length === 0)
      throw yaml.fault(at, 'must be a list of at least one value', 'For example validValues: [feed, story].');
    if (rules.validValues !== null) throw yaml.fault(at, 'the field has two lists of valid values', 'Write one list.');
    rules.validValues = { values, path: at };
  }
  if ('pattern' in given) {
    const at = [...path, 'pattern'],
      pattern = given['pattern'];
    if (typeof pattern !== 'string') throw yaml.fault(at, 'must be text', 'Write the regular expression in quotes.');
    if (rules.validPattern !== null)
      throw yaml.fault(at, 'the field has two such patterns', 'Write one pattern, or put the other into logicalTypeOptions.pattern.');
    rules.validPattern = { pattern, path: at };
  }
}
