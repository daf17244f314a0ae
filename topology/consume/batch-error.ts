/**
 * A record batch that cannot be read, and why: its checksum does not fit (crc), it contradicts itself (malformed), it needs
 * what is not spoken (unsupported), it would inflate beyond the bound (too-large). Knows its offset; who reads knows where.
 */
export type BatchErrorKind = 'crc' | 'malformed' | 'unsupported' | 'too-large';

export class BatchError extends Error {
  readonly kind: BatchErrorKind;
  /** The batch's base offset as its header has it; NaN when the thrower does not know it. */
  offset: number;
  constructor(kind: BatchErrorKind, message: string, offset: number = Number.NaN, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'BatchError';
    this.kind = kind;
    this.offset = offset;
  }
}
