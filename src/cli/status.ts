/** `tally status`: how far each job of a data directory is: offsets, lag, watermark, what waits for ClickHouse, sizes, rates. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { isAlive as answers, readConnection } from '../clickhouse/connection.ts';
import { TallyError } from '../errors.ts';
import { FileLock } from '../lock.ts';
import type { ShardStatus } from '../run/messages.ts';
import { engineDir, jobDir, jobsOnDisk, lockFile } from '../run/places.ts';
import { bytesUnder } from '../run/sizes.ts';
import { readStatus } from '../run/status-file.ts';
import type { RunStatus } from '../run/status-file.ts';
import type { Args, Command } from './command.ts';

interface JobStatus extends Omit<RunStatus, 'running'> {
  readonly running: boolean;
  readonly state_bytes: number;
}

export const status: Command = {
  name: 'status',
  summary: "how far a data directory's jobs are",
  usage: '--data DIR [--json]',
  positionals: { min: 0, max: 0 },
  options: {
    data: { type: 'string', placeholder: 'DIR', help: 'the data directory' },
    json: { type: 'boolean', help: 'print one JSON object' },
  },
  required: ['data'],
  examples: ['tally status --data ./data', 'tally status --data ./data --json'],
  async run(args: Args): Promise<number> {
    const dir = String(args.values['data']);
    if (!existsSync(dir))
      throw new TallyError('E_DATA_MISSING', `there is no data directory ${dir}`, 'tally run JOB --log LOG --data DIR makes one', 3);
    const isHeld = isLocked(dir);
    const jobs = jobsOnDisk(dir)
      .map((job) => readStatus(dir, job))
      .filter((s) => s !== undefined)
      .map((s): JobStatus => ({ ...s, running: s.running && isHeld && isAlive(s.pid), state_bytes: bytesUnder(jobDir(dir, s.job)) }));
    const said = readConnection(engineDir(dir)),
      connection = said !== undefined && (await answers(said)) ? said : undefined;
    if (args.values['json'] === true) {
      process.stdout.write(
        `${JSON.stringify({ data: path.resolve(dir), running: isHeld, clickhouse: connection === undefined ? null : { url: connection.url, user: connection.user, database: connection.database }, jobs })}\n`,
      );
      return 0;
    }
    if (jobs.length === 0) process.stdout.write('no job has run here yet\n');
    for (const job of jobs) printJob(job);
    process.stdout.write(
      connection === undefined
        ? 'ClickHouse: not running; `tally query` starts it\n'
        : `ClickHouse: ${connection.url}, user ${connection.user}, password in ${path.join(engineDir(dir), 'connection.json')}\n`,
    );
    return 0;
  },
};

function isLocked(dir: string): boolean {
  if (!existsSync(lockFile(dir))) return false;
  const lock = FileLock.tryLock(lockFile(dir));
  lock?.unlock();
  return lock === undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function printJob(s: JobStatus): void {
  const out: string[] = [
    `${s.job}: ${s.running ? `running (process ${s.pid}), ${Math.round(s.ratePerSecond).toLocaleString('en')} records/s` : 'not running'}; as of ${iso(s.at)}`,
    `  log ${s.log}; state ${megabytes(s.state_bytes)}`,
  ];
  for (const shard of s.shards) out.push(...shardLines(shard));
  process.stdout.write(`${out.join('\n')}\n`);
}

function shardLines(s: ShardStatus): string[] {
  return [
    `  shard ${s.shard}: watermark ${iso(s.watermark)}, ${s.openWindows} open windows, ${s.windowRows.toLocaleString('en')} window rows in memory, ${s.identities.toLocaleString('en')} identities` +
      `, outbox ${s.outboxRows.toLocaleString('en')} rows (${megabytes(s.outboxBytes)})${s.paused ? ', paused until ClickHouse takes them' : ''}`,
    ...s.partitions.map(
      (p) => `    ${p.topic}/${p.partition}: offset ${p.offset} of ${p.end}, ${(p.end - p.offset).toLocaleString('en')} behind`,
    ),
  ];
}

const iso = (ms: number): string => (ms > 0 ? new Date(ms).toISOString() : '-');
const megabytes = (bytes: number): string => `${(bytes / 1048576).toFixed(1)} MiB`;
