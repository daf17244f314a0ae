/** docs/configuration.md from the schema in src/config. `--check`: says whether it is what the schema gives. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { configurationPage } from '../src/config/document.ts';
import { root } from './node24.mjs';

const PAGE = 'docs/configuration.md';
const file = path.join(root, PAGE),
  text = configurationPage();
if (!process.argv.includes('--check')) {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
} else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
  process.stderr.write(`${PAGE} is not what src/config/schema.ts gives: node scripts/node24.mjs scripts/configuration.mjs makes it\n`);
  process.exitCode = 1;
}
