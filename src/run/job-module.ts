/**
 * The file of a job, loaded as a module wherever it lies: `import ... from "tally"` in it, and in what it imports, means this
 * very program, whether or not the package is installed beside it. A job and its .ts files are modules, whatever the nearest
 * package.json says.
 */
import { realpathSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { TopologyValue } from '../../topology/job.ts';
import { JobError } from '../../topology/job-error.ts';
import { usage } from '../errors.ts';

/** `.ts` from source, `.js` in the package. */
export const ownExtension = extname(fileURLToPath(import.meta.url));
const LANGUAGE = new URL(`../../topology/job${ownExtension}`, import.meta.url).href;

let isHooked = false;
const jobs = new Set<string>();

export async function importJob(file: string): Promise<TopologyValue> {
  const { href } = pathToFileURL(realpathSync(file));
  jobs.add(href);
  hook();
  let loaded: { default?: unknown };
  try {
    loaded = (await import(href)) as { default?: unknown };
  } catch (cause) {
    throw notLoaded(file, cause);
  }
  const value = loaded.default as Partial<TopologyValue> | undefined;
  if (value === undefined)
    throw usage('E_JOB', `${file} has no default export`, 'A job ends in: export default topology("name").read(...)...');
  if (value === null || value.kind !== 'tally.topology' || typeof value.spec !== 'object') {
    throw usage('E_JOB', `the default export of ${file} is not a topology`, 'A job ends in: export default topology("name").read(...)...');
  }
  return value as TopologyValue;
}

function hook(): void {
  if (isHooked) return;
  isHooked = true;
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'tally') return { url: LANGUAGE, shortCircuit: true };
      const found = next(specifier, context);
      if (found.url.includes('/node_modules/')) return found;
      if (/^file:.*\.m?ts$/.test(found.url)) return { ...found, format: 'module-typescript' };
      return jobs.has(found.url) ? { ...found, format: 'module' } : found;
    },
  });
}

function notLoaded(file: string, cause: unknown): Error {
  if (cause instanceof JobError) return usage('E_JOB', `${file}: ${cause.message}`, cause.hint);
  if (!(cause instanceof Error)) return usage('E_JOB', `${file} threw ${String(cause)}`, 'Correct the job.');
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') {
    return usage(
      'E_JOB',
      `${file} imports something that is not there: ${oneLine(cause.message)}`,
      'Imports of files name them in full, with ./ and .ts; packages must be installed beside the job.',
    );
  }
  if (code === 'ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING') {
    return usage(
      'E_JOB',
      `${file} lies in node_modules, where Node runs no TypeScript`,
      'Move the job out of node_modules, or write it as .mjs.',
    );
  }
  if (cause instanceof SyntaxError) {
    return usage(
      'E_JOB',
      `${placeOf(file, cause)}: ${oneLine(cause.message)}`,
      'Correct it; types are stripped, so enums, namespaces and the like are not understood.',
    );
  }
  return usage(
    'E_JOB',
    `${file} threw ${cause.name}: ${oneLine(cause.message)}`,
    'A job is a description: it needs no environment and no input.',
  );
}

/** Node writes FILE:LINE at the head of the stack of a syntax error; it may lie in a file that the job imports. */
function placeOf(file: string, error: Error): string {
  const at = /^(.*):(\d+)$/.exec((error.stack ?? '').split('\n')[0]!);
  if (at === null) return file;
  const named = at[1]!.startsWith('file:') ? fileURLToPath(at[1]!) : at[1]!;
  return named === file ? `${file}:${at[2]}` : `${named}:${at[2]}, imported by the job ${file}`;
}

const oneLine = (text: string): string =>
  text
    .split('\n')
    .map((l) => l.trim())
    .filter((l) => l !== '')
    .slice(0, 2)
    .join(' ');
