/**
 * The bytes that fetched records may take, over all partitions. An answer's buffer is counted from the moment it is made until the last
 * record set in it has been read; buffers are used again, for each that is let go brings the collector's next round nearer (a run that made
 * them anew spent an eighth of its CPU in there). A partition of which nothing is buffered may always be asked for a
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
/** Buffers have the size of the largest answer, half of it, a quarter and so on; what is no larger than this is made as it is needed. */
const SMALL_BYTES = 16 * 1024;

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
  /** Buffers to be used again, by how often the largest was halved; with those that are held they keep the bound. */
  readonly #free: Buffer[][] = [];
  #freeBytes = 0;
  readonly #onRoom: () => void;
  #partitions: number;

  constructor(totalBytes: number, onRoom: () => void) {
    this.#partitions = 0;
    this.bounds = boundsFor(totalBytes, 0);
    for (let halvings = 0; this.#sizeOf(halvings) > SMALL_BYTES; halvings++) this.#free.push([]);
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
    const halvings = bytes <= SMALL_BYTES ? -1 : this.#free.findLastIndex((_, n) => bytes <= this.#sizeOf(n)),
      used = this.#free[halvings]?.pop(),
      buffer = used ?? Buffer.allocUnsafeSlow(halvings < 0 ? bytes : this.#sizeOf(halvings));
    this.heldBytes += buffer.length;
    if (used === undefined) this.#keepBound();
    else this.#freeBytes -= used.length;
    return buffer;
  }

  give(buffer: Buffer): void {
    this.heldBytes -= buffer.length;
    const free = this.#free.find((_, halvings) => this.#sizeOf(halvings) === buffer.length);
    if (free !== undefined) {
      free.push(buffer);
      this.#freeBytes += buffer.length;
      this.#keepBound();
    }
    this.#onRoom();
  }

  release(chunk: Chunk): void {
    if (--chunk.readers === 0) this.give(chunk.bytes);
  }

  #sizeOf(halvings: number): number {
    return Math.ceil((this.bounds.answerBytes + ENVELOPE_BYTES) / 2 ** halvings);
  }

  /** What is kept for later goes first, the largest of it at that. */
  #keepBound(): void {
    for (const free of this.#free) {
      while (free.length > 0 && this.heldBytes + this.#freeBytes > this.bounds.totalBytes) this.#freeBytes -= free.pop()!.length;
    }
  }
}
