/**
 * The package as npm makes it, unpacked into an empty folder beside the dependencies of this clone (linked, for they are large; .ci/run
 * installs it truly): its command works there, and a job with a contract of its own compiles and runs.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = path.dirname(import.meta.dirname);
let dir: string, packed: string[];

beforeAll(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-package-'));
  const npm = spawnSync('npm', ['pack', '--json', '--pack-destination', dir], { cwd: root, encoding: 'utf8' });
  expect(npm.status, npm.stderr).toBe(0);
  // npm 11 gives an array, npm 12 an object by name.
  const said = Object.values(JSON.parse(npm.stdout.slice(npm.stdout.search(/[[{]\s*["{]/))) as object)[0] as {
    filename: string;
    files: { path: string }[];
  };
  packed = said.files.map((f) => f.path);
  const modules = path.join(dir, 'node_modules');
  fs.mkdirSync(path.join(modules, 'tally'), { recursive: true });
  execFileSync('tar', ['-xzf', path.join(dir, said.filename), '-C', path.join(modules, 'tally'), '--strip-components=1']);
  for (const name of fs.readdirSync(path.join(root, 'node_modules'))) {
    if (!name.startsWith('.') && name !== 'tally') fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  }
}, 120_000);
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function tally(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [path.join(dir, 'node_modules', 'tally', 'bin', 'tally.mjs'), ...args], {
    cwd: dir,
    encoding: 'utf8',
  });
}

test('the package holds JavaScript with types, schemas, contracts and its papers, and no TypeScript source', () => {
  for (const file of [
    'LICENSE',
    'package.json',
    'bin/tally.mjs',
    'dist/topology/job.js',
    'dist/topology/job.d.ts',
    'dist/src/cli/main.js',
    'dist/src/contracts/odcs-v3.1.0.schema.json',
    'dist/contracts/ads-click.yaml',
    'README.md',
    'CHANGELOG.md',
  ])
    expect(packed).toContain(file);
  expect(packed.filter((f) => (f.endsWith('.ts') && !f.endsWith('.d.ts')) || /(^|\/)(test|bench)\//.test(f))).toEqual([]);
});

test('its command works there', () => {
  const version = (JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version;
  expect(tally('--version')).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
  expect(tally('--help').stdout).toContain('tally counts every event exactly once');
  expect(tally('explain', 'ads-insights')).toMatchObject({ status: 0, stderr: '' });
});

const CONTRACT = `apiVersion: v3.1.0
kind: DataContract
id: sale
name: sale
version: 1.0.0
status: active
schema:
  - name: sale
    physicalName: shop.sale
    physicalType: topic
    properties:
      - { name: id, logicalType: string, required: true, primaryKey: true, logicalTypeOptions: { minLength: 1, maxLength: 64 } }
      - { name: at, logicalType: timestamp, required: true }
      - { name: shop, logicalType: string, required: true }
      - { name: cents, logicalType: integer, required: true }
`;
const JOB = `import { count, day, days, minutes, sum, topology, tumbling } from 'tally';
import { sale } from './contracts.gen.ts';

export default topology('sales')
  .read(sale)
  .dedupe({ by: 'id', horizon: days(7) })
  .watermark({ by: 'at', outOfOrder: minutes(1) })
  .keyBy('shop')
  .aggregate({ sales: count(sale), cents: sum(sale, 'cents') })
  .window(tumbling(day, { zone: 'UTC' }).into('sales_daily'));
`;

test('a job with its own contract compiles with types there, a wrong field does not, and it runs', () => {
  fs.mkdirSync(path.join(dir, 'contracts'));
  fs.writeFileSync(path.join(dir, 'contracts', 'sale.yaml'), CONTRACT);
  fs.writeFileSync(path.join(dir, 'package.json'), '{"type":"module"}');
  fs.writeFileSync(path.join(dir, 'job.ts'), JOB);
  expect(tally('types', '--contracts', 'contracts', '--out', 'contracts.gen.ts')).toMatchObject({ status: 0 });
  const tsc = (file: string) =>
    spawnSync(
      process.execPath,
      [
        path.join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
        '--noEmit',
        '--ignoreConfig',
        '--strict',
        '--skipLibCheck',
        'false',
        '--types',
        '',
        '--module',
        'nodenext',
        '--target',
        'es2024',
        '--allowImportingTsExtensions',
        file,
      ],
      { cwd: dir, encoding: 'utf8' },
    );
  expect(tsc('job.ts')).toMatchObject({ status: 0, stdout: '' });
  fs.writeFileSync(path.join(dir, 'wrong.ts'), JOB.replace("'cents')", "'shop')"));
  expect(tsc('wrong.ts').stdout).toMatch(/wrong\.ts/);
  const explained = tally('explain', 'job.ts', '--contracts', 'contracts', '--json');
  expect(explained).toMatchObject({ status: 0, stderr: '' });
  expect(explained.stdout).toContain('sales_daily');
});
