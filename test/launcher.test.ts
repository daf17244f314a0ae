/**
 * bin/ as it stands in an installed package, with a small program in the place of main.js and, where it matters, under a Node
 * that says it is another: what the launcher does with arguments, ends, signals and kills, and with what is not installed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureInstalled, whatIsMissing } from '../scripts/ensure.mjs';

const root = path.dirname(import.meta.dirname);
let dir: string;
const started: ChildProcess[] = [];

beforeEach(() => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'tally-launcher-')));
  fs.cpSync(path.join(root, 'bin'), path.join(dir, 'bin'), { recursive: true });
  put('package.json', '{"name":"tally","type":"module"}');
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
  fs.rmSync(dir, { recursive: true, force: true });
});

function put(file: string, text: string): void {
  fs.mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
  fs.writeFileSync(path.join(dir, file), text);
}
function bringNode(): void {
  fs.mkdirSync(path.join(dir, 'node_modules'), { recursive: true });
  fs.symlinkSync(path.join(root, 'node_modules', 'node'), path.join(dir, 'node_modules', 'node'));
}
/** The fake program; started by hand or by import, as the real one. */
function program(body: string): void {
  put(
    'dist/src/cli/main.js',
    `export async function start(words) {\n${body}\n}\nif (import.meta.main) await start(process.argv.slice(2));\n`,
  );
}
const asNode = (version: string): string[] => [
  '--import',
  `data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'${version}'}})`,
];
const launcher = (version: string, ...args: string[]): string[] => [...asNode(version), path.join(dir, 'bin', 'tally.mjs'), ...args];

function start(version: string): { child: ChildProcess; line: () => Promise<string> } {
  const child = spawn(process.execPath, launcher(version), { stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return { child, line: async () => String((await lines.next()).value) };
}
/** Ended; whether somebody has taken note of its end yet (a zombie) is not its own affair. */
async function isGone(pid: number): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    const state = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim();
    if (state === '' || state.startsWith('Z')) return true;
    await sleep(25);
  }
  return false;
}

for (const version of ['20.1.0', '24.21.0']) {
  test(`under Node ${version} arguments, stdin, stdout, stderr and the exit code pass through`, () => {
    bringNode();
    program(
      "for await (const c of process.stdin) process.stdout.write(c); process.stdout.write(JSON.stringify(words)); process.stderr.write('e'); process.exit(7);",
    );
    const done = spawnSync(process.execPath, launcher(version, 'a', '--b=c d', ''), { input: 'in ', encoding: 'utf8' });
    expect(done).toMatchObject({ status: 7, stdout: 'in ["a","--b=c d",""]', stderr: 'e' });
  });
}

test('a Node that is fit runs tally itself, another starts the one that was brought along', () => {
  bringNode();
  program('process.stdout.write(process.execPath + " " + process.ppid);');
  const [own] = spawnSync(process.execPath, launcher('24.21.0'), { encoding: 'utf8' }).stdout.split(' ');
  expect(own).toBe(process.execPath);
  for (const version of ['20.1.0', '22.0.0', '24.1.0', '26.0.0']) {
    const [binary, parent] = spawnSync(process.execPath, launcher(version), { encoding: 'utf8' }).stdout.split(' ');
    expect(fs.realpathSync(binary!)).toBe(fs.realpathSync(path.join(root, 'node_modules/node/bin/node')));
    expect(parent).not.toBe(String(process.pid));
  }
});

test('a Node that is too old is told in one sentence', () => {
  const done = spawnSync(process.execPath, launcher('18.20.4'), { encoding: 'utf8' });
  expect(done).toMatchObject({ status: 2, stdout: '' });
  expect(done.stderr).toMatch(/^tally: E_NODE: Node 18\.20\.4 is too old.*\nhint: .*\n$/);
});

test('without the Node that it brings along, an old one says what to do, and a newer one goes on', () => {
  program("process.stdout.write('went on');");
  const done = spawnSync(process.execPath, launcher('20.1.0'), { encoding: 'utf8' });
  expect(done).toMatchObject({ status: 3, stdout: '' });
  expect(done.stderr).toMatch(/^tally: E_NODE: .*install script.*\nhint: .*\n$/);
  expect(spawnSync(process.execPath, launcher('26.0.0'), { encoding: 'utf8' }).stdout).toBe('went on');
});

const COUNTING = `
  let seen = 0;
  process.on('SIGTERM', () => { seen++; process.stdout.write('term ' + seen + '\\n'); setTimeout(() => process.exit(seen === 1 ? 0 : 9), 300); });
  setInterval(() => {}, 1000);
  process.stdout.write(process.pid + '\\n');`;

test('a signal that comes several times is passed on once, and an orderly end is 0', async () => {
  bringNode();
  program(COUNTING);
  const { child, line } = start('20.1.0');
  await line();
  child.kill('SIGTERM');
  expect(await line()).toBe('term 1');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test('a program that is killed ends its launcher with 128 and the signal', async () => {
  bringNode();
  program(COUNTING);
  const { child, line } = start('20.1.0');
  process.kill(Number(await line()), 'SIGKILL');
  expect(await once(child, 'exit')).toEqual([137, null]);
});

test('a launcher that is killed with -9 takes its program with it', async () => {
  bringNode();
  const watch = JSON.stringify(path.join(root, 'src/cli/launcher.ts'));
  program(`const { watchLauncher } = await import(${watch}); watchLauncher(); ${COUNTING}`);
  const { child, line } = start('20.1.0');
  const pid = Number(await line());
  expect(await Promise.race([isGone(pid), sleep(300)])).not.toBe(true);
  child.kill('SIGKILL');
  const isEnded = await isGone(pid);
  if (!isEnded) process.kill(pid, 'SIGKILL');
  expect(isEnded).toBe(true);
});

const LOCKFILE = {
  packages: {
    '': {},
    'node_modules/a': { version: '1.0.0', integrity: 'x' },
    'node_modules/b': { version: '2.0.0', dev: true },
    'node_modules/c': { version: '1.0.0', optional: true },
  },
};
/** An npm that notes that it was called, takes its time, and installs what the lock file says. */
const NPM = `const fs = require('fs'); fs.appendFileSync('calls', process.argv.slice(2).join(' ') + '\\n');
setTimeout(() => { for (const n of ['a', 'b', 'node']) { fs.mkdirSync('node_modules/' + n, { recursive: true }); fs.writeFileSync('node_modules/' + n + '/package.json', '{}'); }
fs.mkdirSync('node_modules/node/bin'); fs.writeFileSync('node_modules/node/bin/node', '');
fs.copyFileSync('package-lock.json', 'node_modules/.package-lock.json'); console.log('npm says'); }, 200);`;

function clone(): void {
  put('package-lock.json', JSON.stringify(LOCKFILE));
  put('npm/npm-cli.js', NPM);
  put('npm/package.json', '{"type":"commonjs"}');
  fs.cpSync(path.join(root, 'scripts/ensure.mjs'), path.join(dir, 'scripts/ensure.mjs'));
  put('src/cli/main.ts', "export async function start(words: string[]) { process.stdout.write('ran ' + words); }");
}
const inClone = () => ({ env: { ...process.env, npm_execpath: path.join(dir, 'npm/npm-cli.js') }, encoding: 'utf8' }) as const;

test('a clone installs what is missing, on stderr, once for several starts, and then goes on', async () => {
  clone();
  const ends = await Promise.all(
    [1, 2, 3].map(async (n) => {
      const child = spawn(process.execPath, launcher('24.21.0', String(n)), inClone());
      started.push(child);
      let out = '',
        err = '';
      child.stdout.on('data', (c) => (out += c));
      child.stderr.on('data', (c) => (err += c));
      const [code] = await once(child, 'close');
      return { code, out, err };
    }),
  );
  expect(ends.map((e) => [e.code, e.out])).toEqual([
    [0, 'ran 1'],
    [0, 'ran 2'],
    [0, 'ran 3'],
  ]);
  expect(ends.map((e) => e.err).join('')).toContain('npm says');
  expect(fs.readFileSync(path.join(dir, 'calls'), 'utf8')).toBe('ci --no-audit --no-fund --include=dev\n');
  expect(fs.readdirSync(path.join(dir, '.tally'))).toEqual([]);
});

test('a lock that a killed install left behind is void', () => {
  clone();
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  put('.tally/install.lock', `${dead}\n`);
  expect(spawnSync(process.execPath, launcher('24.21.0', 'x'), inClone())).toMatchObject({ status: 0, stdout: 'ran x' });
});

test('an install that fails is told, with what npm said before it', () => {
  clone();
  put('npm/npm-cli.js', "console.log('npm ERR! no network'); process.exit(1);");
  const done = spawnSync(process.execPath, launcher('24.21.0', 'x'), inClone());
  expect(done).toMatchObject({ status: 3, stdout: '' });
  expect(done.stderr).toMatch(/npm ERR! no network\ntally: E_INSTALL: the install failed: npm ci ended with 1\.\nhint: .*\n$/);
});

test('what is installed is held against package-lock.json', async () => {
  clone();
  const missing = (dev: boolean) => whatIsMissing(dir, { dev });
  const installed = (packages: object): void => put('node_modules/.package-lock.json', JSON.stringify({ packages }));
  expect(missing(false)).toBe('nothing is installed yet');
  put('node_modules/a/package.json', '{}');
  installed({ 'node_modules/a': { version: '1.0.0', integrity: 'x' } });
  expect(missing(false)).toBeUndefined();
  expect(missing(true)).toMatch(/^b is not installed/);
  installed({ 'node_modules/a': { version: '0.9.0', integrity: 'x' } });
  expect(missing(false)).toMatch(/^a is not installed as package-lock/);
  installed({ 'node_modules/a': { version: '1.0.0', integrity: 'y' } });
  expect(missing(false)).toMatch(/^a is not installed as package-lock/);
  installed({ 'node_modules/a': { version: '1.0.0', integrity: 'x' } });
  fs.rmSync(path.join(dir, 'node_modules/a'), { recursive: true });
  expect(missing(false)).toBe('node_modules/a is gone');
  expect(await ensureInstalled(root, { dev: true })).toBeUndefined();
});
