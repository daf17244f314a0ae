/** The generated handles: fresh in the repository, compilable whatever a contract holds, and as strict as they promise. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { types } from '../src/cli/types.ts';
import { canonicalDecimal, decimalPlaces, scaled } from '../src/contracts/decimal-text.ts';
import { generateTypes, handleName } from '../src/contracts/generate-types.ts';
import { loadContracts } from '../src/contracts/read.ts';
import type { Contract, Field } from '../topology/contract/model.ts';

const dir = mkdtempSync(join(tmpdir(), 'tally-types-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
writeFileSync(join(dir, 'package.json'), '{"type": "module"}');
const { contracts } = loadContracts('contracts');

/** Errors of the compiler over `files`, "tally" being this repository's language. */
function compile(...files: string[]): string {
  const config = join(dir, 'tsconfig.json');
  const paths = { tally: [resolve('topology/job.ts')] };
  writeFileSync(
    config,
    JSON.stringify({
      extends: resolve('tsconfig.json'),
      compilerOptions: { paths, typeRoots: [resolve('node_modules/@types')] },
      include: [],
      files,
    }),
  );
  const { stdout, status } = spawnSync(resolve('node_modules/.bin/tsc'), ['-p', config], { encoding: 'utf8' });
  return status === 0 ? '' : stdout;
}

describe('generated types', () => {
  test('in the repository are those of its contracts', () => {
    expect(readFileSync('contracts/contracts.gen.ts', 'utf8')).toBe(generateTypes(contracts));
  });

  test('do not depend on the order of the contracts', () => {
    expect(generateTypes(new Map([...contracts].reverse()))).toBe(generateTypes(contracts));
  });

  test('turn away at compile time what must not compile, and nothing else', () => {
    expect(compile(resolve('test/language.types.ts'))).toBe('');
  });

  test('name their errors by the field that was meant', () => {
    const file = join(dir, 'wrong.ts');
    writeFileSync(
      file,
      `import { adsDelivery } from '${resolve('contracts/contracts.gen.ts')}';\nimport { sum } from 'tally';\nexport const a = sum(adsDelivery, 'cost_micro');\n`,
    );
    expect(compile(file)).toMatch(
      /wrong\.ts\(3,35\): error TS2345: Argument of type '"cost_micro"' is not assignable to parameter of type '"cost_micros" \| "viewable_ms"'/,
    );
  });

  test('compile whatever names and values a contract has', () => {
    const blank = contracts.get('telemetry')!.fields.find((f) => f.name === 'region')!;
    const fields: Field[] = ['a b', "it's", '"', '\\', '1', '\u2028', '@type', 'ünï', '$x'].map((name) => ({
      ...blank,
      name,
      validValues: [name, `${name}'"\\`],
    }));
    const odd = (id: string): [string, Contract] => [id, { id, version: '1*/', topic: 't', digest: '', fields }];
    const file = join(dir, 'odd.ts');
    writeFileSync(
      file,
      `${generateTypes(new Map([odd('class'), odd('1-2'), odd('A.b_c')]))}\nimport { count } from 'tally';\nexport const n = count(aBC, { "it's": "it's'\\"\\\\" });\n`,
    );
    expect(compile(file)).toBe('');
  });

  test('give each contract a name of its own, or say that two would share one', () => {
    expect(['ads-click', 'class', '7-up', 'Ads_Click.v2'].map(handleName)).toEqual([
      'adsClick',
      'classContract',
      'contract7Up',
      'adsClickV2',
    ]);
    const click = contracts.get('ads-click')!;
    expect(() =>
      generateTypes(
        new Map([
          ['ads-click', click],
          ['ads_click', { ...click, id: 'ads_click' }],
        ]),
      ),
    ).toThrow('contracts "ads-click" and "ads_click" would both be named adsClick in the generated types');
  });
});

describe('tally types', () => {
  const run = (out: string, check = false) => types.run({ positionals: [], values: { contracts: 'contracts', out, check } });

  test('writes a file that --check then finds fresh, until it is changed', async () => {
    const out = join(dir, 'deep', 'c.gen.ts');
    expect(await run(out, true)).toBe(1);
    expect(await run(out)).toBe(0);
    expect(readFileSync(out, 'utf8')).toBe(generateTypes(contracts));
    expect(await run(out, true)).toBe(0);
    writeFileSync(out, `${readFileSync(out, 'utf8')} `);
    expect(await run(out, true)).toBe(1);
    expect(await run(out)).toBe(0);
    expect(await run(out, true)).toBe(0);
  });

  test('refuses a place where it cannot write', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(run(join(dir, 'file', 'c.gen.ts'))).rejects.toMatchObject({ code: 'E_OUT', exit: 2 });
    await expect(run(join(dir, 'c.js'))).rejects.toMatchObject({ code: 'E_USAGE', exit: 2 });
  });
});

describe('decimal text', () => {
  test('is exact and canonical for every double and every 64-bit integer', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n })),
        (value) => {
          const text = canonicalDecimal(String(value))!;
          expect(text).toMatch(/^-?(0|[1-9]\d*)(\.\d*[1-9])?$/);
          if (typeof value === 'bigint') expect(BigInt(text)).toBe(value);
          else expect(Number(text)).toBe(value === 0 ? 0 : value);
          expect(canonicalDecimal(text)).toBe(text);
          expect(scaled(text, decimalPlaces(text) + 2)).toBe(BigInt(text.replace('.', '')) * 100n);
        },
      ),
    );
  });

  test.each(['', '.', '-', '1e', 'x', '1e500', '0x10', '1_000', 'NaN'])('%j is none', (text) => {
    expect(canonicalDecimal(text)).toBeUndefined();
  });
});
