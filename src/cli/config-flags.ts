/** The options of a command that takes settings: those that the schema gives a flag, and `--config`. */
import { SETTINGS } from '../config/settings.ts';
import type { Option } from './command.ts';

export function configFlags(): Record<string, Option> {
  const flags = SETTINGS.flatMap(({ about }): [string, Option][] => {
    if (about.flag === undefined) return [];
    const help = about.placeholder === undefined || about.default === undefined ? about.help : `${about.help} (${about.default})`;
    return [
      [about.flag, about.placeholder === undefined ? { type: 'boolean', help } : { type: 'string', placeholder: about.placeholder, help }],
    ];
  });
  return {
    ...Object.fromEntries(flags),
    config: {
      type: 'string',
      placeholder: 'FILE',
      help: 'read settings from this file of YAML or JSON; options and TALLY_... variables win over it',
    },
  };
}
