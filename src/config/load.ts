/**
 * Flags, environment and file become one configuration: what a nearer one gives wins, in that order, over the defaults; every value is
 * known by where it came from. A value that is wrong is refused wherever it stands, also where a nearer one would win over it.
 */
import { usage } from '../errors.ts';
import type { TallyError } from '../errors.ts';
import { checkRules } from './rules.ts';
import { CONFIG } from './schema.ts';
import type { Config } from './schema.ts';
import { SETTINGS, valueOf } from './settings.ts';
import type { Setting } from './settings.ts';
import { fromEnvironment, fromFile, fromFlags } from './sources.ts';
import type { Environment, Given, Origin, Words } from './sources.ts';

export interface Loaded {
  readonly config: Config;
  /** By the setting's name. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** The configuration file that was read. */
  readonly file: string | undefined;
}
const DEFAULT: Origin = { kind: 'default', where: '' };

/** `words`: the options of a command line, `--config FILE` among them. */
export function loadConfig(words: Words, env: Environment): Loaded {
  const named = words['config'] ?? env['TALLY_CONFIG'],
    file = typeof named === 'string' && named !== '' ? named : undefined;
  const layers = [file === undefined ? [] : fromFile(file), fromEnvironment(env), fromFlags(words)];
  let merged = new Map<string, Given>();
  for (const layer of layers) {
    const byName = new Map(layer.map((given) => [given.setting.name, given]));
    parse(byName);
    merged = new Map([...merged, ...byName]);
  }
  const config = parse(merged);
  const origins = new Map(SETTINGS.map((s) => [s.name, merged.get(s.name)?.origin ?? DEFAULT]));
  checkRules(config, origins);
  return { config, origins, file };
}

function parse(given: ReadonlyMap<string, Given>): Config {
  const done = CONFIG.safeParse(treeOf(given.values()));
  if (done.success) return done.data;
  const [issue] = done.error.issues,
    wrong = given.get(issue!.path.join('.'));
  if (wrong === undefined) throw new Error(`the schema refused what nobody gave: ${issue!.path.join('.')} ${issue!.message}`);
  throw refused(wrong, issue!.message);
}

function treeOf(all: Iterable<Given>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const { setting, value } of all) {
    let group = root;
    for (const key of setting.path.slice(0, -1)) group = (group[key] ??= {}) as Record<string, unknown>;
    group[setting.path.at(-1)!] = value;
  }
  return root;
}

function refused({ setting, origin }: Given, message: string): TallyError {
  if (origin.kind === 'flag') return usage('E_USAGE', `${origin.where} ${message}`, `${origin.where}: ${setting.about.help}`);
  const name = origin.kind === 'file' ? `${origin.where}: ${setting.name}` : origin.where;
  return usage('E_CONFIG', `${name} ${message}`, `${setting.name}: ${setting.about.help}`);
}

/** As one would write it, secrets hidden; undefined when it is not set. */
export function shown(config: Config, setting: Setting): string | undefined {
  const value = valueOf(config, setting);
  return value === undefined ? undefined : setting.about.show(value);
}
