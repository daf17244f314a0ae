/** `tally config show`: every setting, its value and where that came from; secrets hidden. What a run with the same words would use. */
import { loadConfig, shown } from '../config/load.ts';
import type { Loaded } from '../config/load.ts';
import { SETTINGS, valueOf } from '../config/settings.ts';
import type { Setting } from '../config/settings.ts';
import { didYouMean } from '../../topology/nearest.ts';
import type { Args, Command } from './command.ts';
import { configFlags } from './config-flags.ts';
import { wrongUse } from './parse.ts';

export const config: Command = {
  name: 'config',
  summary: 'show the settings of a run, and where each comes from',
  usage: 'show [--config FILE] [--json] [any option of tally run]',
  positionals: { min: 1, max: 1 },
  options: { ...configFlags(), json: { type: 'boolean', help: 'print one JSON object' } },
  examples: ['tally config show', 'tally config show --config tally.yaml --shards 4', 'tally config show --config tally.yaml --json'],
  async run(args: Args): Promise<number> {
    const [word] = args.positionals;
    if (word !== 'show') throw wrongUse(`tally config cannot ${word}${didYouMean(word!, ['show'])}`, 'tally config show is what it can.');
    const loaded = loadConfig(args.values, process.env);
    process.stdout.write(args.values['json'] === true ? `${JSON.stringify(asJson(loaded))}\n` : asText(loaded));
    return 0;
  },
};

function asJson(loaded: Loaded): unknown {
  const settings = SETTINGS.map((setting) => {
    const { kind, where } = loaded.origins.get(setting.name)!;
    return {
      name: setting.name,
      value: plain(loaded, setting),
      origin: kind,
      where: where === '' ? null : where,
      variable: setting.variable,
      flag: setting.about.flag === undefined ? null : `--${setting.about.flag}`,
    };
  });
  return { file: loaded.file ?? null, settings };
}

/** Numbers without a unit and truths as they are, everything else as it would be written. */
function plain({ config }: Loaded, setting: Setting): unknown {
  const value = valueOf(config, setting),
    text = shown(config, setting);
  if (text === undefined) return null;
  return typeof value !== 'string' && String(value) === text ? value : text;
}

function asText({ config, origins }: Loaded): string {
  const rows = SETTINGS.map((setting): [string, string, string] => {
    const { kind, where } = origins.get(setting.name)!,
      value = shown(config, setting);
    return [setting.name, value ?? '-', kind === 'default' ? (value === undefined ? 'not set' : 'default') : where];
  });
  const [first, second] = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map(([name, value, origin]) => `${name.padEnd(first!)}  ${value.padEnd(second!)}  ${origin}\n`).join('');
}
