/**
 * dist/: the tree of this clone as JavaScript with declarations, for a package (Node does not strip types inside node_modules). The
 * files that are read at run time, schemas and contracts, stand in it at their own places.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { readyNode, root, toolFile } from './node24.mjs';

const COPIED = ['contracts', 'src'];
const node = await readyNode();
const dist = path.join(root, 'dist');
rmSync(dist, { recursive: true, force: true });
// What is printed goes to stderr: `npm pack --json` owns stdout.
const { status } = spawnSync(node, [toolFile('tsc'), '-p', 'tsconfig.build.json'], { cwd: root, stdio: ['ignore', 2, 2] });
for (const folder of COPIED) {
  cpSync(path.join(root, folder), path.join(dist, folder), {
    recursive: true,
    filter: (file) => !/\.[a-z]+$/.test(path.basename(file)) || /\.(json|ya?ml)$/.test(file),
  });
}
process.exitCode = status === 0 && existsSync(path.join(dist, 'src', 'cli', 'main.js')) ? 0 : 1;
