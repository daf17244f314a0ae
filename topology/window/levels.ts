/**
 * Which segments of a window stand in the store, and what the next one must hold. A commit writes a delta (level 0) of the rows
 * that it touched. After 8 of a level, one segment of the next level takes their place: the rows changed since the last one of
 * that level. So a window has at most 8 segments a level, each row is written again once a level, and no commit ever rewrites
 * a large window for a small change. The top level is the whole window; a window that becomes final is written so.
 *
 * Segments apply in the order of their numbers; a later one only ever replaces what it covers. Rows from `firstNew` on bring
 * their key along: all rows below it stand in the segments that stay.
 */
export const FAN = 8;
export const WHOLE = 7;

interface Part {
  readonly level: number;
  readonly number: number;
}
export interface NextSegment {
  readonly level: number;
  readonly firstNew: number;
  /** Numbers of the segments that it replaces. */
  readonly replaced: readonly number[];
}

export class LevelBook {
  private parts: Part[] = [];
  /** Segments of each level; a segment in several parts is one. */
  private readonly counts = new Int32Array(WHOLE + 1);
  /** Rows that segments of this level and above know. */
  private readonly known = new Float64Array(WHOLE + 1);
  private next = 0;

  get segments(): number {
    return this.parts.length;
  }

  plan(whole: boolean): NextSegment {
    let level = whole ? WHOLE : 0;
    while (level < WHOLE && this.counts[level]! >= FAN) level++;
    const top = level === WHOLE;
    const replaced = this.parts.filter((p) => top || p.level < level).map((p) => p.number);
    return { level, firstNew: top ? 0 : this.known[level]!, replaced };
  }

  /** The planned segment stands, in `parts` parts; the window has `rows` rows. Gives its first number. */
  wrote(planned: NextSegment, parts: number, rows: number): number {
    const top = planned.level === WHOLE,
      first = this.next;
    this.parts = this.parts.filter((p) => !top && p.level >= planned.level);
    this.counts.fill(0, 0, top ? WHOLE + 1 : planned.level);
    for (let k = 0; k < parts; k++) this.found(planned.level, this.next, k === 0, rows);
    return first;
  }

  /** A part read from the store, in the order of numbers; `rows`: those of the window after it. */
  found(level: number, number: number, opens: boolean, rows: number): void {
    this.parts.push({ level, number });
    if (opens) this.counts[level]!++;
    this.known.fill(rows, 0, level + 1);
    this.next = number + 1;
  }
}

/** The upper six bits of a row's state: changed since the last segment of level 1..6. */
export const CHANGED = 0b11111100;
export const changedBit = (level: number): number => 1 << (level + 1);
/** What a segment of this level leaves to be told by those above it. */
export const bitsAbove = (level: number): number => (level >= WHOLE ? 0 : (CHANGED << level) & CHANGED);
