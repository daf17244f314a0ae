/** What is measured is what a package holds: JavaScript that was built. Sources would have their types stripped at each start, in each thread. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
let isBuilt = false;

/** The command's file; it is built at the first call. */
export function builtMain(): string {
  if (!isBuilt && spawnSync(process.execPath, [here('../scripts/build.mjs')], { stdio: ['ignore', 2, 2] }).status !== 0)
    throw new Error('the product cannot be built');
  isBuilt = true;
  return here('../dist/src/cli/main.js');
}
