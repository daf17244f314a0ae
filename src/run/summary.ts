/** What a run says of itself in numbers: while it goes on, and at its end. */
import { LINES } from '../../topology/books.ts';
import type { ShardStatus } from './messages.ts';
import { behind } from './shard-status.ts';
import { GENERATION } from './places.ts';

export interface RunSummary {
  readonly job: string;
  readonly generation: number;
  readonly records: number;
  readonly classes: { counted: number; duplicate: number; conflict: number; quarantined: number };
  readonly codes: Record<string, number>;
  readonly seconds: number;
  readonly events_per_second: number;
  readonly peak_rss_bytes: number;
}

export function progressLine(shards: readonly ShardStatus[], opened: readonly ShardStatus[], rate: number): string {
  const done = read(shards) - read(opened);
  return `${done.toLocaleString('en')} records, ${Math.round(rate).toLocaleString('en')}/s, ${behind(shards).toLocaleString('en')} behind`;
}

export const read = (shards: readonly ShardStatus[]): number => shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.page[0]!, 0);

export function summary(job: string, opened: readonly ShardStatus[], ended: readonly ShardStatus[], seconds: number): RunSummary {
  const classes = { counted: 0, duplicate: 0, conflict: 0, quarantined: 0 },
    codes: Record<string, number> = {};
  const pages = (shards: readonly ShardStatus[]): (readonly number[])[] => shards.flatMap((s) => s.partitions).map((p) => p.page);
  for (const [i, line] of LINES.entries()) {
    const n = total(pages(ended), i) - total(pages(opened), i);
    if (line.class === 'read' || n === 0) continue;
    classes[line.class] += n;
    if (line.code !== '') codes[line.code] = (codes[line.code] ?? 0) + n;
  }
  const records = read(ended) - read(opened);
  return {
    job,
    generation: GENERATION,
    records,
    classes,
    codes,
    seconds: Math.round(seconds * 1000) / 1000,
    events_per_second: Math.round(records / Math.max(seconds, 0.001)),
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  };
}

const total = (pages: readonly (readonly number[])[], line: number): number => pages.reduce((sum, page) => sum + page[line]!, 0);
