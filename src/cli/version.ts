/** The version in package.json, which stands above this file both in a clone and in a package (there under dist/). */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

export function version(): string {
  let folder = import.meta.dirname;
  while (!existsSync(path.join(folder, 'package.json'))) folder = path.dirname(folder);
  const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}
