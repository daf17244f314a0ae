/**
 * What no recount can show. A shard whose state was lost is counted again from what the log still holds; windows that began before that
 * stay as they were, and its events of them are expired. The tables say of which shard and up to when; what is left out for it is counted.
 */
import { past } from './logged-log.ts';
import { quote } from './model.ts';
import type { Ask, FrozenShard } from './model.ts';
import type { Progress } from './progress.ts';

export class Frozen {
  /** Rows that were not compared, by view. */
  readonly unchecked: Record<string, number> = {};
  private readonly byShard: ReadonlyMap<number, number>;
  /** A view's rows hold the parts of all shards. */
  private readonly last: number;
  private readonly left = new Set<string>();

  constructor(byShard: ReadonlyMap<number, number>) {
    this.byShard = byShard;
    this.last = Math.max(0, ...byShard.values());
  }

  /** Events of the shard before it are expired; 0: it was never counted again, or all of it was. */
  to(shard: number): number {
    return this.byShard.get(shard) ?? 0;
  }
  /** The shard's part of a window. */
  isPart(shard: number, start: number): boolean {
    return start < this.to(shard);
  }
  /** A window with such a part. */
  holds(start: number): boolean {
    return start < this.last;
  }
  /** The same of a row that was met: it is counted then. */
  leavesOut(table: string, view: string, start: number): boolean {
    if (!this.holds(start)) return false;
    this.left.add(`${table} ${start}`);
    this.leave(view, 1);
    return true;
  }
  leave(view: string, rows: number): void {
    if (rows > 0) this.unchecked[view] = (this.unchecked[view] ?? 0) + rows;
  }
  get windows(): number {
    return this.left.size;
  }
  get shards(): FrozenShard[] {
    return [...this.byShard].map(([shard, to]) => ({ shard, before: new Date(to).toISOString().replace('.000Z', 'Z') }));
  }
}

export async function readFrozen(ask: Ask, job: string, generation: number, progress: Progress): Promise<Frozen> {
  // Who has read from the log's very beginning has lost nothing.
  if (progress.committed.flat().every(({ skipped }) => past(skipped, 0) === 0)) return new Frozen(new Map());
  const rows = await ask(
    `SELECT shard, toString(toUnixTimestamp64Milli(max(frozen_to))) AS frozen_ms FROM tally_epochs WHERE job = ${quote(job)} AND generation = ${generation} GROUP BY shard ORDER BY shard`,
  );
  return new Frozen(new Map(rows.map((r) => [Number(r.shard), Number(r.frozen_ms)] as const).filter(([, to]) => to > 0)));
}
