/**
 * The quarantine rows of one partition, read in pages in the order of offsets, so that they can be held against the log while it
 * is walked. Bytes are compared by length and SHA-256, which the database computes. Two rows of one offset are a difference.
 */
import { createHash } from 'node:crypto';
import type { LoggedRecord } from './record-batch.ts';
import { name, quote } from './model.ts';
import type { Ask, Differences } from './model.ts';
import type { Code } from '../../topology/contract/model.ts';

export interface QuarantineRow {
  readonly offset: number;
  readonly code: Code;
  readonly field: string;
  readonly shard: number;
  readonly timestamp: number;
  /** Upper-case hex; null: no key. */
  readonly key: string | null;
  readonly bytes: number;
  readonly sha256: string;
  readonly detail: string;
  readonly contract: string;
  readonly contractVersion: string;
}

const PAGE = 50_000;
export const OVERSIZE_KEPT_BYTES = 65_536;

export class QuarantineRows {
  private readonly ask: Ask;
  private readonly filter: string;
  private readonly begin: number;
  private readonly where: string;
  private readonly end: number;
  private page: QuarantineRow[] = [];
  private at = 0;
  private asked: number;
  private more = true;

  constructor(
    ask: Ask,
    owner: { job: string; generation: number; shard?: number },
    topic: string,
    partition: number,
    begin: number,
    end: number,
  ) {
    this.ask = ask;
    this.begin = begin;
    this.asked = begin - 1;
    this.end = end;
    this.where = `${topic}/${partition}`;
    const shard = owner.shard === undefined ? '' : ` AND shard = ${owner.shard}`;
    this.filter = `job = ${quote(owner.job)} AND generation = ${owner.generation}${shard} AND topic = ${quote(topic)} AND partition = ${partition}`;
  }

  /** How many rows stand below the first offset that is walked. */
  async before(): Promise<number> {
    const [row] = await this.ask(`SELECT count() AS n FROM tally_quarantine WHERE ${this.filter} AND ${name('offset')} < ${this.begin}`);
    return Number(row?.n ?? 0);
  }

  /** Makes all rows up to `offset` ready for `take`. */
  async load(offset: number): Promise<void> {
    while (this.more && this.asked < offset) {
      const found = await this.ask(
        `SELECT ${name('offset')}, code, field, shard, toUnixTimestamp64Milli(${name('timestamp')}) AS at_ms, hex(${name('key')}) AS key_hex, length(raw) AS raw_bytes, ` +
          `lower(hex(SHA256(raw))) AS raw_sha256, detail, contract, contract_version FROM tally_quarantine WHERE ${this.filter} ` +
          `AND ${name('offset')} > ${this.asked} AND ${name('offset')} < ${this.end} ORDER BY ${name('offset')} LIMIT ${PAGE}`,
      );
      this.page = [...this.page.slice(this.at), ...found.map(toRow)];
      this.at = 0;
      this.more = found.length === PAGE;
      if (found.length > 0) this.asked = this.page.at(-1)!.offset;
    }
  }

  /** The row of this offset. Rows below it that no record asked for stand for nothing. */
  take(offset: number, differences: Differences): QuarantineRow | null {
    while (this.at < this.page.length && this.page[this.at]!.offset < offset) {
      const row = this.page[this.at++]!;
      differences.add('quarantine', `${this.where}@${row.offset}`, 'no row', `a row ${row.code} more than the log has records`);
    }
    const row = this.page[this.at];
    if (row === undefined || row.offset !== offset) return null;
    this.at++;
    return row;
  }
}

function toRow(r: Record<string, unknown>): QuarantineRow {
  return {
    offset: Number(r.offset),
    code: r.code as Code,
    field: String(r.field),
    shard: Number(r.shard),
    timestamp: Number(r.at_ms),
    key: r.key_hex === null ? null : String(r.key_hex),
    bytes: Number(r.raw_bytes),
    sha256: String(r.raw_sha256),
    detail: String(r.detail),
    contract: String(r.contract),
    contractVersion: String(r.contract_version),
  };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Says in which columns the row does not stand for the record. */
export function wrongColumns(row: QuarantineRow, record: LoggedRecord, shard: number, contract: string, version: string): string[] {
  const wrong: string[] = [],
    value = record.value ?? Buffer.alloc(0);
  const oversize = row.code === 'OVERSIZE',
    kept = oversize ? value.subarray(0, OVERSIZE_KEPT_BYTES) : value;
  if (row.bytes !== kept.length || row.sha256 !== sha256(kept)) wrong.push('raw');
  if (row.timestamp !== record.timestamp) wrong.push('timestamp');
  if (row.key !== (record.key === null ? null : record.key.toString('hex').toUpperCase())) wrong.push('key');
  if (row.shard !== shard) wrong.push('shard');
  if (row.contract !== contract || row.contractVersion !== version) wrong.push('contract');
  if (oversize && !(row.detail.includes(String(value.length)) && row.detail.includes(sha256(value)))) wrong.push('detail');
  return wrong;
}
