/**
 * A directory and what is missing above it, level by level. Node's own recursive way does not come back where the kernel says that the parent is
 * missing although it is there, as it does below /proc.
 */
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

/** Throws what the system says: EEXIST when a file stands there, ENOTDIR below a file, EACCES, EROFS ... */
export function makeDirs(dir: string, mode?: number): void {
  const missing: string[] = [];
  for (let at = path.resolve(dir); statSync(at, { throwIfNoEntry: false }) === undefined; at = path.dirname(at)) missing.push(at);
  for (const at of missing.toReversed()) makeOne(at, mode);
  if (!statSync(dir).isDirectory()) mkdirSync(dir);
}

function makeOne(dir: string, mode: number | undefined): void {
  try {
    mkdirSync(dir, mode === undefined ? {} : { mode });
  } catch (error) {
    // Somebody else was a moment earlier.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
