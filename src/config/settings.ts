/** The settings as a list, made from the schema: by its path a setting has its name in a file, in the environment and as a flag. */
import { z } from 'zod';
import { CONFIG } from './schema.ts';
import type { Config } from './schema.ts';
import { ABOUT } from './values.ts';
import type { About } from './values.ts';

export interface Setting {
  /** As in `commit.caughtUp`. */
  readonly name: string;
  readonly path: readonly string[];
  /** As in TALLY_COMMIT_CAUGHT_UP. */
  readonly variable: string;
  readonly about: About;
}

export const SETTINGS: readonly Setting[] = settingsOf(CONFIG, []);
export const BY_NAME: ReadonlyMap<string, Setting> = new Map(SETTINGS.map((s) => [s.name, s]));

function settingsOf(object: z.ZodObject, above: readonly string[]): Setting[] {
  return Object.entries(object.shape).flatMap(([key, schema]): Setting[] => {
    const path = [...above, key],
      about = ABOUT.get(schema as z.ZodType);
    if (about !== undefined) return [{ name: path.join('.'), path, variable: variableOf(path), about }];
    if (!(schema instanceof z.ZodPrefault)) throw new Error(`${path.join('.')} is neither a setting nor a group`);
    return settingsOf(schema.unwrap() as z.ZodObject, path);
  });
}

function variableOf(path: readonly string[]): string {
  return `TALLY_${path.map((key) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()).join('_')}`;
}

/** The value of a setting as it stands in the configuration; undefined when it is not set. */
export function valueOf(config: Config, setting: Setting): unknown {
  let value: unknown = config;
  for (const key of setting.path) value = (value as Record<string, unknown>)[key];
  return value;
}
