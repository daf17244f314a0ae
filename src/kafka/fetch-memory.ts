/**
 * The bytes that fetched records may take, over all partitions. An answer's buffer is counted from the moment it is made until the last
 * record set in it has been read; large buffers are used again. A partition of which nothing is buffered may always be asked for a
 * little, or a full memory could wait for ever for the one partition that is due: that part is set aside from the start.
 */
import type { AnswerBuffers } from './connection.ts';

export interface MemoryBounds {
  /** Of everything, but for batches that are larger than what was asked for. */
  readonly totalBytes: number;
  /** Of an answer. */
  readonly answerBytes: number;
  /** Of one partition in an answer. */
  readonly partitionBytes: number;
  /** Of an answer for partitions that have nothing, when memory is full. */
  readonly starvedBytes: number;
}

/** More gains nothing, measured. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024,
  PARTITION_BYTES_MAX = 2 * 1024 * 1024,
  STARVED_BYTES_MAX = 256 * 1024,
  BYTES_MIN = 16 * 1024;
/** Headers and aborted transactions around the records of an answer. */
const ENVELOPE_BYTES = 64 * 1024;
const POOLED_MAX = 8;

export function boundsFor(totalBytes: number, partitions: number): MemoryBounds {
  const share = totalBytes / (4 * Math.max(1, partitions));
  return {
    totalBytes,
    answerBytes: Math.floor(Math.max(BYTES_MIN, Math.min(ANSWER_BYTES_MAX, totalBytes / 8))),
    partitionBytes: Math.floor(Math.max(BYTES_MIN, Math.min(PARTITION_BYTES_MAX, share))),
    starvedBytes: Math.floor(Math.max(BYTES_MIN, Math.min(STARVED_BYTES_MAX, share))),
  };
}

/** An answer's buffer, and how many record sets in it are not read yet. */
export class Chunk {
  readonly bytes: Buffer;
  readers = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

export class FetchMemory implements AnswerBuffers {
  bounds: MemoryBounds;
  /** In buffers that are not given back, and in answers that are on the way. */
  heldBytes = 0;
  reservedBytes = 0;
  readonly #pool: Buffer[] = [];
  readonly #onRoom: () => void;
  #partitions: number;

  constructor(totalBytes: number, onRoom: () => void) {
    this.#partitions = 0;
    this.bounds = boundsFor(totalBytes, 0);
    this.#onRoom = onRoom;
  }

  resize(partitions: number): void {
    this.#partitions = partitions;
    this.bounds = boundsFor(this.bounds.totalBytes, partitions);
  }

  /** Is there room for a full answer beside what is set aside for the starved? */
  hasRoom(): boolean {
    const { totalBytes, answerBytes, starvedBytes } = this.bounds,
      aside = Math.min(totalBytes / 2, starvedBytes * this.#partitions);
    return this.heldBytes + this.reservedBytes + answerBytes <= totalBytes - aside;
  }

  take(bytes: number): Buffer {
    const pooled = this.bounds.answerBytes + ENVELOPE_BYTES;
    const fits = bytes <= pooled && bytes > pooled / 2;
    const buffer = fits ? (this.#fromPool(pooled) ?? Buffer.allocUnsafeSlow(pooled)) : Buffer.allocUnsafeSlow(bytes);
    this.heldBytes += buffer.length;
    return buffer;
  }

  give(buffer: Buffer): void {
    this.heldBytes -= buffer.length;
    if (buffer.length === this.bounds.answerBytes + ENVELOPE_BYTES && this.#pool.length < POOLED_MAX) this.#pool.push(buffer);
    this.#onRoom();
  }

  release(chunk: Chunk): void {
    if (--chunk.readers === 0) this.give(chunk.bytes);
  }

  #fromPool(bytes: number): Buffer | undefined {
    for (let found = this.#pool.pop(); found !== undefined; found = this.#pool.pop()) if (found.length === bytes) return found;
    return undefined;
  }
}
