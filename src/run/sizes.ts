/** Bytes of all files under a directory; files that go away meanwhile count as nothing. */
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';

export function bytesUnder(dir: string): number {
  let sum = 0;
  try {
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) sum += statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
    }
  } catch {
    return sum;
  }
  return sum;
}
