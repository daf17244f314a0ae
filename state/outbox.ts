/**
 * The outbox: what ClickHouse must still be told, in the order in which it must be told it. It changes in the same batch as the
 * state that it tells of. Packed: an entry is one insert, not one row.
 *
 *   key    'X' | version, 8 bytes big-endian | number within the commit, 4 bytes big-endian
 *   value  format 1 (u8) | rows (u32 LE) | length of target (u16 LE) | target, e.g. "ads_hourly_g1_rows (a, b)" | RowBinary rows
 *
 * The last entry of a commit is its progress row.
 */
export interface OutboxEntry {
  readonly key: Uint8Array;
  readonly version: number;
  readonly target: string;
  readonly rows: number;
  readonly body: Uint8Array;
}

/** Versions are epoch * EPOCH + checkpoint; below 2^53 they are exact doubles. */
export const EPOCH: number = 2 ** 40;
export const epochOf = (version: number): number => Math.floor(version / EPOCH);

export function outboxKey(version: number, n: number): Uint8Array {
  const key = Buffer.alloc(13);
  key[0] = 0x58;
  key.writeUInt32BE(Math.floor(version / 4294967296), 1);
  key.writeUInt32BE(version % 4294967296, 5);
  key.writeUInt32BE(n, 9);
  return key;
}
export const OUTBOX_FROM: Uint8Array = Buffer.from('X');
export const OUTBOX_TO: Uint8Array = Buffer.from('Y');

export function encodeOutbox(target: string, rows: number, body: Uint8Array): Uint8Array {
  const name = Buffer.from(target);
  const out = Buffer.allocUnsafe(7 + name.length + body.length);
  out[0] = 1;
  out.writeUInt32LE(rows, 1);
  out.writeUInt16LE(name.length, 5);
  out.set(name, 7);
  out.set(body, 7 + name.length);
  return out;
}

export function decodeOutbox(key: Uint8Array, value: Uint8Array): OutboxEntry {
  const k = Buffer.from(key.buffer, key.byteOffset, key.length),
    v = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (v[0] !== 1) throw new Error(`outbox format ${v[0]} is not known`);
  const n = v.readUInt16LE(5);
  return {
    key,
    version: k.readUInt32BE(1) * 4294967296 + k.readUInt32BE(5),
    rows: v.readUInt32LE(1),
    target: v.toString('utf8', 7, 7 + n),
    body: v.subarray(7 + n),
  };
}
