/**
 * Where values come from: flags, the environment, a file. Each gives what was written, by the setting's name, and says where; what it has no
 * business with is refused with the nearest right name. Nothing is judged here but names.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isAlias, isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { usage } from '../errors.ts';
import { didYouMean } from '../../topology/nearest.ts';
import { BY_NAME, SETTINGS } from './settings.ts';
import type { Setting } from './settings.ts';

export type OriginKind = 'flag' | 'environment' | 'file' | 'default';
export interface Origin {
  readonly kind: OriginKind;
  /** `--shards`, TALLY_SHARDS, tally.yaml:3, or empty. */
  readonly where: string;
}
export interface Given {
  readonly setting: Setting;
  readonly value: unknown;
  readonly origin: Origin;
}
export type Words = Readonly<Record<string, string | boolean | undefined>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** Also read from the environment, but no settings. */
export const OTHER_VARIABLES: readonly string[] = ['TALLY_CONFIG', 'TALLY_DEBUG', 'TALLY_LAUNCHER_FD'];
/** Kubernetes tells each container of every service beside it: one that is called tally, or tally-something, is no slip of anybody's. */
const OF_A_SERVICE = /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;
/** A configuration is small; a log that was named in its place is not. */
const FILE_BYTES_MAX = 1 << 20;

export function fromFlags(words: Words): Given[] {
  return SETTINGS.flatMap((setting) => {
    const { flag } = setting.about,
      value = flag === undefined ? undefined : words[flag];
    return value === undefined ? [] : [{ setting, value, origin: { kind: 'flag', where: `--${flag}` } }];
  });
}

/** An empty variable is as good as none. */
export function fromEnvironment(env: Environment): Given[] {
  const byVariable = new Map(SETTINGS.map((s) => [s.variable, s])),
    out: Given[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('TALLY_') || value === undefined || value === '') continue;
    const setting = byVariable.get(name);
    if (setting !== undefined) out.push({ setting, value, origin: { kind: 'environment', where: name } });
    else if (!OTHER_VARIABLES.includes(name) && !OF_A_SERVICE.test(name))
      throw usage(
        'E_CONFIG',
        `the environment has ${name}, which is no setting${didYouMean(name, [...byVariable.keys(), ...OTHER_VARIABLES])}`,
        'correct or unset it; tally config show lists the settings',
      );
  }
  return out;
}

export function fromFile(file: string): Given[] {
  const lines = new LineCounter(),
    document = parseDocument(textOf(file), { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number): string => `${file}:${lines.linePos(offset).line}`;
  const [first] = document.errors;
  if (first !== undefined)
    throw usage('E_CONFIG', `${lineAt(first.pos[0])}: not YAML or JSON: ${first.message.split('\n')[0]}`, 'correct the file and try again');
  const out: Given[] = [];
  walk(
    document,
    document.contents,
    [],
    (place, value, offset) => out.push(givenAt(file, lineAt(offset), place, value)),
    (offset) => lineAt(offset),
  );
  return out;
}

type Found = (place: readonly string[], value: unknown, offset: number) => void;

/** Groups are gone into, everything else is a value. */
function walk(document: Document, node: unknown, above: readonly string[], found: Found, where: (offset: number) => string): void {
  if (node === null || (isScalar(node) && node.value === null)) return;
  if (!isMap(node))
    throw usage(
      'E_CONFIG',
      `${where(offsetOf(node))}: ${above.join('.') || 'the file'} is no group of settings`,
      'write NAME: VALUE under it, a line each',
    );
  for (const { key, value } of node.items) {
    const place = [...above, String(isScalar(key) ? key.value : key)],
      inner = isAlias(value) ? value.resolve(document) : value;
    const isGroup = SETTINGS.some((s) => s.path.length > place.length && place.every((part, i) => part === s.path[i]));
    if (isGroup) walk(document, inner, place, found, where);
    else if (!isScalar(inner) || inner.value !== null)
      found(place, isScalar(inner) ? inner.value : inner === null ? null : {}, offsetOf(key));
  }
}

const offsetOf = (node: unknown): number => (node as { range?: readonly number[] } | null)?.range?.[0] ?? 0;

function givenAt(file: string, where: string, place: readonly string[], value: unknown): Given {
  const name = place.join('.'),
    setting = place.some((part) => part.includes('.')) ? undefined : BY_NAME.get(name);
  if (setting === undefined)
    throw usage(
      'E_CONFIG',
      `${where}: there is no setting ${name}${didYouMean(name, BY_NAME.keys())}`,
      BY_NAME.has(name) ? 'a dot is a group: its settings stand under it, indented' : 'tally config show lists the settings',
    );
  if (setting.about.isSecret === true)
    throw usage(
      'E_CONFIG',
      `${where}: ${name} is a secret, and a configuration file is no place for one`,
      `name the file that holds it with ${name}File, or set ${setting.variable}`,
    );
  const isRelative = setting.about.isPath === true && typeof value === 'string' && value !== '' && !value.includes('://');
  return { setting, value: isRelative ? path.resolve(path.dirname(file), value) : value, origin: { kind: 'file', where } };
}

function textOf(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw usage(
      'E_CONFIG',
      `the configuration ${file} cannot be read: ${(cause as Error).message}`,
      'name a YAML or JSON file with --config',
    );
  }
  if (bytes.length > FILE_BYTES_MAX)
    throw usage('E_CONFIG', `${file} is too large for a configuration`, 'name a YAML or JSON file with --config');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw usage('E_CONFIG', `${file} is not UTF-8 text`, 'name a YAML or JSON file with --config');
  }
}
