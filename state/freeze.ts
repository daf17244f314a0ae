/**
 * A consistent copy of a state while it is open: its tables are immutable and are linked, the little that grows (manifest, log) is copied.
 * Nobody may commit meanwhile: it is called on the thread that does. RocksDB's own threads may: what they change shows in the manifest, and
 * then it is done again.
 */
import { copyFileSync, linkSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { StoreError } from './errors.ts';

const TRIES = 50;

/** `into` is made anew, on the same file system. */
export function freeze(dir: string, into: string): void {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    rmSync(into, { recursive: true, force: true });
    mkdirSync(into, { recursive: true });
    const before = mark(dir);
    try {
      for (const name of readdirSync(dir)) {
        if (name.endsWith('.sst')) linkSync(path.join(dir, name), path.join(into, name));
        else if (isPart(name)) copyFileSync(path.join(dir, name), path.join(into, name));
      }
    } catch (error) {
      // A table or a log that a compaction has just made superfluous.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      continue;
    }
    if (mark(dir) === before) return;
  }
  throw new StoreError('IO', dir, `the state in ${dir} did not stand still for a copy`);
}

/** CURRENT is what makes a folder a database. */
const isPart = (name: string): boolean => name === 'CURRENT' || name === 'IDENTITY' || /^(MANIFEST|OPTIONS)-\d+$|^\d+\.log$/.test(name);

function mark(dir: string): string {
  const current = readFileSync(path.join(dir, 'CURRENT'), 'utf8').trim(),
    logs = readdirSync(dir).filter((name) => name.endsWith('.log'));
  return [current, statSync(path.join(dir, current)).size, ...logs.sort()].join(' ');
}
