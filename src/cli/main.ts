/**
 * `tally NAME ...`: finds the command, loads it alone, parses its words, prints its help or runs it, tells what went wrong and
 * sets the exit code. Commands return a code or throw; nothing else ends the process.
 */
import { EXIT_BUG } from '../errors.ts';
import type { Command } from './command.ts';
import { tell } from './faults.ts';
import { helpOf, helpOfAll } from './help.ts';
import { watchLauncher } from './launcher.ts';
import { nearest } from '../../topology/nearest.ts';
import { asksHelp, parse, wrongUse } from './parse.ts';

/** In the order in which someone meets them. Loaded one by one: no start pays for the others. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import('./demo.ts')).demo,
  produce: async () => (await import('./produce.ts')).produce,
  run: async () => (await import('./run.ts')).run,
  query: async () => (await import('./query.ts')).query,
  verify: async () => (await import('./verify.ts')).verify,
  status: async () => (await import('./status.ts')).status,
  config: async () => (await import('./config.ts')).config,
  explain: async () => (await import('./explain.ts')).explain,
  types: async () => (await import('./types.ts')).types,
  generate: async () => (await import('./generate.ts')).generate,
  clickhouse: async () => (await import('./clickhouse.ts')).clickhouse,
  audit: async () => (await import('./audit.ts')).audit,
  drop: async () => (await import('./drop.ts')).drop,
};

export const commandNames: readonly string[] = Object.keys(COMMANDS);

async function load(name: string): Promise<Command> {
  const loader = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (loader !== undefined) return loader();
  const meant = nearest(name, commandNames);
  throw wrongUse(`there is no command ${name}.`, `${meant === undefined ? '' : `did you mean ${meant}? `}tally --help lists them.`);
}

/** The exit code. Faults are thrown. */
async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words;
  if (first === undefined) throw wrongUse('which command?', 'tally --help lists them.');
  if (first === '--version' || first === '-v') {
    const { version } = await import('./version.ts');
    return print(`${version()}\n`);
  }
  if (first === '--help' || first === '-h' || first === 'help') {
    if (rest.length > 1) throw wrongUse(`${rest[1]} is one word too many.`, 'tally help COMMAND shows the help of one command.');
    if (rest[0] !== undefined) return print(helpOf(await load(rest[0])));
    return print(helpOfAll(await Promise.all(commandNames.map(load))));
  }
  if (first.startsWith('-'))
    throw wrongUse(`tally has no option ${first}.`, 'the command comes first: tally COMMAND ...; tally --help lists them.');
  const command = await load(first);
  const args = parse(command, rest);
  return asksHelp(args) ? print(helpOf(command)) : command.run(args);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** The process from its first to its last moment: also what a launcher calls that is fit to run tally itself. */
export async function start(words: readonly string[]): Promise<void> {
  watchLauncher();
  // Whoever reads the output may stop reading (`| head`): then there is nobody to tell, and nothing is wrong.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EPIPE' ? process.exit(0) : end(error)));
  process.stderr.on('error', () => {});
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
  try {
    const exit = await main(words);
    await Promise.all([drained(process.stdout), drained(process.stderr)]);
    process.exit(exit);
  } catch (error) {
    end(error);
  }
}

function end(thrown: unknown): never {
  let exit = EXIT_BUG;
  try {
    const told = tell(thrown, process.env['TALLY_DEBUG'] === '1');
    exit = told.exit;
    process.stderr.write(told.text);
  } finally {
    process.exit(exit);
  }
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}

if (import.meta.main) await start(process.argv.slice(2));
