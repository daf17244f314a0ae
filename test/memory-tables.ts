/**
 * ClickHouse as far as the sink's promises go: rows of outbox entries, decoded by the tables' layouts, the newest version of an identity
 * wins (an equal one: the last). `tables` gives the views over them in the shape in which the oracle asks.
 */
import { createHash } from 'node:crypto';
import { BOOKS, changesLayout, PROGRESS, QUARANTINE, rowsLayout, sentColumns } from '../topology/write/layout.ts';
import type { TableLayout } from '../topology/write/layout.ts';
import type { Plan } from '../topology/plan.ts';
import { decodeOutbox } from '../state/outbox.ts';
import type { Row, Tables } from './verify-fixture.ts';

type Cell = bigint | number | boolean | string | Buffer | null;
type Decoded = Record<string, Cell>;

export class MemoryTables {
  private readonly layouts = new Map<string, TableLayout>();
  private readonly rows = new Map<string, Map<string, Decoded>>();
  private readonly plan: Plan;
  inserts = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    for (const layout of [
      BOOKS,
      QUARANTINE,
      PROGRESS,
      ...plan.tables.flatMap((t) => [rowsLayout(plan, t, 1), changesLayout(plan, t, 1)]),
    ]) {
      this.layouts.set(layout.name, layout);
      this.rows.set(layout.name, new Map());
    }
  }

  insert(written: { key: Uint8Array; value: Uint8Array }): void {
    const entry = decodeOutbox(written.key, written.value),
      layout = this.layouts.get(entry.target.split(' ')[0]!)!;
    const rows = this.rows.get(layout.name)!,
      reader = new Reader(entry.body);
    let n = 0;
    for (; !reader.done; n++) {
      const row: Decoded = {};
      for (const c of sentColumns(layout)) row[c.name] = reader.read(c.type);
      const identity = layout.orderBy.map((c) => String(row[c])).join('\u0000'),
        before = rows.get(identity);
      if (before === undefined || (row['version'] as bigint) >= (before['version'] as bigint)) rows.set(identity, row);
    }
    if (n !== entry.rows) throw new Error(`${entry.target}: ${entry.rows} rows announced, ${n} came`);
    this.inserts++;
  }

  private all(layout: string): Decoded[] {
    return [...this.rows.get(layout)!.values()];
  }

  tables(shards: number): Tables {
    const progress = this.all(PROGRESS.name),
      final = progress.length < shards ? 0n : progress.map((p) => p['final_to'] as bigint).reduce((a, b) => (a < b ? a : b));
    const out: Tables = {
      tally_audit: [],
      tally_progress: progress.map((p): Row => ({
        shard: Number(p['shard']),
        shards: Number(p['shards']),
        instance: 'i',
        final_to_ms: String(p['final_to']),
        offsets: String(p['offsets']),
        committed_at_ms: '0',
      })),
      tally_books: this.all(BOOKS.name).map((b): Row => ({
        shard: Number(b['shard']),
        topic: String(b['topic']),
        partition: Number(b['partition']),
        class: String(b['class']),
        code: String(b['code']),
        n: String(b['records']),
      })),
      tally_quarantine: this.all(QUARANTINE.name).map(quarantineRow),
    };
    for (const table of this.plan.tables)
      this.views(table.name, rowsLayout(this.plan, table, 1).name, changesLayout(this.plan, table, 1).name, final, out);
    return out;
  }

  private views(name: string, rowsName: string, changesName: string, finalTo: bigint, out: Tables): void {
    const isFinal = (r: Decoded): boolean => BigInt(r['window_end'] as number) * 1000n <= finalTo;
    const groups = new Map<string, Decoded[]>();
    for (const r of this.all(rowsName)) {
      const key = [r['window_start'], ...this.plan.dimensions.map((d) => r[d.name])].map(String).join('\u0000');
      groups.set(key, [...(groups.get(key) ?? []), r]);
    }
    const live = [...groups.values()].map((rows) => ({ rows, first: rows[0]! }));
    out[`${name}_live`] = live.map(({ rows, first }) => ({
      ...this.base(first),
      ...this.measures(rows),
      state: !isFinal(first) ? 'provisional' : rows.some((r) => r['corrected'] === 1) ? 'corrected' : 'final',
    }));
    out[name] = live.filter(({ first }) => isFinal(first)).map(({ rows, first }) => ({ ...this.base(first), ...this.measures(rows) }));
    out[`${name}_changes`] = this.all(changesName)
      .filter(isFinal)
      .map((r) => ({
        ...this.base(r),
        ...this.measures([r]),
        op_text: ['', '+I', '-U', '+U'][Number(r['op'])]!,
        sign: Number(r['sign']),
        cause: String(r['cause']),
        shard: Number(r['shard']),
        version_text: String(r['version']),
      }));
  }

  private base(r: Decoded): Row {
    return {
      start_s: Number(r['window_start']),
      end_s: Number(r['window_end']),
      ...Object.fromEntries(
        this.plan.dimensions.map((d, i) => [`d${i}`, typeof r[d.name] === 'boolean' ? (r[d.name] as boolean) : String(r[d.name])]),
      ),
    };
  }

  private measures(rows: readonly Decoded[]): Row {
    const text = (m: Plan['measures'][number], v: Cell): string | null => {
      if (v === null || m.scale === 0) return v === null ? null : String(v);
      const digits = String((v as bigint) < 0n ? -(v as bigint) : v).padStart(m.scale + 1, '0');
      return `${(v as bigint) < 0n ? '-' : ''}${digits.slice(0, -m.scale)}.${digits.slice(-m.scale)}`;
    };
    return Object.fromEntries(
      this.plan.measures.map((m, i) => [
        `m${i}`,
        text(
          m,
          combine(
            m.kind,
            rows.map((r) => r[m.name]!),
          ),
        ),
      ]),
    );
  }
}

function combine(kind: string, values: readonly Cell[]): Cell {
  if (kind === 'count' || kind === 'sum') return (values as bigint[]).reduce((a, b) => a + b, 0n);
  const some = values.filter((v) => v !== null) as (bigint | number)[];
  return some.length === 0 ? null : some.reduce((a, b) => ((kind === 'min' ? b < a : b > a) ? b : a));
}

function quarantineRow(q: Decoded): Row {
  const raw = q['raw'] as unknown as string,
    bytes = Buffer.from(raw, 'latin1'),
    key = q['key'];
  return {
    topic: String(q['topic']),
    partition: Number(q['partition']),
    offset: Number(q['offset']),
    code: String(q['code']),
    field: String(q['field']),
    shard: Number(q['shard']),
    at_ms: String(q['timestamp']),
    key_hex: key === null ? null : Buffer.from(String(key), 'latin1').toString('hex').toUpperCase(),
    raw_bytes: String(bytes.length),
    raw_sha256: createHash('sha256').update(bytes).digest('hex'),
    detail: utf8(q['detail']),
    contract: utf8(q['contract']),
    contract_version: utf8(q['contract_version']),
  };
}
const utf8 = (cell: Cell | undefined): string => Buffer.from(String(cell), 'latin1').toString();

/** RowBinary, written anew so that it shares nothing with the encoder; strings come as latin-1 text of their bytes. */
class Reader {
  private readonly b: Buffer;
  private at = 0;
  constructor(body: Uint8Array) {
    this.b = Buffer.from(body);
  }
  get done(): boolean {
    return this.at >= this.b.length;
  }
  read(type: string): Cell {
    if (type.startsWith('Nullable(')) return this.take(1)[0] === 1 ? null : this.read(type.slice(9, -1));
    if (type.startsWith('LowCardinality(')) return this.read(type.slice(15, -1));
    if (type === 'String') return this.take(this.varint()).toString('latin1');
    if (type === 'UInt8' || type === 'Int8' || type === 'Bool' || type.startsWith('Enum8')) {
      const v = this.take(1);
      return type === 'Bool' ? v[0] === 1 : type === 'UInt8' ? v[0]! : v.readInt8(0);
    }
    if (type === 'UInt16') return this.take(2).readUInt16LE(0);
    if (type === 'UInt32' || type === "DateTime('UTC')") return this.take(4).readUInt32LE(0);
    if (type === 'Int32') return this.take(4).readInt32LE(0);
    if (type === 'Float64') return this.take(8).readDoubleLE(0);
    if (type === 'UInt64') return this.take(8).readBigUInt64LE(0);
    if (type === 'Int64' || type === "DateTime64(3, 'UTC')") return this.take(8).readBigInt64LE(0);
    throw new Error(`a type that no table has: ${type}`);
  }
  private take(n: number): Buffer {
    if (this.at + n > this.b.length) throw new Error('a row is cut');
    this.at += n;
    return this.b.subarray(this.at - n, this.at);
  }
  private varint(): number {
    for (let v = 0, shift = 1; ; shift *= 128) {
      const byte = this.take(1)[0]!;
      v += (byte & 127) * shift;
      if (byte < 128) return v;
    }
  }
}
