/**
 * node scripts/node24.mjs FILE|TOOL ...: a file of this clone, or a tool among its devDependencies, by the Node 24 of npm's package `node`, whatever Node
 * npm itself runs under; installs first what is missing.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNode } from '../bin/launch.mjs';
import { ensureInstalled } from './ensure.mjs';

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** The JavaScript file behind a tool's command. */
export function toolFile(name) {
  const own = name === 'tsc' ? 'typescript' : name;
  const folder = path.join(root, 'node_modules', own);
  const { bin } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  return path.join(folder, typeof bin === 'string' ? bin : bin[name]);
}

export async function readyNode() {
  const failed = await ensureInstalled(root, { dev: true });
  if (failed !== undefined) {
    process.stderr.write(`tally: ${failed.code}: ${failed.sentence}\nhint: ${failed.hint}\n`);
    process.exit(3);
  }
  return findNode() ?? process.execPath;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const node = await readyNode();
  const [what, ...rest] = process.argv.slice(2);
  const file = existsSync(path.join(root, what)) && what.includes('.') ? path.join(root, what) : toolFile(what);
  // Tools that start `node` themselves get the same one.
  const env = { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}` };
  const child = spawn(node, [file, ...rest], { stdio: 'inherit', cwd: root, env });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 128 + constants.signals[signal]));
}
