/** Rules of the house that the linter cannot express, held against every file that the repository keeps. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.dirname(import.meta.dirname);
/** What git keeps or would keep. */
const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((f) => f !== '' && fs.existsSync(path.join(root, f)));
const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');
const code = files.filter((f) => /\.(ts|mjs)$/.test(f) && !f.endsWith('.gen.ts'));
const product = code.filter((f) => /^(topology|state|src)\//.test(f));

interface Found {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}
function linesWith(pattern: RegExp, among: readonly string[]): Found[] {
  return among.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((text, i) => (pattern.test(text) ? [{ file, line: i + 1, text: text.trim() }] : [])),
  );
}

test('there is something to hold against the rules', () => {
  expect(product.length).toBeGreaterThan(50);
});

test('every file begins with a comment that says what it is', () => {
  const bare = code.filter(
    (f) => !f.startsWith('test/') && !/^(#!.*\n)?(\/\*\*|\/\/) ?\S|^(#!.*\n)?\/\*\*\n \* \S/.test(read(f)) && f !== 'vitest.config.ts',
  );
  expect(bare).toEqual([]);
});

test('no file is a drawer for anything: no utils, helpers, common, misc, index, Manager', () => {
  expect(code.filter((f) => /(^|\/)(utils?|helpers?|common|misc|index|.*-?manager)\.(ts|mjs)$/i.test(f))).toEqual([]);
  expect(code.filter((f) => path.basename(f) !== path.basename(f).toLowerCase())).toEqual([]);
});

test('only their owners name RocksDB, the engine and foreign functions', () => {
  const owners: Record<string, RegExp> = {
    '@nxtedition/rocksdb': /^state\/rocksdb\.ts$/,
    'ffi-rs': /^src\/(libc|clickhouse\/engine[a-z-]*)\.ts$/,
    chdb: /^src\/clickhouse\/engine[a-z-]*\.ts$/,
  };
  for (const [name, owner] of Object.entries(owners)) {
    const asked = linesWith(new RegExp(`(from|import|require|resolve|\\))\\s*\\(?['"]${name}(/[^'"]*)?['"]`), product).filter(
      ({ file }) => !owner.test(file),
    );
    expect(asked, name).toEqual([]);
  }
});

test('time and randomness come from the clock alone', () => {
  const others = product.filter((f) => f !== 'src/clock.ts');
  expect(linesWith(/\bnew Date\(\)|\bprocess\.hrtime|\brandomUUID\(|\bgetRandomValues\(|\brandomBytes\(/, others)).toEqual([]);
});

test('the stages use no BigInt where they go through events', () => {
  expect(
    linesWith(
      /\bBigInt\(|\b\d+n\b/,
      product.filter((f) => /^topology\/(consume|dedup|pipeline|window\/accumulators)/.test(f)),
    ),
  ).toEqual([]);
});

test("no file names a place on somebody's machine, or where packages come from", () => {
  const kept = files.filter(
    (f) =>
      !/^(LICENSE|package-lock\.json)$/.test(f) && /\.(ts|mjs|json|ya?ml|md|sh)$|^\.[a-z]|^[A-Z]+$/.test(f) && f !== 'test/house.test.ts',
  );
  expect(linesWith(/\/(home|root|Users|work)\/[a-z]|registry\.[a-z]+js\.org|registry\.yarnpkg/, kept)).toEqual([]);
  expect(linesWith(/"resolved":/, ['package-lock.json'])).toEqual([]);
});

test('the code speaks of the product, not of how it was made', () => {
  expect(
    linesWith(
      /\b(TODO|FIXME|XXX|HACK)\b|\b(issue|task) #?\d|@ts-(ignore|nocheck)/,
      code.filter((f) => f !== 'test/house.test.ts'),
    ),
  ).toEqual([]);
});

test('no test is switched off, none runs alone', () => {
  expect(
    linesWith(
      /\b(test|it|describe)\.(only|skip|todo)\b/,
      code.filter((f) => f !== 'test/house.test.ts'),
    ),
  ).toEqual([]);
});
