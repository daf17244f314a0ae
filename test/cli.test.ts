import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Command } from '../src/cli/command.ts';
import { tell } from '../src/cli/faults.ts';
import { helpOf } from '../src/cli/help.ts';
import { commandNames } from '../src/cli/main.ts';
import { parse } from '../src/cli/parse.ts';
import { startProgress } from '../src/cli/progress.ts';
import { AuditLog, auditFile } from '../src/control/audit.ts';
import { ControlStore } from '../src/control/control-store.ts';
import { TallyError } from '../src/errors.ts';

const main = path.join(path.dirname(import.meta.dirname), 'src', 'cli', 'main.ts');
function tally(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [main, ...words], { encoding: 'utf8', env: { ...process.env, TALLY_DEBUG: '' } });
}

const sample: Command = {
  name: 'sample',
  summary: 'takes a sample',
  usage: 'FILE --log LOG [--n N] [--json]',
  positionals: { min: 1, max: 2 },
  required: ['log'],
  options: {
    log: { type: 'string', placeholder: 'LOG', help: 'the log' },
    n: { type: 'string', help: 'how many' },
    json: { type: 'boolean', help: 'as JSON' },
  },
  examples: ['tally sample x --log y'],
  run: async () => 0,
};

test('words become positionals and options, with - and negative numbers as what they are', () => {
  expect(parse(sample, ['a', '--log', 'l', '--json', '-', '--n=-2'])).toEqual({
    positionals: ['a', '-'],
    values: { log: 'l', json: true, n: '-2' },
  });
  expect(parse(sample, ['a', '--log=-x', '--n', '-5']).values).toEqual({ log: '-x', n: '-5' });
  expect(parse(sample, ['--log', 'l', '--', '--json']).positionals).toEqual(['--json']);
});

for (const [words, sentence, hint] of [
  [['a', '--lgo', 'x'], /has no option --lgo/, /did you mean --log\?/],
  [['a', '-x'], /has no option -x/, /--help/],
  [['a', '--toString', 'x'], /has no option --toString/, /--help/],
  [['a', '--log'], /--log needs a value: LOG/, /./],
  [['a', '--log', '--json'], /--log needs a value, and --json looks like an option/, /--log=--json/],
  [['a', '--log='], /--log needs a value/, /./],
  [['a', '--log', 'x', '--json=yes'], /--json takes no value/, /./],
  [['a', '--log', 'x', '--log', 'y'], /--log is given twice/, /./],
  [['a'], /needs --log/, /./],
  [['--log', 'x'], /something is missing: tally sample FILE/, /./],
  [['a', 'b', 'c', '--log', 'x'], /c is one word too many/, /quote/],
] as const) {
  test(`wrong use is told: tally sample ${words.join(' ')}`, () => {
    let thrown: unknown;
    try {
      parse(sample, words);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(TallyError);
    expect(thrown).toMatchObject({ code: 'E_USAGE', exit: 2, message: expect.stringMatching(sentence), hint: expect.stringMatching(hint) });
  });
}

test('help is asked for with whatever else is wrong, and shows usage, options and examples', () => {
  expect(parse(sample, ['--help']).values['help']).toBe(true);
  const help = helpOf(sample);
  for (const part of ['Usage: tally sample FILE --log LOG', '--log LOG', 'the log (required)', '--n VALUE', 'tally sample x --log y'])
    expect(help).toContain(part);
});

test('every command has help with usage, options and examples of its own, three ways', { timeout: 120_000 }, () => {
  const all = tally('--help');
  expect(all).toMatchObject({ status: 0, stderr: '' });
  expect(commandNames.length).toBe(13);
  for (const name of commandNames) {
    const done = tally(name, '--help');
    expect(done, name).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout).toContain(`Usage: tally ${name}`);
    expect(done.stdout, name).toMatch(new RegExp(`Examples:\\n(.*\\n)*.*tally ${name}`));
    expect(all.stdout).toContain(`  ${name} `);
    for (const line of done.stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(160);
  }
  expect(tally('help', 'audit').stdout).toBe(tally('audit', '-h').stdout);
  expect(tally('help').stdout).toBe(all.stdout);
});

for (const [words, expected] of [
  [[], /^tally: E_USAGE: which command\?\nhint: .*\n$/],
  [['qurey'], /^tally: E_USAGE: there is no command qurey\.\nhint: did you mean query\? .*\n$/],
  [['toString'], /^tally: E_USAGE: there is no command toString\.\n/],
  [['--json'], /^tally: E_USAGE: tally has no option --json\.\n/],
  [['help', 'aduit'], /did you mean audit\?/],
  [['help', 'audit', 'x'], /one word too many/],
  [['audit', 'verfy', '--data', 'x'], /^tally: E_USAGE: tally audit cannot verfy\.\nhint: did you mean verify\?\n$/],
  [['audit', 'list'], /^tally: E_USAGE: tally audit needs --data\.\n/],
] as const) {
  test(`wrong use ends with 2 and one error: tally ${words.join(' ')}`, () => {
    const done = tally(...words);
    expect(done).toMatchObject({ status: 2, stdout: '' });
    expect(done.stderr).toMatch(expected);
    expect(done.stderr.trimEnd().split('\n')).toHaveLength(2);
  });
}

const system = (code: string, message = code): Error => Object.assign(new Error(message), { code, syscall: 'open', path: '/x' });
test.each([
  [new TallyError('E_X', 'it is so', 'do this', 1), 'E_X', 1],
  [new TallyError('E_X', 'it is so', '', 3), 'E_X', 3],
  [system('ENOSPC'), 'E_DISK_FULL', 3],
  [new Error('outer', { cause: system('EDQUOT') }), 'E_DISK_FULL', 3],
  [new Error('IO error: No space left on device: While appending'), 'E_DISK_FULL', 3],
  [system('EROFS'), 'E_NOT_WRITABLE', 3],
  [system('EACCES'), 'E_NOT_WRITABLE', 3],
  [system('EMFILE'), 'E_IO', 3],
  [new Error('outer', { cause: new TallyError('E_Y', 'inner', 'h', 2) }), 'E_Y', 2],
  [new TypeError('x is not a function\n  at all'), 'E_BUG', 70],
  ['a string', 'E_BUG', 70],
  [undefined, 'E_BUG', 70],
])('what is thrown is told with its code and exit: %s', (thrown, code, exit) => {
  const told = tell(thrown, false);
  expect(told.exit).toBe(exit);
  expect(told.text).toMatch(new RegExp(`^tally: ${code}: [^\\n]+\\n(hint: [^\\n]+\\n)?$`));
  expect(told.text).not.toContain('.test.ts');
  if (thrown instanceof Error) expect(tell(thrown, true).text).toContain('.test.ts');
});

test('a disk that refuses is an operating fault, not a bug', () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-cli-'));
  fs.mkdirSync(auditFile(dir), { recursive: true });
  const done = tally('audit', 'list', '--data', dir);
  fs.rmSync(dir, { recursive: true });
  expect(done.status).toBe(3);
  expect(done.stderr).toMatch(/^tally: E_IO: .*EISDIR.*\nhint: .*\n$/);
});

test('a reader that has seen enough ends tally quietly', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-cli-'));
  try {
    const log = AuditLog.open(dir, { read: () => undefined, write: () => {} }, () => 0);
    for (let i = 0; i < 300; i++) log.append('run.started', 'ads', { config: 'x'.repeat(2000) });
    log.close();
    const child = spawn(process.execPath, [main, 'audit', 'list', '--data', dir], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk) => (said += chunk));
    child.stdout.once('data', () => child.stdout.destroy());
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(said).toBe('');
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});

test('the audit log is listed and verified from the command line, also while a run holds the state', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-cli-'));
  try {
    expect(tally('audit', 'verify', '--data', path.join(dir, 'none'))).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('E_DATA_MISSING'),
    });
    const control = await ControlStore.open(dir);
    const log = AuditLog.open(dir, control.anchor, () => 0);
    log.append('run.started', 'ads', { log: 'l' });
    log.append('run.ended', 'ads', { books: { read: 3 } });
    const during = tally('audit', 'verify', '--data', dir);
    expect(during).toMatchObject({ status: 0, stderr: '' });
    expect(during.stdout).toMatch(/holds: 2 entries[^]*head\.json[^]*2 [0-9a-f]{64}/);
    log.close();
    await control.close();
    expect(JSON.parse(tally('audit', 'verify', '--data', dir, '--json').stdout)).toMatchObject({
      ok: true,
      entries: 2,
      problem: null,
      anchor: { number: 2 },
      anchor_from: 'state',
    });
    expect(tally('audit', 'list', '--data', dir).stdout).toMatch(
      /^ {3}1 {2}1970-01-01T00:00:00\.000Z {2}run\.started +ads {2}log=l {2}.*\n {3}2 .*books=\{"read":3\}.*\n$/,
    );
    expect(tally('audit', 'list', '--data', dir, '--json').stdout).toBe(fs.readFileSync(auditFile(dir), 'utf8'));
    fs.writeFileSync(auditFile(dir), fs.readFileSync(auditFile(dir), 'utf8').replace('"log":"l"', '"log":"m"'));
    const after = tally('audit', 'verify', '--data', dir);
    expect(after.status).toBe(1);
    expect(after.stdout).toContain('does not hold: entry 1 has been changed');
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});

test('progress is a line on a terminal, after a second, at most ten times a second, and nothing elsewhere', () => {
  let at = 0,
    out = '';
  const target = { isTTY: true, columns: 20, write: (text: string) => (out += text) };
  const progress = startProgress('run', target, () => at);
  for (at = 0; at < 1000; at += 10) progress.update(`at ${at}`);
  expect(out).toBe('');
  for (at = 1000; at < 1200; at += 10) progress.update(`at ${at} and much more than fits`);
  expect(out).toBe('\r\u001b[Krun: at 1000 and mu\r\u001b[Krun: at 1100 and mu');
  out = '';
  progress.done('done');
  progress.done();
  expect(out).toBe('\r\u001b[Krun: done\n');
  out = '';
  startProgress('run', { ...target, isTTY: false }, () => at).update('x');
  expect(out).toBe('');
});
