/**
 * Brings node_modules of a clone to what package-lock.json says, when it is not there yet. One process at a time installs: the
 * others wait for it. npm's output goes to stderr, so that stdout stays the command's own. Runs under any Node >= 20.
 */
import { spawn } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const LOCK_WAIT_MS = 20 * 60_000,
  LOCK_POLL_MS = 200;

/** Why node_modules is not what package-lock.json asks for, or undefined when it is. */
export function whatIsMissing(root, { dev }) {
  let wanted, present;
  try {
    wanted = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  } catch (error) {
    return `package-lock.json: ${error.message}`;
  }
  try {
    // npm writes this file last: an install that was cut short has none.
    present = JSON.parse(readFileSync(path.join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
  } catch {
    return 'nothing is installed yet';
  }
  for (const [place, entry] of Object.entries(wanted)) {
    if (place === '' || entry.optional || entry.peer || entry.devOptional || (entry.dev && !dev)) continue;
    const got = present[place];
    if (
      got === undefined ||
      got.version !== entry.version ||
      (entry.integrity !== undefined && got.integrity !== undefined && got.integrity !== entry.integrity)
    ) {
      return `${place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)} is not installed as package-lock.json says`;
    }
    if (!existsSync(path.join(root, place, 'package.json'))) return `${place} is gone`;
  }
  // The package `node` fetches its binary in an install script.
  const binary = path.join(root, 'node_modules', 'node', 'bin', 'node');
  if (!existsSync(binary) && Number(process.versions.node.split('.')[0]) < 24) return 'the Node binary is missing';
  return undefined;
}

/** Resolves to undefined, or to what went wrong in words. */
export async function ensureInstalled(root, options) {
  const why = whatIsMissing(root, options);
  if (why === undefined) return undefined;
  let lock;
  try {
    lock = await takeLock(path.join(root, '.tally', 'install.lock'));
  } catch (error) {
    return {
      code: 'E_NOT_WRITABLE',
      sentence: `${root} needs an install (${why}), and ${error.message}.`,
      hint: 'run npm ci in it as a user who may write there.',
    };
  }
  if (lock === undefined) {
    return {
      code: 'E_INSTALL',
      sentence: 'another install of this clone does not end.',
      hint: 'wait for it, or end it and remove .tally/install.lock.',
    };
  }
  try {
    if (whatIsMissing(root, options) === undefined) return undefined;
    process.stderr.write(`tally: ${why}: installing (npm ci)\n`);
    const code = await npmCi(root, lock);
    const still = code === 0 ? whatIsMissing(root, options) : `npm ci ended with ${code}`;
    if (still === undefined) return undefined;
    return {
      code: 'E_INSTALL',
      sentence: `the install failed: ${still}.`,
      hint: 'see what npm wrote above; npm ci in the clone does the same.',
    };
  } finally {
    lock.release();
  }
}

function npmCi(root, lock) {
  // The npm that started this process, if one did; else the one in the path.
  const given = process.env.npm_execpath;
  const isNpm = given !== undefined && /npm-cli\.[cm]?js$/.test(given) && existsSync(given);
  const args = ['ci', '--no-audit', '--no-fund', '--include=dev'];
  return new Promise((resolve) => {
    const child = spawn(isNpm ? process.execPath : 'npm', isNpm ? [given, ...args] : args, { cwd: root, stdio: ['ignore', 2, 2] });
    if (child.pid !== undefined) lock.add(child.pid);
    const pass = (signal) => child.kill(signal);
    process.on('SIGINT', pass).on('SIGTERM', pass);
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => {
      process.off('SIGINT', pass).off('SIGTERM', pass);
      resolve(code ?? signal);
    });
  });
}

/** The lock is a file that names who holds it: this process and its npm. It is void when none of them lives. */
async function takeLock(file) {
  mkdirSync(path.dirname(file), { recursive: true });
  for (let waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_POLL_MS) {
    if (createWhole(file, `${process.pid}\n`)) {
      return { add: (pid) => writeFileSync(file, `${process.pid}\n${pid}\n`), release: () => unlinkSync(file) };
    }
    if (waited === 0) process.stderr.write('tally: waiting for another install of this clone\n');
    await sleep(LOCK_POLL_MS);
    clearIfDead(file);
  }
  return undefined;
}

/** With its content from the start, so that a lock never stands without a name. False: there is one already. */
function createWhole(file, content) {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, content);
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  } finally {
    unlinkSync(draft);
  }
}

function clearIfDead(file) {
  const before = readIfThere(file);
  if (before === undefined || holders(before).some(isAlive)) return;
  // Moved aside first: of several that find it dead, one moves it; whoever has moved a newer one puts it back.
  const aside = `${file}.${process.pid}.dead`;
  try {
    renameSync(file, aside);
    const moved = readIfThere(aside);
    if (moved !== undefined && moved !== before) createWhole(file, moved);
    unlinkSync(aside);
  } catch {
    // Another was quicker.
  }
}

const holders = (text) =>
  text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
