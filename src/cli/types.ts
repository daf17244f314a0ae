/** `tally types`: the typed handles of a directory of contracts, written whole or not at all; --check only compares. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { generateTypes } from '../contracts/generate-types.ts';
import { loadContracts } from '../contracts/read.ts';
import { EXIT_NO, usage } from '../errors.ts';
import type { Args, Command } from './command.ts';
import { makeDirs } from '../make-dirs.ts';

export const types: Command = {
  name: 'types',
  summary: 'generate the typed contract handles that a job imports',
  usage: '--contracts DIR --out FILE.ts [--check]',
  positionals: { min: 0, max: 0 },
  options: {
    contracts: { type: 'string', placeholder: 'DIR', help: 'directory of ODCS YAML files' },
    out: { type: 'string', placeholder: 'FILE.ts', help: 'file to write' },
    check: { type: 'boolean', help: 'write nothing; exit 1 when the file is not what would be written' },
  },
  required: ['contracts', 'out'],
  examples: [
    'tally types --contracts contracts --out contracts/contracts.gen.ts',
    'tally types --contracts contracts --out contracts/contracts.gen.ts --check',
  ],
  run: async (args) => run(args),
};

function run(args: Args): number {
  const dir = String(args.values['contracts']),
    out = resolve(String(args.values['out']));
  if (!/\.m?ts$/.test(out)) throw usage('E_USAGE', `${out} is not a .ts file`, 'Name a TypeScript file, such as contracts.gen.ts.');
  const { contracts, warnings } = loadContracts(dir);
  for (const warning of warnings) process.stderr.write(`tally: warning: ${warning}\n`);
  const text = generateTypes(contracts);
  const isFresh = existsSync(out) && read(out) === text;
  if (args.values['check'] === true) {
    process.stderr.write(
      isFresh ? `${out} is up to date\n` : `${out} is stale: run tally types --contracts ${dir} --out ${String(args.values['out'])}\n`,
    );
    return isFresh ? 0 : EXIT_NO;
  }
  if (!isFresh) write(out, text);
  process.stderr.write(`${out}: ${contracts.size} contract${contracts.size === 1 ? '' : 's'}${isFresh ? ', unchanged' : ''}\n`);
  return 0;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw usage('E_OUT', `${file} cannot be read: ${(cause as Error).message}`, 'Name a file with --out.');
  }
}

function write(file: string, text: string): void {
  const half = `${file}.${process.pid}.tmp`;
  try {
    makeDirs(dirname(file));
    writeFileSync(half, text);
    renameSync(half, file);
  } catch (cause) {
    if (existsSync(half)) rmSync(half);
    throw usage('E_OUT', `${file} cannot be written: ${(cause as Error).message}`, 'Name a file in a directory that can be written to.');
  }
}
