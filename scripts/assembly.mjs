/**
 * src/log/lz4-code.ts from src/log/assembly/lz4-block.ts, which git keeps so that no run needs the compiler. `--check`: says whether it
 * is what the source gives.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import asc from 'assemblyscript/asc';
import { root } from './node24.mjs';

const SOURCE = 'src/log/assembly/lz4-block.ts',
  CODE = 'src/log/lz4-code.ts';
const WORDS = [SOURCE, '-O3', '--runtime', 'stub', '--noAssert', '--enable', 'simd,threads', '--importMemory', '--sharedMemory'];
// A module says how much memory it can live with; how much it gets, its user says (src/log/lz4-block.ts).
const MEMORY = ['--initialMemory', '1', '--maximumMemory', '65536', '--outFile', 'lz4.wasm'];

let code;
const { error, stderr } = await asc.main([...WORDS, ...MEMORY], {
  readFile: (name) => (name === SOURCE ? readFileSync(path.join(root, SOURCE), 'utf8') : null),
  writeFile: (_, contents) => void (code = contents),
  listFiles: () => [],
});
if (error !== null || code === undefined) throw new Error(`${SOURCE}: ${error?.message}\n${stderr.toString()}`);
const text = `/** Made by scripts/assembly.mjs from ${SOURCE}: do not edit. */\nexport const LZ4_CODE =\n  '${Buffer.from(code).toString('base64')}';\n`;
if (!process.argv.includes('--check')) writeFileSync(path.join(root, CODE), text);
else if (readFileSync(path.join(root, CODE), 'utf8') !== text) {
  process.stderr.write(`${CODE} is not what ${SOURCE} gives: node scripts/assembly.mjs makes it\n`);
  process.exitCode = 1;
}
