/**
 * The changelog of one table against the recount: the versions of each row of each shard must be one +I, then pairs of -U, which
 * takes back exactly what stood before, and +U; and all of them together must add up to the final table (min and max: the
 * newest of each shard, combined). Marks the cells that were corrected.
 */
import { merge } from './cells.ts';
import type { CellTable, Measure } from './cells.ts';
import { name } from './model.ts';
import type { Frozen } from './frozen.ts';
import type { Ask, Differences } from './model.ts';
import { differing, dimensionColumns, inRange, measureColumns, ranges, showKey, showKeyText, toViewRow, viewKey } from './tables.ts';
import type { ViewRow } from './tables.ts';
import type { Plan } from '../../topology/plan.ts';

interface Change {
  readonly row: ViewRow;
  readonly op: string;
  readonly sign: number;
  readonly cause: string;
  readonly version: bigint;
}
interface Chain {
  readonly key: string;
  readonly changes: Change[];
}
interface ChangesCheck {
  readonly plan: Plan;
  readonly table: string;
  readonly cells: CellTable;
  /** By cell: a version after the first was published. */
  readonly corrected: Uint8Array;
  readonly finalTo: number;
  readonly frozen: Frozen;
  readonly ask: Ask;
  readonly differences: Differences;
}

const CHANGES = 4;
const ORDER = ['+I', '-U', '+U'];
const SIGN: Readonly<Record<string, number>> = { '+I': 1, '-U': -1, '+U': 1 };

/** Gives the number of changes, and of those that cannot be compared. */
export async function checkChanges(o: ChangesCheck): Promise<{ rows: number; unchecked: number }> {
  const view = `${o.table}_changes`;
  let rows = 0,
    unchecked = 0;
  for (const range of await ranges(o.ask, view, o.plan)) {
    const columns = [
      'toUnixTimestamp(window_start) AS start_s, toUnixTimestamp(window_end) AS end_s',
      dimensionColumns(o.plan),
      measureColumns(o.plan),
      'toString(op) AS op_text, sign, cause, shard, toString(version) AS version_text',
    ].filter((c) => c !== '');
    const found = await o.ask(`SELECT ${columns.join(', ')} FROM ${name(view)} WHERE ${inRange(range, o.plan)}`);
    rows += found.length;
    for (const shards of group(o.plan, found)) {
      for (const [shard, { changes }] of shards) {
        if (!o.frozen.isPart(Number(shard), changes[0]!.row.start)) continue;
        unchecked += changes.length;
        shards.delete(shard);
      }
      if (shards.size > 0) checkKey(o, view, shards);
    }
  }
  const { cells } = o;
  for (let cell = 0; cell < cells.count; cell++) {
    if (cells.end(cell) > o.finalTo || (cells.seen[cell]! & CHANGES) !== 0) continue;
    o.differences.add('changes', view, 'a +I', 'no change', { window: cells.start(cell), key: showKeyText(o.plan, cells.keyText(cell)) });
  }
  return { rows: rows - unchecked, unchecked };
}

/** The chains of each window and key, one a shard, each in the order of its versions. */
function group(plan: Plan, found: readonly Record<string, unknown>[]): Map<string, Chain>[] {
  const byKey = new Map<string, Map<string, Chain>>();
  for (const raw of found) {
    const row = toViewRow(plan, raw),
      key = viewKey(plan, row),
      place = `${row.start} ${key}`,
      shard = String(raw.shard);
    const shards = byKey.get(place) ?? new Map<string, Chain>();
    byKey.set(place, shards);
    const chain = shards.get(shard) ?? { key, changes: [] };
    shards.set(shard, chain);
    chain.changes.push({
      row,
      op: String(raw.op_text),
      sign: Number(raw.sign),
      cause: String(raw.cause),
      version: BigInt(String(raw.version_text)),
    });
  }
  for (const shards of byKey.values()) {
    for (const { changes } of shards.values()) {
      changes.sort((a, b) => (a.version === b.version ? ORDER.indexOf(a.op) - ORDER.indexOf(b.op) : a.version < b.version ? -1 : 1));
    }
  }
  return [...byKey.values()];
}

function checkKey(o: ChangesCheck, view: string, shards: ReadonlyMap<string, Chain>): void {
  const { plan, differences, cells } = o,
    [first] = shards.values(),
    { row } = first!.changes[0]!;
  const at = { window: row.start, key: showKey(plan, row.key) };
  const cell = cells.find(row.start, first!.key);
  if (cell < 0) return differences.add('changes', view, 'no change', 'a change of a window and key without events', at);
  cells.seen[cell]! |= CHANGES;
  if (cells.end(cell) > o.finalTo) return differences.add('changes', view, 'no change before its window is final', 'a change', at);
  for (const [shard, { changes }] of shards) {
    const fault = faultOf(plan, changes, cells.end(cell));
    if (fault !== null) differences.add('changes', view, fault.expected, `${fault.found} (shard ${shard})`, at);
    // A row that only a late event has brought was not there when its window became final: that too corrects it.
    if (changes.length > 1 || changes[0]!.cause !== '') o.corrected[cell] = 1;
  }
  const wrong = differing(plan, cells.values(cell), combined(plan, shards));
  if (wrong !== null) differences.add('changes', view, `a total of ${wrong.expected}`, wrong.found, at);
}

/** The first link of a chain that does not hold. */
function faultOf(plan: Plan, changes: readonly Change[], end: number): { expected: string; found: string } | null {
  for (const [i, c] of changes.entries()) {
    const due = i === 0 ? '+I' : i % 2 === 1 ? '-U' : '+U',
      before = changes[i - 1];
    if (c.op !== due) return { expected: `${due} as change ${i + 1} of the row`, found: c.op };
    if (c.sign !== SIGN[c.op]) return { expected: `sign ${SIGN[c.op]} with ${c.op}`, found: String(c.sign) };
    if (c.row.end !== end) return { expected: `window_end ${new Date(end).toISOString()}`, found: new Date(c.row.end).toISOString() };
    if (i > 0 && c.cause === '') return { expected: `a cause of ${c.op}`, found: 'none' };
    if (c.op === '-U') {
      const wrong = differing(plan, before!.row.measures, c.row.measures);
      if (wrong !== null) return { expected: `-U to take back ${wrong.expected}`, found: wrong.found };
    } else if (c.op === '+U' && c.version !== before!.version) {
      return { expected: `+U under the version of its -U, ${before!.version}`, found: String(c.version) };
    }
  }
  return changes.length > 1 && changes.length % 2 === 0 ? { expected: 'a +U after the last -U', found: 'none' } : null;
}

/** count and sum: sign x measure over all changes; min and max: of the newest of each shard. */
function combined(plan: Plan, shards: ReadonlyMap<string, Chain>): Measure[] {
  return plan.measures.map((m, i): Measure => {
    let total = 0n,
      best: Measure = null;
    for (const { changes } of shards.values()) {
      if (m.kind === 'count' || m.kind === 'sum') for (const c of changes) total += BigInt(c.sign) * (c.row.measures[i] as bigint);
      else best = merge(m.kind, best, changes.at(-1)!.row.measures[i]!);
    }
    return m.kind === 'count' || m.kind === 'sum' ? total : best;
  });
}
