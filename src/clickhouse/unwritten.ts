/**
 * On a full disk ClickHouse says that it has made a database, a table or a view, leaves the file that defines it empty or cut, and then starts
 * over that directory no more. Such a file is found by its missing last line end. A run refuses to go on with one, so nothing was ever
 * counted into what it stands for, and the next start takes it away and makes it anew.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync, rmSync } from 'node:fs';
import path from 'node:path';

const LINE_END = 10;

export function unwrittenFiles(engineDir: string): string[] {
  const definitions = path.join(engineDir, 'metadata'),
    store = path.join(engineDir, 'store'),
    folders = [definitions, ...inside(store).flatMap((part) => inside(part))];
  return folders.flatMap((folder) => inside(folder)).filter((file) => file.endsWith('.sql') && isCut(file));
}

export function removeUnwritten(engineDir: string): void {
  for (const file of unwrittenFiles(engineDir)) rmSync(file);
}

function inside(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => path.join(folder, name));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

function isCut(file: string): boolean {
  const fd = openSync(file, 'r'),
    last = Buffer.alloc(1);
  try {
    return readSync(fd, last, 0, 1, Math.max(0, fstatSync(fd).size - 1)) === 0 || last[0] !== LINE_END;
  } finally {
    closeSync(fd);
  }
}
