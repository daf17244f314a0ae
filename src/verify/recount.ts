/**
 * The recount of one shard: every record below the committed offsets of its partitions is judged again, held against its
 * quarantine row, and counted once by its id. Out come the cells (shared by all shards), and a page of the books a partition.
 */
import type { Cells } from './cells.ts';
import { keyText } from './cells.ts';
import { UUID } from './formats.ts';
import { hourEnd, Identities } from './identities.ts';
import type { Partition } from './identities.ts';
import { makeJudge } from './judge.ts';
import type { Judge, Refusal, Value } from './judge.ts';
import type { Ask, Differences } from './model.ts';
import { QuarantineRows, wrongColumns } from './quarantine-rows.ts';
import type { QuarantineRow } from './quarantine-rows.ts';
import { past } from './logged-log.ts';
import type { Range } from './logged-log.ts';
import type { LoggedRecord } from './record-batch.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

/** What the books of a partition must say. Counted and duplicate depend on the order between partitions: `rest` is their sum. */
export interface Page {
  readonly shard: number;
  readonly topic: string;
  readonly partition: number;
  read: number;
  rest: number;
  conflict: number;
  readonly codes: Map<string, number>;
}
export interface Committed {
  readonly topic: string;
  readonly source: number;
  readonly partition: number;
  readonly end: number;
  /** What the run never read: before its first start, and gaps that it was told to pass over. */
  readonly skipped: readonly Range[];
}

/** What of a contract's values the job reads. */
interface Reading {
  readonly judge: Judge;
  readonly contract: Contract;
  readonly id: number;
  readonly time: number;
  /** All that the job reads but the id, in name order: the content. */
  readonly content: readonly number[];
}

function readingOf(plan: Plan, contract: Contract, source: number): Reading {
  const names = new Set<string>([plan.time, ...plan.dimensions.map((d) => d.name)]);
  for (const m of plan.measures) {
    if (m.source !== source) continue;
    if (m.field !== null) names.add(m.field);
    for (const c of m.where) names.add(c.field);
  }
  names.delete(plan.id);
  const at = (name: string): number => contract.fields.findIndex((f) => f.name === name);
  return {
    judge: makeJudge(contract, plan.maxRecordBytes),
    contract,
    id: at(plan.id),
    time: at(plan.time),
    content: [...names].sort().map(at),
  };
}

/** What a shard has read of one partition. */
export interface Share {
  readonly recount: ShardRecount;
  readonly source: number;
  readonly end: number;
  readonly skipped: readonly Range[];
  readonly page: Page;
  readonly at: Partition & { high: number };
  readonly rows: QuarantineRows;
}

export class ShardRecount {
  readonly pages: Page[] = [];
  counted = 0;
  private readonly identities: Identities;
  private readonly plan: Plan;
  private readonly readings: readonly Reading[];
  private readonly shard: number;
  /** Events before it are expired; 0: none for that. */
  private readonly frozenTo: number;
  /** Quarantine rows of records that this recount has not seen, and could not. */
  unseen = 0;
  private readonly cells: Cells;
  readonly differences: Differences;

  constructor(plan: Plan, contracts: readonly Contract[], shard: number, cells: Cells, differences: Differences, frozenTo = 0) {
    this.plan = plan;
    this.identities = new Identities(plan.horizonMs);
    this.readings = contracts.map((contract, source) => readingOf(plan, contract, source));
    this.shard = shard;
    this.frozenTo = frozenTo;
    this.cells = cells;
    this.differences = differences;
  }

  /** The shard's share of a partition; `isShared`: others have shares of it too. */
  async open(c: Committed, isShared: boolean, ask: Ask, generation: number): Promise<Share> {
    const { topic, partition, end, skipped, source } = c,
      page: Page = { shard: this.shard, topic, partition, read: 0, rest: 0, conflict: 0, codes: new Map() };
    const owner = { job: this.plan.job, generation, ...(isShared ? { shard: this.shard } : {}) };
    // Of a shard that was counted again, what the log had lost by then keeps its rows.
    const begin = this.frozenTo === 0 ? 0 : past(skipped, 0),
      rows = new QuarantineRows(ask, owner, topic, partition, begin, end);
    if (begin > 0) this.unseen += await rows.before();
    this.pages.push(page);
    return {
      recount: this,
      source,
      end,
      skipped,
      page,
      at: { topic, partition, high: -1 },
      rows,
    };
  }

  /** What can only be said when all partitions were walked. */
  finish(): void {
    this.identities.check(this.differences);
  }

  /** What the contract and the fence say of a record. */
  judge(source: number, record: LoggedRecord): Refusal | Value[] {
    const reading = this.readings[source]!,
      verdict = reading.judge(record.value);
    const isFuture = Array.isArray(verdict) && (verdict[reading.time] as number) > record.timestamp + this.plan.fenceMs;
    return isFuture ? { code: 'FUTURE_TIME', field: this.plan.time } : verdict;
  }

  record({ source, at, page, rows }: Share, record: LoggedRecord, verdict: Refusal | Value[]): void {
    const reading = this.readings[source]!,
      { plan } = this,
      row = rows.take(record.offset, this.differences);
    page.read++;
    if (!Array.isArray(verdict)) return this.due(page, record, row, reading, verdict.code, verdict.field);
    const time = verdict[reading.time] as number;
    if (time < this.frozenTo) return this.due(page, record, row, reading, 'EXPIRED', plan.time);
    // Earlier accepted records of the same partition were read before, whatever came between: they force it.
    if (hourEnd(time) <= at.high - plan.horizonMs) return this.due(page, record, row, reading, 'EXPIRED', plan.time);
    if (row?.code === 'EXPIRED') {
      this.identities.expire(time, { at, offset: record.offset });
      return this.due(page, record, row, reading, 'EXPIRED', plan.time);
    }
    at.high = Math.max(at.high, time);
    this.identities.accept(time);
    this.accepted(source, at, page, record, row, reading, verdict, time);
  }

  private accepted(
    source: number,
    at: Partition,
    page: Page,
    record: LoggedRecord,
    row: QuarantineRow | null,
    reading: Reading,
    values: Value[],
    time: number,
  ): void {
    const id = identity(values[reading.id]!),
      content = contentOf(source, reading, values);
    if (row?.code === 'ID_CONFLICT') {
      this.identities.conflict(id, content, { at, offset: record.offset });
      page.conflict++;
      return this.compare(record, row, page, reading, 'ID_CONFLICT', this.plan.id);
    }
    if (row !== null) this.differences.add('quarantine', where(page, record), 'no row: the record is valid', `${row.code} ${row.field}`);
    page.rest++;
    if (!this.identities.counts(id, content, time, at, record.offset)) return;
    this.counted++;
    this.cells.add(source, time, values);
  }

  /** A row with this code and field is due. */
  private due(page: Page, record: LoggedRecord, row: QuarantineRow | null, reading: Reading, code: string, field: string): void {
    page.codes.set(code, (page.codes.get(code) ?? 0) + 1);
    if (row === null) this.differences.add('quarantine', where(page, record), `a row ${code} ${field}`.trimEnd(), 'none');
    else this.compare(record, row, page, reading, code, field);
  }

  private compare(record: LoggedRecord, row: QuarantineRow, page: Page, reading: Reading, code: string, field: string): void {
    if (row.code !== code || row.field !== field) {
      this.differences.add('quarantine', where(page, record), `${code} ${field}`.trimEnd(), `${row.code} ${row.field}`.trimEnd());
      return;
    }
    const { id, version } = reading.contract;
    const wrong = wrongColumns(row, record, this.shard, id, version);
    if (wrong.length > 0) this.differences.add('quarantine', where(page, record), `the record's own ${wrong.join(', ')}`, 'another');
  }
}

const where = (page: Page, record: LoggedRecord): string => `${page.topic}/${page.partition}@${record.offset}`;

/** UUIDs in any letter case are one id. */
export function identity(value: Value): string {
  const text = String(value);
  return text.length === 36 && UUID.test(text) ? text.toLowerCase() : text;
}

function contentOf(source: number, reading: Reading, values: readonly Value[]): string {
  const read: Value[] = [source];
  for (const i of reading.content) read.push(values[i]!);
  return keyText(read);
}
