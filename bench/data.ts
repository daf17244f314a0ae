/**
 * The data of the benchmarks: an lz4 log of the shipped ads job, Zipf keys, 3 % resends, 1 % late, nothing malformed, made once a
 * size under bench/.data and kept (a seed gives the same bytes again). A log that was not finished is made anew.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateLog } from '../src/generate/to-log.ts';
import { loadJob } from '../src/run/load-job.ts';

export const JOB = 'ads-insights';
export const TOPICS = ['ads.delivery', 'ads.click', 'ads.conversion'];
export const DATA_DIR = fileURLToPath(new URL('.data', import.meta.url));
const HOUR = 3_600_000;

export interface DataSet {
  readonly events: number;
  readonly keys: number;
  readonly hours: number;
}
export interface MadeLog extends DataSet {
  readonly dir: string;
  readonly bytes: number;
}

export async function makeLog(set: DataSet): Promise<MadeLog> {
  const dir = path.join(DATA_DIR, `log-${set.events}-${set.keys}-${set.hours}h`),
    done = path.join(DATA_DIR, `${path.basename(dir)}.done`);
  if (!fs.existsSync(done)) {
    fs.rmSync(dir, { recursive: true, force: true });
    const { plan, contracts } = await loadJob(JOB, undefined);
    generateLog(plan, contracts, dir, { events: set.events, keys: set.keys, spanMs: set.hours * HOUR, malformed: 0, compression: 'lz4' });
    fs.writeFileSync(done, '');
  }
  return { ...set, dir, bytes: bytesUnder(dir) };
}

export function bytesUnder(dir: string): number {
  return fs
    .readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .reduce((sum, e) => sum + fs.statSync(path.join(e.parentPath, e.name)).size, 0);
}

/** A directory for one run, gone afterwards. */
export async function inScratch<T>(name: string, work: (dir: string) => Promise<T>): Promise<T> {
  fs.mkdirSync(DATA_DIR, { recursive: true });
  const dir = fs.mkdtempSync(path.join(DATA_DIR, `${name}-`));
  try {
    return await work(dir);
  } finally {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
