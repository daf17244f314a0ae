/**
 * A directory of ODCS files in, the contracts of the gate out: each checked against the official schema and by meaning, ids
 * and topics unique. One bad file is one E_CONTRACT, and nothing is loaded. The digest covers what the gate does with a
 * contract (id, version, topic, fields with their rules), so that a new description or owner changes no plan.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Contract, Field } from '../../topology/contract/model.ts';
import { digestOf } from '../../topology/digest.ts';
import { usage } from '../errors.ts';
import { readField } from './field.ts';
import { checkOdcs } from './odcs.ts';
import type { OdcsFile, OdcsObject, OdcsProperty } from './odcs.ts';
import { notExecuted } from './quality.ts';
import { readYaml } from './yaml-file.ts';
import type { Path, YamlFile } from './yaml-file.ts';

export interface LoadedContracts {
  readonly contracts: ReadonlyMap<string, Contract>;
  readonly warnings: readonly string[];
  /** The same warnings by contract id. */
  readonly warningsOf: ReadonlyMap<string, readonly string[]>;
}
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const TOPIC = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/;

export function loadContracts(dir: string): LoadedContracts {
  const contracts = new Map<string, Contract>(),
    warningsOf = new Map<string, readonly string[]>();
  const fileOf = new Map<string, string>(),
    topics = new Map<string, string>();
  for (const name of yamlFiles(dir)) {
    const yaml = readYaml(join(dir, name)),
      warnings: string[] = [];
    const contract = readContract(yaml, checkOdcs(yaml), warnings);
    const same = fileOf.get(contract.id),
      sameTopic = topics.get(contract.topic);
    if (same !== undefined) throw yaml.fault(['id'], `"${contract.id}" is also the id of ${same}`, 'Each contract has an id of its own.');
    if (sameTopic !== undefined) {
      throw yaml.fault(['schema', 0], `topic "${contract.topic}" is also the topic of ${sameTopic}`, 'A topic has one contract.');
    }
    fileOf.set(contract.id, yaml.file);
    topics.set(contract.topic, yaml.file);
    contracts.set(contract.id, contract);
    warningsOf.set(contract.id, warnings);
  }
  return { contracts, warnings: [...warningsOf.values()].flat(), warningsOf };
}

function yamlFiles(dir: string): string[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const wrong =
      code === 'ENOENT' ? 'does not exist' : code === 'ENOTDIR' ? 'is not a directory' : `cannot be read: ${(cause as Error).message}`;
    throw usage('E_CONTRACT', `the directory of contracts ${dir} ${wrong}`, 'Name a directory of ODCS files with --contracts.');
  }
  const yamls = names.filter((n) => /\.ya?ml$/.test(n) && !n.startsWith('.')).sort();
  if (yamls.length === 0) throw usage('E_CONTRACT', `there is no contract in ${dir}`, 'Contracts are files that end in .yaml.');
  return yamls;
}

function readContract(yaml: YamlFile, odcs: OdcsFile, warnings: string[]): Contract {
  if (!ID.test(odcs.id))
    throw yaml.fault(['id'], `"${odcs.id}" cannot be a contract's id`, 'It is letters, digits, dots, hyphens and underscores.');
  if (odcs.version === '') throw yaml.fault(['version'], 'is empty', 'For example version: 1.0.0.');
  const objects = odcs.schema ?? [];
  const [object] = objects;
  if (object === undefined || objects.length > 1) {
    throw yaml.fault(['schema'], `a contract describes one topic, this one ${objects.length}`, 'Write a file for each topic.');
  }
  const path: Path = ['schema', 0];
  const topic = topicOf(yaml, path, object);
  const fields = readFields(yaml, [...path, 'properties'], object.properties ?? [], warnings);
  (object.quality ?? []).forEach((check, i) => warnings.push(notExecuted(yaml, [...path, 'quality', i], check)));
  const meaning = { id: odcs.id, version: odcs.version, topic, fields };
  return { ...meaning, digest: digestOf(meaning) };
}

function topicOf(yaml: YamlFile, path: Path, object: OdcsObject): string {
  if (object.physicalType !== undefined && object.physicalType !== 'topic') {
    throw yaml.fault([...path, 'physicalType'], `"${object.physicalType}" is not read by Tally`, 'Write physicalType: topic.');
  }
  const key = object.physicalName === undefined ? 'name' : 'physicalName';
  const topic = object[key]!;
  if (!TOPIC.test(topic))
    throw yaml.fault(
      [...path, key],
      `"${topic}" cannot be a topic`,
      'Topics are letters, digits, dots, hyphens and underscores, 249 at most.',
    );
  return topic;
}

function readFields(yaml: YamlFile, path: Path, properties: readonly OdcsProperty[], warnings: string[]): Field[] {
  if (properties.length === 0) throw yaml.fault(path.slice(0, -1), 'the contract has no properties', 'Name the fields of an event.');
  const names = new Set<string>();
  const fields = properties.map((property, i) => {
    if (names.has(property.name)) throw yaml.fault([...path, i], 'the field is named twice', 'Name each field once.');
    names.add(property.name);
    return readField(yaml, [...path, i], property, warnings);
  });
  checkPrimaryKey(yaml, path, properties);
  return fields;
}

/** Deduplication lives on it. */
function checkPrimaryKey(yaml: YamlFile, path: Path, properties: readonly OdcsProperty[]): void {
  const keys = properties.flatMap((p, i) => (p.primaryKey === true ? [i] : []));
  const [at] = keys;
  if (at === undefined)
    throw yaml.fault(path.slice(0, -1), 'no field is the primary key', 'Say primaryKey: true at the field that identifies an event.');
  if (keys.length > 1) throw yaml.fault([...path, keys[1]!, 'primaryKey'], 'a second primary key', 'An event is identified by one field.');
  const key = properties[at]!;
  if (key.required !== true) throw yaml.fault([...path, at], 'the primary key must be required', 'Say required: true.');
  if (key.logicalType !== 'string' && key.logicalType !== 'integer') {
    throw yaml.fault([...path, at, 'logicalType'], `the primary key cannot be of type ${key.logicalType}`, 'It is text or an integer.');
  }
}
