/** The README is true: its files are written where it says, its commands run as they stand there, in a folder with nothing else in it. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..');
const dir = mkdtempSync(path.join(tmpdir(), 'tally-readme-')),
  bin = mkdtempSync(path.join(tmpdir(), 'tally-npx-'));
afterAll(() => {
  for (const d of [dir, bin]) rmSync(d, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

interface Block {
  readonly language: string;
  readonly file: string | undefined;
  readonly text: string;
}
const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
const blocks: Block[] = [...readme.matchAll(/^```(\w+)(?: (\S+))?\n([^]*?)^```$/gm)].map(([, language, file, text]) => ({
  language: language!,
  file,
  text: text!,
}));

/** A line that ends in an open quote or a backslash goes on in the next. */
function commands(text: string): string[] {
  const out: string[] = [];
  let open = '';
  for (const line of text.split('\n')) {
    open += open === '' ? line : `\n${line}`;
    if ((open.match(/(?<!\\)"/g) ?? []).length % 2 === 1 || open.endsWith('\\')) continue;
    if (open.trim() !== '') out.push(open);
    open = '';
  }
  return out;
}

test('every command of the README runs as it is written there', { timeout: 300_000 }, () => {
  // In a clone `npx tally` is its own bin/tally.mjs; here the folder is elsewhere, so npx is told where that is.
  writeFileSync(
    path.join(bin, 'npx'),
    `#!/bin/sh\n[ "$1" = tally ] || exit 99\nshift\nexec "${process.execPath}" "${path.join(ROOT, 'bin', 'tally.mjs')}" "$@"\n`,
  );
  chmodSync(path.join(bin, 'npx'), 0o755);
  let ran = 0;
  for (const { language, file, text } of blocks) {
    if (file !== undefined) {
      mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
      writeFileSync(path.join(dir, file), text);
    }
    if (language !== 'sh') continue;
    for (const line of commands(text)) {
      const done = spawnSync('sh', ['-ec', line], {
        cwd: dir,
        encoding: 'utf8',
        env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` },
      });
      expect(done.status, `${line}\n${done.stdout}${done.stderr}`).toBe(0);
      expect(done.stdout + done.stderr, line).not.toBe('');
      if (line.includes('tally query')) expect(done.stdout.trimEnd().split('\n').length, `rows of ${line}`).toBeGreaterThan(1);
      ran++;
    }
  }
  expect(ran).toBeGreaterThanOrEqual(9);
});

test('what the README says of commands and options exists', () => {
  const inline = [...readme.matchAll(/`(?:npx )?tally ([a-z]+)([^`]*)`/g)];
  expect(inline.length).toBeGreaterThan(5);
  const helps = new Map<string, string>();
  for (const [whole, name, rest] of inline) {
    if (name === 'help') continue;
    if (!helps.has(name!))
      helps.set(
        name!,
        spawnSync(process.execPath, [path.join(ROOT, 'src', 'cli', 'main.ts'), name!, '--help'], { encoding: 'utf8' }).stdout,
      );
    const help = helps.get(name!)!;
    expect(help, whole).toContain(`Usage: tally ${name}`);
    for (const [option] of rest!.matchAll(/--[a-z-]+/g)) expect(help, `${whole}: ${option}`).toContain(option);
  }
});

test('every way out that the README names by `npm run` is a script', () => {
  const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  for (const [, name] of readme.matchAll(/npm (?:run )?(start|test|check|bench)\b/g)) expect(scripts, name!).toHaveProperty(name!);
});
