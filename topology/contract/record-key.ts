/**
 * With several shards a resend must reach the shard of its original: that holds when the record's key is the event's id (a UUID in lower
 * case), for producers choose the partition by the key. Asked of every valid event; a record that breaks it stops the run.
 */
import type { EventColumns } from '../batch.ts';
import type { Records } from '../consume/records.ts';
import { textIdentity } from './identity.ts';
import type { Contract } from './model.ts';
import type { Slots } from './slots.ts';

/** A record's key is not what the shards rest on. */
export class RecordKeyError extends Error {
  /** Index of the record in its batch. */
  readonly record: number;
  constructor(record: number, message: string) {
    super(message);
    this.name = 'RecordKeyError';
    this.record = record;
  }
}

const UUID_BYTES = 36,
  UPPER_A = 65,
  UPPER_F = 70,
  DASH = 45;

/** Whether each event's record key is its id. */
export class KeyIsId {
  private readonly hashKey: readonly [number, number];
  private readonly words = new Uint32Array(4);

  constructor(hashKey: readonly [number, number]) {
    this.hashKey = hashKey;
  }

  /** Events from `first` on. */
  check(events: EventColumns, first: number, records: Records): void {
    const { words } = this,
      { id, record } = events,
      [k0, k1] = this.hashKey;
    const view = new DataView(records.bytes.buffer, records.bytes.byteOffset, records.bytes.byteLength);
    for (let i = first; i < events.count; i++) {
      const r = record[i]!,
        start = records.keyStart[r]!,
        end = records.keyEnd[r]!;
      if (start < 0) throw new RecordKeyError(r, 'the record has no key');
      textIdentity(view, start, end, k0 | 0, k1 | 0, words);
      const same = words[0] === id[4 * i] && words[1] === id[4 * i + 1] && words[2] === id[4 * i + 2] && words[3] === id[4 * i + 3];
      if (!same || isUpperUuid(records.bytes, start, end))
        throw new RecordKeyError(r, `the record's key is "${keyText(records.bytes, start, end)}", not its id`);
    }
  }
}

/** Whether each record's key is the text of the field that the job names; asked by the gate, while the record's slots still stand. */
export class KeyIsField {
  private readonly field: string;
  private readonly at: number;
  private readonly isText: boolean;
  private readonly slots: Slots;

  constructor(contract: Contract, field: string, slots: Slots) {
    this.field = field;
    this.at = contract.fields.findIndex((f) => f.name === field);
    this.isText = contract.fields[this.at]!.type === 'string';
    this.slots = slots;
  }

  check(records: Records, record: number, bytes: Uint8Array): void {
    const start = records.keyStart[record]!,
      end = records.keyEnd[record]!;
    if (start < 0) throw new RecordKeyError(record, 'the record has no key');
    if (this.isText ? !this.isSameText(records.bytes, start, end, bytes) : keyText(records.bytes, start, end) !== this.integer())
      throw new RecordKeyError(record, `the record's key is "${keyText(records.bytes, start, end)}", not its ${this.field}`);
  }

  private isSameText(key: Uint8Array, start: number, end: number, bytes: Uint8Array): boolean {
    const from = this.slots.start[this.at]!,
      length = this.slots.end[this.at]! - from;
    if (end - start !== length) return false;
    const isUuid = length === UUID_BYTES && bytes[from + 8] === DASH;
    for (let i = 0; i < length; i++) {
      const byte = bytes[from + i]!;
      // A UUID is one identity in any case, and its key is in lower case.
      if (key[start + i] !== (isUuid && byte >= UPPER_A && byte <= UPPER_F ? byte + 32 : byte)) return false;
    }
    return true;
  }

  private integer(): string {
    const lo = this.slots.lo[this.at]!,
      hi = this.slots.hi[this.at]!;
    return String((BigInt(hi) << 32n) + BigInt(lo));
  }
}

function isUpperUuid(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== UUID_BYTES || bytes[start + 8] !== DASH) return false;
  for (let p = start; p < end; p++) if (bytes[p]! >= UPPER_A && bytes[p]! <= UPPER_F) return true;
  return false;
}

/** The key as a person reads it, cut. */
export function keyText(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, Math.min(80, end - start)).toString();
}
