/**
 * npm's `prepare` step, in a clone only: puts the command into node_modules/.bin, where npm links those of dependencies alone, so that
 * `npx tally` runs this clone and looks nowhere else.
 */
import { lstatSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = path.join(root, 'node_modules', '.bin');
const link = path.join(folder, 'tally');
mkdirSync(folder, { recursive: true });
if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) rmSync(link);
symlinkSync(path.relative(folder, path.join(root, 'bin', 'tally.mjs')), link);
