/**
 * Which shard a record belongs to: Kafka's own hash of the text of its field, whatever the shards' keys are, so that anybody can say it
 * again. A UUID is one value in any letter case. What the contract turns away has no field to rest on: it belongs to shard p mod S of its
 * source partition p. Asked by the gate, while the record's slots still stand.
 */
import { uuidWords } from '../contract/identity.ts';
import type { Contract } from '../contract/model.ts';
import type { Slots } from '../contract/slots.ts';
import { murmur2 } from '../murmur2.ts';

const UUID_BYTES = 36,
  UPPER_A = 65,
  UPPER_F = 70;

export const shardOfRejected = (partition: number, shards: number): number => partition % shards;

export class Router {
  /** By event, in the order of the gate's columns. */
  readonly shardOf: Int32Array;
  private readonly shards: number;
  private readonly at: number;
  private readonly isText: boolean;
  private readonly slots: Slots;
  private readonly words = new Uint32Array(4);
  private readonly lower = new Uint8Array(UUID_BYTES);

  constructor(contract: Contract, route: { readonly field: string; readonly shards: number }, slots: Slots, capacity: number) {
    this.shardOf = new Int32Array(capacity);
    this.shards = route.shards;
    this.at = contract.fields.findIndex((f) => f.name === route.field);
    this.isText = contract.fields[this.at]!.type === 'string';
    this.slots = slots;
  }

  route(event: number, bytes: Uint8Array, view: DataView): void {
    this.shardOf[event] = (this.hash(bytes, view) & 0x7fffffff) % this.shards;
  }

  private hash(bytes: Uint8Array, view: DataView): number {
    const { at, slots, lower } = this;
    if (!this.isText) {
      const hi = slots.hi[at]!,
        lo = slots.lo[at]!,
        value = hi * 4294967296 + lo;
      return murmur2(Buffer.from(String(Number.isSafeInteger(value) ? value : (BigInt(hi) << 32n) + BigInt(lo))));
    }
    const start = slots.start[at]!,
      end = slots.end[at]!;
    if (end - start !== UUID_BYTES || !uuidWords(view, start, this.words)) return murmur2(bytes, start, end);
    for (let i = 0; i < UUID_BYTES; i++) {
      const byte = bytes[start + i]!;
      lower[i] = byte >= UPPER_A && byte <= UPPER_F ? byte + 32 : byte;
    }
    return murmur2(lower, 0, UUID_BYTES);
  }
}
