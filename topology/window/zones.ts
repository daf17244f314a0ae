/**
 * Where the windows of a time zone begin and end. `windowOf` says which window holds an instant, as [start, end) in epoch ms; the
 * windows of a zone and size never overlap and leave no gap. The rules come from Intl (the runtime's own tz data).
 *
 * hour: a local clock hour, cut at every change of the zone's offset, so that a repeated local hour is two windows.
 * day: from the first instant of a local date to the first instant of the next one: 23, 24 or 25 h; of a date that the zone
 * skipped there is no window. Windows are cut at 1970-01-01T00:00Z, before which no event is.
 */
export interface Bounds {
  readonly start: number;
  readonly end: number;
}

const HOUR = 3_600_000,
  DAY = 24 * HOUR;
/** Offsets are looked up a block at a time; two changes that undo each other within a step are not seen: there are none since 1970. */
const STEP = 6 * HOUR,
  BLOCK = 32 * DAY;
/** More than any offset from UTC (-12 h to +14 h), so that a local date lies wholly within its UTC day +- this. */
const FARTHEST = 16 * HOUR;
/** Blocks kept of a zone: a horizon of years; then all are dropped and looked up again. */
const BLOCKS_MAX = 512;

interface Block {
  /** Offset at the block's first instant. */
  readonly offset: number;
  readonly changes: readonly { readonly at: number; readonly offset: number }[];
}
/** [from, to) is a stretch of time with one offset. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly offset: number;
}

export class ZoneClock {
  private readonly format: Intl.DateTimeFormat;
  private readonly blocks = new Map<number, Block>();

  constructor(zone: string) {
    this.format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  }

  windowOf(t: number, size: 'hour' | 'day'): Bounds {
    return size === 'hour' ? this.hourOf(t) : this.dayOf(t);
  }

  private hourOf(t: number): Bounds {
    for (const s of this.stretches(t - HOUR, t + HOUR)) {
      if (t < s.from || t >= s.to) continue;
      const local = t + s.offset,
        whole = t - (local - Math.floor(local / HOUR) * HOUR);
      return { start: Math.max(whole, s.from, 0), end: Math.min(whole + HOUR, s.to) };
    }
    throw new Error(`no stretch of the zone holds ${t}`);
  }

  private dayOf(t: number): Bounds {
    const s = this.stretches(t, t + 1).find((x) => t >= x.from && t < x.to)!;
    let date = Math.floor((t + s.offset) / DAY),
      start = this.firstInstant(date),
      end = this.firstInstant(date + 1);
    // Clocks set back just after midnight repeat the end of the date before: that time stays in the date that has begun.
    while (end <= t) {
      start = end;
      end = this.firstInstant(++date + 1);
    }
    return { start: Math.max(start, 0), end };
  }

  /** The first instant at which the local date is `date` (days since 1970) or a later one. */
  private firstInstant(date: number): number {
    const midnight = date * DAY;
    for (const s of this.stretches(midnight - FARTHEST, midnight + FARTHEST)) {
      const at = Math.max(s.from, midnight - s.offset);
      if (at < s.to) return at;
    }
    throw new Error(`date ${date} does not begin`);
  }

  /** Stretches that cover [from, to), in order; the first may begin and the last may end beyond it, never short of their true bounds within it. */
  private stretches(from: number, to: number): Stretch[] {
    const first = Math.floor(from / BLOCK),
      last = Math.floor(to / BLOCK),
      out: Stretch[] = [];
    let begin = first * BLOCK,
      offset = this.block(first).offset;
    for (let b = first; b <= last; b++) {
      for (const change of this.block(b).changes) {
        out.push({ from: begin, to: change.at, offset });
        begin = change.at;
        offset = change.offset;
      }
    }
    out.push({ from: begin, to: Math.max((last + 1) * BLOCK, begin + 1), offset });
    return out;
  }

  private block(index: number): Block {
    const known = this.blocks.get(index);
    if (known !== undefined) return known;
    if (this.blocks.size >= BLOCKS_MAX) this.blocks.clear();
    const changes: { at: number; offset: number }[] = [];
    const offset = this.offsetAt(index * BLOCK);
    let at = index * BLOCK,
      here = offset;
    for (let next = at + STEP; next <= (index + 1) * BLOCK; next += STEP) {
      const there = this.offsetAt(next);
      while (here !== there) {
        at = this.changeBetween(at, next, here);
        here = this.offsetAt(at);
        changes.push({ at, offset: here });
      }
      at = next;
    }
    const block = { offset, changes };
    this.blocks.set(index, block);
    return block;
  }

  /** The first second in (from, to] whose offset is not `offset`. */
  private changeBetween(from: number, to: number, offset: number): number {
    let same = from / 1000,
      other = to / 1000;
    while (other - same > 1) {
      const middle = Math.floor((same + other) / 2);
      if (this.offsetAt(middle * 1000) === offset) same = middle;
      else other = middle;
    }
    return other * 1000;
  }

  private offsetAt(t: number): number {
    let year = 0,
      month = 0,
      day = 0,
      hour = 0,
      minute = 0,
      second = 0;
    for (const { type, value } of this.format.formatToParts(t)) {
      if (type === 'year') year = Number(value);
      else if (type === 'month') month = Number(value);
      else if (type === 'day') day = Number(value);
      else if (type === 'hour') hour = Number(value);
      else if (type === 'minute') minute = Number(value);
      else if (type === 'second') second = Number(value);
    }
    return Date.UTC(year, month - 1, day, hour, minute, second) - t;
  }
}
