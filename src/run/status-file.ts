/** DATA/<job>/status.json: what a run last said of itself, for `tally status`. Written whole or not at all; nothing is decided by it. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ShardStatus } from './messages.ts';
import { statusFile } from './places.ts';

export interface RunStatus {
  readonly job: string;
  readonly pid: number;
  readonly at: number;
  readonly running: boolean;
  readonly log: string;
  readonly clickhouse: string | null;
  readonly ratePerSecond: number;
  readonly shards: readonly ShardStatus[];
}

export function writeStatus(dataDir: string, status: RunStatus): void {
  const file = statusFile(dataDir, status.job);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, `${JSON.stringify(status)}\n`);
  renameSync(`${file}.new`, file);
}

export function readStatus(dataDir: string, job: string): RunStatus | undefined {
  try {
    return JSON.parse(readFileSync(statusFile(dataDir, job), 'utf8')) as RunStatus;
  } catch {
    return undefined;
  }
}
