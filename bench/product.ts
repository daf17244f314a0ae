/** What is measured is what a package holds: JavaScript that was built. Sources would have their types stripped at each start, in each thread. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)),
  main = path.join(root, 'dist/src/cli/main.js'),
  SOURCES = ['src', 'state', 'topology', 'contracts', 'tsconfig.json', 'tsconfig.build.json'];

function newest(file: string): number {
  const { mtimeMs } = fs.statSync(file);
  if (!fs.statSync(file).isDirectory()) return mtimeMs;
  return fs.readdirSync(file).reduce((latest, name) => Math.max(latest, newest(path.join(file, name))), mtimeMs);
}

/** The command's file; it is built when a source is newer. */
export function builtMain(): string {
  const isFresh = fs.existsSync(main) && SOURCES.every((name) => newest(path.join(root, name)) < fs.statSync(main).mtimeMs);
  if (isFresh) return main;
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts/build.mjs')], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('the product cannot be built');
  return main;
}
