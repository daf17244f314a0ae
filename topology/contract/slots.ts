/**
 * Where the fast and the slow path leave the values of one record for `run`, by the field's place in the contract.
 * Text and date: start..end of its bytes (start -1: absent). Else 64-bit integer lo, hi (hi NaN: absent): epoch ms, scaled
 * integer, 0 or 1; a number without scale: the double in lo, hi 0.
 */
export class Slots {
  readonly start: Int32Array;
  readonly end: Int32Array;
  readonly lo: Float64Array;
  readonly hi: Float64Array;
  /** The identity, when `ready[0]` is 1: the scanner read a UUID on its way. */
  readonly words = new Uint32Array(4);
  readonly ready = new Uint8Array(1);

  constructor(fields: number) {
    this.start = new Int32Array(fields);
    this.end = new Int32Array(fields);
    this.lo = new Float64Array(fields);
    this.hi = new Float64Array(fields);
  }
}
