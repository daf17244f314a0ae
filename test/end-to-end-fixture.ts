/**
 * Tally as a user starts it: processes with exit codes, in a temporary folder of their own, with a contract and a job that know nothing of
 * the repository. Events are made by number, so that every test can say what it expects of them.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';
import type { Engine } from '../src/clickhouse/engine.ts';
import { keyOf } from '../src/log/line-key.ts';
import { SEGMENT_BYTES, TopicWriter } from '../src/log/writer.ts';

export const ROOT = path.join(import.meta.dirname, '..');
const MAIN = path.join(ROOT, 'src', 'cli', 'main.ts');
export const HOUR = 3_600_000,
  DAY = 24 * HOUR;
export const T0 = Date.UTC(2026, 2, 27, 22);

export interface Done {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
export interface Running {
  readonly child: ChildProcess;
  readonly done: Promise<Done>;
  readonly stderr: () => string;
}

const CONTRACT = `apiVersion: v3.1.0
kind: DataContract
id: sale
version: 1.0.0
status: active
schema:
  - name: sale
    physicalName: sales
    physicalType: topic
    properties:
      - { name: id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1 }
      - { name: at, logicalType: timestamp, physicalType: epoch_millis, required: true }
      - { name: shop, logicalType: string, required: true }
      - { name: total, logicalType: number, required: true, logicalTypeOptions: { multipleOf: 0.01 } }
      - { name: paid_by, logicalType: string }
      - { name: units, logicalType: integer, logicalTypeOptions: { format: i64 } }
      - { name: rating, logicalType: number, logicalTypeOptions: { multipleOf: 0.1 } }
`;
export const JOB = `import { contract, count, day, days, hour, max, min, minutes, sum, topology, tumbling } from 'tally';

const sale = contract('sale');

export default topology('sales')
  .read(sale)
  .dedupe({ by: 'id', horizon: days(30) })
  .watermark({ by: 'at', outOfOrder: minutes(5) })
  .keyBy('shop')
  .aggregate({
    sales: count(sale), by_card: count(sale, { paid_by: 'card' }), revenue: sum(sale, 'total'), card_revenue: sum(sale, 'total', { paid_by: 'card' }),
    units: sum(sale, 'units'), worst: min(sale, 'rating'), best_by_card: max(sale, 'rating', { paid_by: 'card' }),
  })
  .window(tumbling(hour, { zone: 'Europe/Berlin' }).into('sales_hourly'), tumbling(day, { zone: 'Europe/Berlin' }).into('sales_daily'));
`;

const COMMANDS_AT_ONCE = 2;
const waiting: (() => void)[] = [];
let busy = 0;

export class Place {
  readonly dir: string;
  readonly contracts: string;
  readonly job: string;
  readonly log: string;
  private readonly running = new Set<ChildProcess>();

  constructor() {
    this.dir = mkdtempSync(path.join(tmpdir(), 'tally-e2e-'));
    this.contracts = path.join(this.dir, 'contracts');
    this.job = path.join(this.dir, 'sales.ts');
    this.log = path.join(this.dir, 'log');
    mkdirSync(this.contracts);
    writeFileSync(path.join(this.contracts, 'sale.yaml'), CONTRACT);
    writeFileSync(this.job, JOB);
  }

  path(...parts: string[]): string {
    return path.join(this.dir, ...parts);
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text);
  }

  /** From now on the job finds its shards by the id, over a hop. */
  repartition(): void {
    writeFileSync(this.job, readFileSync(this.job, 'utf8').replace('.dedupe(', ".repartition({ by: 'id' })\n  .dedupe("));
  }

  copy(from: string, to: string): void {
    cpSync(from, to, { recursive: true });
  }

  /** Works in the folder, so that relative paths are relative to it. */
  start(words: readonly string[], command: readonly string[] = [process.execPath, MAIN], input?: string): Running {
    const child = spawn(command[0]!, [...command.slice(1), ...words], {
      cwd: this.dir,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, TALLY_DEBUG: '' },
    });
    let stdout = '',
      stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    this.running.add(child);
    const done = new Promise<Done>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => {
        this.running.delete(child);
        resolve({ status, stdout, stderr });
      });
    });
    return { child, done, stderr: () => stderr };
  }

  /** Two at a time, however many tests are on: more would only be in each other's way. */
  async tally(...words: string[]): Promise<Done> {
    while (busy >= COMMANDS_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    busy++;
    try {
      return await this.start(words).done;
    } finally {
      busy--;
      waiting.shift()?.();
    }
  }

  /** `run` of the job on a data directory, up to the log's end; it must end well. */
  async count(data: string, ...more: string[]): Promise<Summary> {
    const done = await this.tally(
      'run',
      this.job,
      '--contracts',
      this.contracts,
      '--log',
      this.log,
      '--data',
      data,
      '--until-end',
      '--json',
      ...more,
    );
    expect(done.status, done.stderr).toBe(0);
    return JSON.parse(done.stdout) as Summary;
  }

  /** The same, and it must not. */
  async refused(data: string, ...more: string[]): Promise<Done> {
    const done = await this.tally(
      'run',
      this.job,
      '--contracts',
      this.contracts,
      '--log',
      this.log,
      '--data',
      data,
      '--until-end',
      ...more,
    );
    expect(done.status, 'the run should have been refused').not.toBe(0);
    return done;
  }

  async verified(data: string): Promise<Record<string, number>> {
    const done = await this.tally('verify', this.job, '--contracts', this.contracts, '--log', this.log, '--data', data, '--json');
    expect(done.status, done.stdout + done.stderr).toBe(0);
    return JSON.parse(done.stdout) as Record<string, number>;
  }

  async query(data: string, sql: string): Promise<string> {
    const done = await this.tally('query', '--data', data, '--format', 'TSV', sql);
    expect(done.status, done.stderr).toBe(0);
    return done.stdout.trimEnd();
  }

  /** Everything that the tables say of the windows, but for what is final: that is the watermark's. */
  rows(data: string): Promise<string> {
    return this.query(
      data,
      "SELECT * FROM (SELECT 'hour' AS size, * EXCEPT (state) FROM sales_hourly_live UNION ALL SELECT 'day', * EXCEPT (state) FROM sales_daily_live) ORDER BY ALL",
    );
  }

  /** Appends lines to the topic; a line's record time is given with it, its key is its id. */
  append(lines: readonly Line[], partitions = 1, batchBytes = 8192, segmentBytes = SEGMENT_BYTES): void {
    const writer = new TopicWriter(this.log, 'sales', { partitions, batchBytes, segmentBytes });
    for (const { text, arrival } of lines) {
      const value = Buffer.from(text),
        key = keyOf(value, 'id');
      writer.append(writer.partitionFor(key), key, value, arrival);
    }
    writer.close();
  }

  async remove(): Promise<void> {
    for (const child of this.running) child.kill('SIGKILL');
    // An engine ends by itself when its parent has gone, and may still be writing.
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

export interface Summary {
  readonly job: string;
  readonly records: number;
  readonly classes: { readonly counted: number; readonly duplicate: number; readonly conflict: number; readonly quarantined: number };
  readonly codes: Readonly<Record<string, number>>;
  readonly peak_rss_bytes: number;
}
export interface Line {
  readonly text: string;
  readonly arrival: number;
}

/** Numbers that look random and are always the same. */
const mixed = (n: number, below: number): number => (Math.imul(n ^ (n >>> 15), 0x2c1b3c6d) >>> 5) % below;

/** Sale number n: one a minute, some of them hours out of order, over shops with very different numbers of sales. */
export function sale(n: number, more: Readonly<Record<string, unknown>> = {}): Line {
  const arrival = T0 + n * 60_000,
    at = arrival - (mixed(n, 20) === 0 ? mixed(n + 7, 30 * HOUR) : mixed(n + 3, 120_000));
  const event = {
    id: `sale-${n}`,
    at,
    shop: `shop ${Math.floor(Math.sqrt(mixed(n + 1, 100)))}`,
    total: mixed(n + 2, 100_000) / 100,
    ...(mixed(n, 3) === 0 ? {} : { paid_by: mixed(n, 2) === 0 ? 'card' : 'cash' }),
    ...(mixed(n, 4) === 0 ? {} : { units: mixed(n, 9) - 2 }),
    ...(mixed(n, 5) === 0 ? { rating: (mixed(n + 4, 81) - 40) / 10 } : {}),
    ...more,
  };
  return { text: JSON.stringify(event), arrival };
}

/** Sales [from, to), every tenth of them sent twice, every 50th again with another total, every 40th broken. */
export function sales(from: number, to: number): Line[] {
  const out: Line[] = [];
  for (let n = from; n < to; n++) {
    const line = sale(n);
    out.push(line);
    if (n % 10 === 3) out.push(line);
    if (n % 50 === 7) out.push({ ...sale(n, { total: 1e6 }), arrival: line.arrival });
    if (n % 40 === 9)
      out.push({ text: n % 80 === 9 ? `{"id":"broken-${n}"` : line.text.replace('"shop"', '"store"'), arrival: line.arrival });
  }
  return out;
}

export async function until(holds: () => boolean | Promise<boolean>, what: () => string, ms = 120_000): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 50)))
    if (await holds()) return;
  expect.fail(what());
}

/** As `--clickhouse` takes it, for a user who may do everything. */
export function urlOf({ url, admin }: Engine, database: string = admin.database): string {
  return `${url.replace('://', `://${admin.username}:${encodeURIComponent(admin.password)}@`)}/${database}`;
}

/** What a run last said of itself; undefined before it has said anything. */
export function statusOf(
  data: string,
  job = 'sales',
): { pid: number; running: boolean; shards: { partitions: { offset: number }[] }[] } | undefined {
  try {
    return JSON.parse(readFileSync(path.join(data, job, 'status.json'), 'utf8'));
  } catch {
    return undefined;
  }
}

export const told = (code: string): RegExp => new RegExp(`^tally: ${code}: [^\\n]+\\nhint: [^\\n]+\\n$`, 'm');
