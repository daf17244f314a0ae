/**
 * The words after `tally NAME` against what the command declares. What comes out is complete and known: every option is one
 * of the command's, has a value if it needs one, stands once, and nothing required is absent. Else E_USAGE.
 */
import { parseArgs } from 'node:util';
import { type TallyError, usage } from '../errors.ts';
import type { Args, Command } from './command.ts';
import { nearest } from '../../topology/nearest.ts';

const EVERYWHERE = { help: { type: 'boolean', short: 'h' } } as const;

export function wrongUse(sentence: string, hint: string): TallyError {
  return usage('E_USAGE', sentence, hint);
}

export const asksHelp = (args: Args): boolean => args.values['help'] === true;

export function parse(command: Command, words: readonly string[]): Args {
  const see = `tally ${command.name} --help shows what it takes.`;
  const { tokens } = parseArgs({
    args: [...words],
    options: { ...Object.fromEntries(Object.entries(command.options).map(([name, o]) => [name, { type: o.type }])), ...EVERYWHERE },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, string | boolean> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    if (Object.hasOwn(values, token.name)) throw wrongUse(`${token.rawName} is given twice.`, see);
    values[token.name] = valueOf(command, token);
  }
  if (values['help'] === true) return { positionals, values };
  const missing = (command.required ?? []).filter((name) => values[name] === undefined);
  if (missing.length > 0) throw wrongUse(`tally ${command.name} needs ${missing.map((name) => `--${name}`).join(' and ')}.`, see);
  checkPositionals(command, positionals, see);
  return { positionals, values };
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function valueOf(command: Command, token: OptionToken): string | boolean {
  const see = `tally ${command.name} --help shows what it takes.`;
  if (token.name === 'help') return true;
  const option = Object.hasOwn(command.options, token.name) ? command.options[token.name] : undefined;
  if (option === undefined) {
    const meant = nearest(token.name, [...Object.keys(command.options), 'help']);
    throw wrongUse(`tally ${command.name} has no option ${token.rawName}.`, meant === undefined ? see : `did you mean --${meant}? ${see}`);
  }
  if (option.type === 'boolean') {
    if (token.value !== undefined) throw wrongUse(`${token.rawName} takes no value.`, see);
    return true;
  }
  const { value } = token;
  if (value === undefined || value === '') throw wrongUse(`${token.rawName} needs a value: ${option.placeholder ?? 'VALUE'}.`, see);
  // `--log --data x`: the value was forgotten, and the next option would be taken for it.
  if (token.inlineValue !== true && /^-[^\d]/.test(value)) {
    throw wrongUse(
      `${token.rawName} needs a value, and ${value} looks like an option.`,
      `write ${token.rawName}=${value} if it is the value.`,
    );
  }
  return value;
}

function checkPositionals(command: Command, positionals: readonly string[], see: string): void {
  const { min, max } = command.positionals;
  if (positionals.length < min) throw wrongUse(`something is missing: tally ${command.name} ${command.usage}`, see);
  if (positionals.length > max)
    throw wrongUse(
      `${positionals[max]} is one word too many: tally ${command.name} ${command.usage}`,
      `quote what has spaces in it. ${see}`,
    );
}
