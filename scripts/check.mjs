/**
 * npm run check: types, lint, format, dead code, generated types, quick tests, all of them in less than a minute. Every step runs, what
 * failed is shown whole, and the end is non-zero if any did. `node scripts/check.mjs NAME ...` runs the steps named.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readyNode, root, toolFile } from './node24.mjs';

/** Tests that start whole programs, kill them, or go through millions of events: npm test runs them too. */
const SLOW =
  /(slow|package|launcher|demo|kill|engine|clickhouse|e2e|end-to-end|run|fuzz|bench|readme|bad-input|log-writer|deploy)[^/]*\.test\.ts$/;
const GENERATED = 'contracts/contracts.gen.ts';

const node = await readyNode();
const quickTests = readdirSync(path.join(root, 'test'))
  .filter((f) => f.endsWith('.test.ts') && !SLOW.test(f))
  .map((f) => `test/${f}`);
const STEPS = {
  types: () => tool('tsc', '-p', '.'),
  lint: () => tool('oxlint', '--deny-warnings'),
  format: () => tool('oxfmt', '--check', 'bin', 'scripts', 'src', 'topology', 'state', 'bench', 'test', 'vitest.config.ts'),
  'dead code': () => tool('knip', '--no-progress'),
  'generated types': isGeneratedFresh,
  'compiled assembly': () => byNode('scripts/assembly.mjs', '--check'),
  'page of settings': () => byNode('scripts/configuration.mjs', '--check'),
  tests: () => tool('vitest', 'run', '--silent=passed-only', ...quickTests),
};

function tool(name, ...args) {
  return byNode(toolFile(name), ...args);
}

function byNode(file, ...args) {
  return new Promise((resolve) => {
    const env = { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}` };
    const child = spawn(node, [file, ...args], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('close', (code) => resolve({ isGood: code === 0, output }));
  });
}

async function isGeneratedFresh() {
  const dir = mkdtempSync(path.join(tmpdir(), 'tally-check-'));
  try {
    const made = path.join(dir, 'contracts.gen.ts');
    const done = await byNode('src/cli/main.ts', 'types', '--contracts', 'contracts', '--out', made);
    if (!done.isGood || !existsSync(made)) return { isGood: false, output: done.output };
    const isGood = readFileSync(made, 'utf8') === readFileSync(path.join(root, GENERATED), 'utf8');
    return { isGood, output: isGood ? '' : `${GENERATED} is stale: npx tally types --contracts contracts --out ${GENERATED}\n` };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in STEPS));
if (unknown.length > 0) {
  process.stderr.write(`no such step: ${unknown.join(', ')}; there are: ${Object.keys(STEPS).join(', ')}\n`);
  process.exit(2);
}
const failed = [];
for (const [name, step] of Object.entries(STEPS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const began = performance.now();
  const { isGood, output } = await step();
  process.stdout.write(`${isGood ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - began) / 1000).toFixed(1)} s)\n`);
  if (!isGood) process.stdout.write(`${output}\n`);
  if (!isGood) failed.push(name);
}
process.stdout.write(failed.length === 0 ? 'all checks hold\n' : `does not hold: ${failed.join(', ')}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
