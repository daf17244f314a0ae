/** Where things lie under a data directory. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';

export const GENERATION = 1;
/** Beside them lie copies of them for a while, by longer names. */
export const SHARD_DIR: RegExp = /^shard-\d+of(\d+)$/;
export const jobDir = (dataDir: string, job: string): string => path.join(dataDir, job);
export const shardDir = (dataDir: string, job: string, generation: number, shard: number, shards: number): string =>
  path.join(jobDir(dataDir, job), `g${generation}`, `shard-${shard}of${shards}`);
export const statusFile = (dataDir: string, job: string): string => path.join(jobDir(dataDir, job), 'status.json');
export const engineDir = (dataDir: string): string => path.join(dataDir, 'clickhouse');
export const lockFile = (dataDir: string): string => path.join(dataDir, 'lock');

/** The shard count that a job's state on disk was made with; undefined when it has none. */
export function shardsOnDisk(dataDir: string, job: string, generation: number): number | undefined {
  const dir = path.join(jobDir(dataDir, job), `g${generation}`);
  if (!existsSync(dir)) return undefined;
  for (const name of readdirSync(dir)) {
    const match = SHARD_DIR.exec(name);
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

/** What a run that was refused before its first record has made is taken away, so that a corrected job is not held to it. */
export function forgetState(dataDir: string, job: string, generation: number): void {
  rmSync(path.join(jobDir(dataDir, job), `g${generation}`), { recursive: true, force: true });
  if (existsSync(jobDir(dataDir, job)) && readdirSync(jobDir(dataDir, job)).length === 0) rmSync(jobDir(dataDir, job), { recursive: true });
}

/** The jobs that have state here. */
export function jobsOnDisk(dataDir: string): string[] {
  if (!existsSync(dataDir)) return [];
  return readdirSync(dataDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(path.join(dataDir, entry.name, `g${GENERATION}`)))
    .map((entry) => entry.name);
}
