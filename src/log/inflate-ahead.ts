/**
 * Batches of a shard a few ahead of it: each is copied out of its reader, its checksum asked, and its LZ4 block inflated on a thread of
 * the pool, while the shard works on the ones before. The order is the source's own; a fault of the source comes when all before
 * it have been taken. Whatever is not one plain block, is damaged or large, is left to the decoder, which says what is wrong with it.
 */
import { uncompress } from 'lz4-napi';
import { ATTRIBUTES_AT, COMPRESSION_MASK, CRC_AT, HEADER_BYTES, LZ4, uint32At } from '../../topology/consume/batch-header.ts';
import type { Codecs } from '../../topology/consume/cursor.ts';
import { codecs } from './codecs.ts';
import type { InStep, Step } from './in-step.ts';
import { plainBlock } from './lz4-frame.ts';

const AHEAD = 4;
/** A larger batch is used where the reader has it, when all before it are done. */
const COPY_BYTES_MAX = 2 * 1024 * 1024;

export interface Batch {
  index: number;
  topic: string;
  partition: number;
  baseOffset: number;
  lastOffset: number;
  bytes: Uint8Array;
}
interface Slot extends Batch {
  buffer: Buffer;
  crc: number;
  inflated: Uint8Array | undefined;
  inflating: Promise<void> | undefined;
}

export class InflateAhead {
  readonly #source: InStep;
  readonly #codecs: AheadCodecs;
  readonly #queue: Slot[] = [];
  readonly #spare: Slot[] = [];
  #taken: Slot | undefined;
  /** A batch that the source still shows. */
  #direct: Step | undefined;
  #fault: { readonly error: unknown } | undefined;

  /** The codecs are those that the shard decodes with. */
  constructor(source: InStep, aheadCodecs: AheadCodecs) {
    this.#source = source;
    this.#codecs = aheadCodecs;
  }

  /** The next batch, valid until `done`; undefined when every partition is at its end now. */
  async next(): Promise<Batch | undefined> {
    this.#fill();
    const slot = this.#queue.shift();
    if (slot === undefined) {
      if (this.#fault !== undefined) throw this.#fault.error;
      return this.#takeDirect();
    }
    if (slot.inflating !== undefined) await slot.inflating;
    this.#taken = slot;
    this.#codecs.crc = slot.crc;
    this.#codecs.inflated = slot.inflated;
    return slot;
  }

  /** The batch that `next` gave has been used. */
  done(): void {
    this.#codecs.clear();
    if (this.#direct !== undefined) {
      this.#source.advance(this.#direct);
      this.#direct = undefined;
    } else if (this.#taken !== undefined) {
      this.#taken.inflated = this.#taken.inflating = undefined;
      this.#spare.push(this.#taken);
      this.#taken = undefined;
    }
  }

  /** Partition by partition: nothing is left to read, and what was read ahead has been taken. */
  caughtUp(): boolean[] {
    const caughtUp = this.#source.caughtUp();
    for (const slot of this.#queue) caughtUp[slot.index] = false;
    return caughtUp;
  }

  async close(): Promise<void> {
    this.#source.close();
    await Promise.all(this.#queue.map((slot) => slot.inflating));
    this.#queue.length = 0;
  }

  #takeDirect(): Batch | undefined {
    const step = this.#source.next();
    if (step === undefined) return undefined;
    this.#direct = step;
    return { index: step.index, topic: step.topic, partition: step.partition, baseOffset: step.batch.baseOffset, lastOffset: step.batch.lastOffset, bytes: step.batch.bytes };
  }

  #fill(): void {
    try {
      while (this.#fault === undefined && this.#queue.length < AHEAD) {
        const step = this.#source.next();
        if (step === undefined) return;
        const { bytes } = step.batch;
        if (bytes.length > COPY_BYTES_MAX) return;
        this.#queue.push(this.#copy(step, bytes));
        this.#source.advance(step);
      }
    } catch (error) {
      this.#fault = { error };
    }
  }

  #copy(step: Step, bytes: Uint8Array): Slot {
    const { index, topic, partition, batch } = step;
    const slot: Slot = this.#spare.pop() ?? { index, topic, partition, baseOffset: 0, lastOffset: 0, bytes, buffer: Buffer.alloc(0), crc: 0, inflated: undefined, inflating: undefined };
    if (slot.buffer.length < bytes.length) slot.buffer = Buffer.allocUnsafeSlow(Math.max(bytes.length, 512 * 1024));
    slot.buffer.set(bytes);
    slot.index = index;
    slot.topic = topic;
    slot.partition = partition;
    slot.baseOffset = batch.baseOffset;
    slot.lastOffset = batch.lastOffset;
    slot.bytes = slot.buffer.subarray(0, bytes.length);
    slot.crc = bytes.length < HEADER_BYTES ? 0 : codecs.crc32c(slot.bytes.subarray(ATTRIBUTES_AT));
    const isLz4 = (bytes[ATTRIBUTES_AT + 1]! & COMPRESSION_MASK) === LZ4 && slot.crc === uint32At(bytes, CRC_AT);
    slot.inflating = isLz4 ? inflate(slot, slot.buffer.subarray(HEADER_BYTES, bytes.length)) : undefined;
    return slot;
  }
}

/** The block reader wants the size that comes out just before the block, where the frame has the size that goes in. */
async function inflate(slot: Slot, frame: Buffer): Promise<void> {
  const block = plainBlock(frame);
  if (block === undefined) return;
  const { at, size, inflatedBytes } = block;
  frame.writeUInt32LE(inflatedBytes, at);
  try {
    const bytes = await uncompress(frame.subarray(at, at + 4 + size));
    if (bytes.length === inflatedBytes) slot.inflated = bytes;
  } catch {
    // The decoder finds the same, and says where.
  } finally {
    frame.writeUInt32LE(size, at);
  }
}

/** The codecs of a shard: what was done ahead is not done again. */
export class AheadCodecs implements Codecs {
  crc = -1;
  inflated: Uint8Array | undefined;

  crc32c(bytes: Uint8Array): number {
    return this.crc >= 0 ? this.crc : codecs.crc32c(bytes);
  }
  inflate(compression: number, bytes: Uint8Array, maxBytes: number): Uint8Array {
    return this.inflated !== undefined && this.inflated.length <= maxBytes ? this.inflated : codecs.inflate(compression, bytes, maxBytes);
  }
  clear(): void {
    this.crc = -1;
    this.inflated = undefined;
  }
}
