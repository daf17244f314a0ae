/**
 * Starts tally by the Node 24 that the package brings along, from whatever Node >= 20 this is. In a clone it installs first what
 * is missing. Signals are passed on once each, the child's end becomes this process's end, and a pipe on fd 3 ends when this
 * process does, however it dies: so the child never outlives it.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const EXIT_FAULT = 3;
/** From here on Node strips types without a flag or a warning, and has import.meta.main and module.registerHooks. */
const NODE_MAJOR = 24,
  NODE_MINOR_LEAST = 12;

function fits(version) {
  const [major, minor] = version.split('.').map(Number);
  return major === NODE_MAJOR && minor >= NODE_MINOR_LEAST;
}

/** The binary of npm's `node` package: beside this package, within it, or wherever npm has hoisted it to. */
export function findNode(from = root) {
  try {
    const manifest = createRequire(path.join(from, 'package.json')).resolve('node/package.json');
    const binary = path.join(path.dirname(manifest), 'bin', 'node');
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
}

export async function launch(args) {
  const source = path.join(root, 'src', 'cli', 'main.ts');
  const isClone = existsSync(source);
  if (isClone) {
    const { ensureInstalled } = await import('../scripts/ensure.mjs');
    const failed = await ensureInstalled(root, { dev: false });
    if (failed !== undefined) return fail(failed.code, failed.sentence, failed.hint);
  }
  const main = isClone ? source : path.join(root, 'dist', 'src', 'cli', 'main.js');
  // One process less when this one would do: it gets the signals itself, and nobody is left behind when it is killed.
  if (fits(process.versions.node)) return (await import(pathToFileURL(main).href)).start(args);
  const node = findNode();
  if (node === undefined && Number(process.versions.node.split('.')[0]) >= NODE_MAJOR)
    return (await import(pathToFileURL(main).href)).start(args);
  if (node === undefined) {
    return fail(
      'E_NODE',
      `the Node ${NODE_MAJOR} that tally runs by is not there: npm's package "node" was installed without its install script.`,
      `install again with scripts allowed (npm install --ignore-scripts=false), or start tally by Node ${NODE_MAJOR}.`,
    );
  }
  run(node, [main, ...args]);
}

function run(node, args) {
  const child = spawn(node, args, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env: { ...process.env, TALLY_LAUNCHER_FD: '3' } });
  // The child may be gone before its end of the pipe is read; that is told by 'exit'.
  child.stdio[3].on('error', () => {});
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    let isPassedOn = false;
    process.on(signal, () => {
      if (!isPassedOn) child.kill(signal);
      isPassedOn = true;
    });
  }
  child.on('error', (error) =>
    fail('E_NODE', `${node} cannot be started: ${error.message}.`, 'install again: npm ci (in a clone), npm install tally (elsewhere).'),
  );
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 128 + constants.signals[signal]));
}

function fail(code, sentence, hint) {
  process.stderr.write(`tally: ${code}: ${sentence}\nhint: ${hint}\n`);
  process.exitCode = EXIT_FAULT;
}
