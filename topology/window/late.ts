/**
 * What late events have done to a final window since the last commit: for each row that they touched, its values before, the
 * first event's place in the log and how many more came. Made when the first late event comes, gone with the commit.
 */
export class LateTouches {
  /** Rows in the order in which they were touched. */
  readonly rows: number[] = [];
  /** Values before, `stride` doubles a row in the order of `rows`; of a row that is new, none that mean anything. */
  before: Float64Array;
  private readonly place = new Map<number, number>();
  private readonly origin: string[] = [];
  private readonly offset: number[] = [];
  private readonly more: number[] = [];
  private readonly stride: number;

  constructor(stride: number) {
    this.stride = stride;
    this.before = new Float64Array(stride * 16);
  }

  /** Must come before the event is added to `sums`. `origin`: TOPIC/PARTITION. */
  touch(sums: Float64Array, row: number, origin: string, offset: number): void {
    const known = this.place.get(row);
    if (known !== undefined) {
      this.more[known]!++;
      return;
    }
    const k = this.rows.length,
      { stride } = this;
    if ((k + 1) * stride > this.before.length) {
      const wider = new Float64Array(this.before.length * 2);
      wider.set(this.before);
      this.before = wider;
    }
    for (let slot = 0; slot < stride; slot++) this.before[k * stride + slot] = sums[row * stride + slot]!;
    this.place.set(row, k);
    this.rows.push(row);
    this.origin.push(origin);
    this.offset.push(offset);
    this.more.push(0);
  }

  /** Whether the k-th touched row has other values than before. */
  changed(k: number, sums: Float64Array): boolean {
    const { stride, before } = this,
      b = k * stride,
      s = this.rows[k]! * stride;
    for (let slot = 0; slot < stride; slot++) if (!Object.is(before[b + slot], sums[s + slot])) return true;
    return false;
  }

  cause(k: number): string {
    const more = this.more[k]!,
      first = `late ${this.origin[k]}@${this.offset[k]}`;
    return more === 0 ? first : `${first} and ${more} more`;
  }
}
