/**
 * What was turned away, kept whole: a row a record with its exact bytes, the code and the reason. Of an oversize record the
 * first 64 KiB, with its size and SHA-256 in `detail`, so that the row proves what it stands for.
 */
import { createHash } from 'node:crypto';
import type { Code } from '../contract/model.ts';
import type { Records } from '../consume/records.ts';
import type { Plan } from '../plan.ts';
import { insertTarget, QUARANTINE } from './layout.ts';
import { RowBinary } from './row-binary.ts';

export const QUARANTINE_TARGET = insertTarget(QUARANTINE);
export const OVERSIZE_KEPT_BYTES = 64 * 1024;
/** An insert is at most about this large, so that neither state nor sink sees a huge value. */
const CHUNK_BYTES = 4 * 1024 * 1024;

export class Quarantine {
  /** Whole chunks, then what is still open in `open`; each with a number of rows. */
  private readonly full: { rows: number; body: Uint8Array }[] = [];
  private readonly open = new RowBinary();
  /** Bytes that wait for a commit. */
  bytes = 0;
  private readonly plan: Plan;
  private readonly generation: number;
  private readonly shard: number;

  constructor(plan: Plan, generation: number, shard: number) {
    this.plan = plan;
    this.generation = generation;
    this.shard = shard;
  }

  add(
    source: number,
    partition: number,
    records: Records,
    record: number,
    code: Code,
    field: string,
    detail: string,
    version: number,
  ): void {
    const out = this.open,
      from = records.valueStart[record]!,
      end = records.valueEnd[record]!,
      before = out.length;
    const contract = this.plan.sources[source]!;
    const oversize = code === 'OVERSIZE';
    const kept = from < 0 ? from : oversize ? Math.min(end, from + OVERSIZE_KEPT_BYTES) : end;
    out.string(this.plan.job);
    out.u32(this.generation);
    out.u16(this.shard);
    out.string(contract.topic);
    out.i32(partition);
    out.int(records.offset[record]!);
    out.int(records.timestamp[record]!);
    this.key(records, record);
    out.varint(Math.max(0, kept - from));
    if (from >= 0) out.raw(records.bytes, from, kept);
    out.string(code);
    out.string(field);
    out.string(oversize ? `${end - from} bytes, sha256 ${sha256(records.bytes.subarray(from, end))}` : detail);
    out.string(contract.contract);
    out.string(contract.version);
    out.int(version);
    out.rows++;
    this.bytes += out.length - before;
    if (out.length >= CHUNK_BYTES) this.close();
  }

  private key(records: Records, record: number): void {
    const start = records.keyStart[record]!,
      end = records.keyEnd[record]!;
    this.open.u8(start < 0 ? 1 : 0);
    if (start < 0) return;
    this.open.varint(end - start);
    this.open.raw(records.bytes, start, end);
  }

  private close(): void {
    if (this.open.rows === 0) return;
    const rows = this.open.rows;
    this.full.push({ rows, body: this.open.take() });
  }

  /** Hands over all chunks and begins anew. */
  emit(emit: (target: string, rows: number, body: Uint8Array) => void): void {
    this.close();
    for (const chunk of this.full) emit(QUARANTINE_TARGET, chunk.rows, chunk.body);
    this.full.length = 0;
    this.bytes = 0;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
