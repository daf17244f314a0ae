/**
 * Windows by the calendar of a zone: the instants between which an event's hour or day lies. A window begins where the zone's
 * clock first shows a new hour (day), so a day of a change of clocks has 23 or 25 hours, and an hour that comes twice is
 * two windows. No window begins before 1970. Asked of Intl alone, once a quarter of an hour.
 */
const HOUR = 3_600_000,
  DAY = 86_400_000,
  QUARTER = HOUR / 4;

export interface Bounds {
  readonly start: number;
  readonly end: number;
}
export type WindowOf = (time: number) => Bounds;

/** What the clock of the zone shows at `time`, as if that were UTC, less the time: its offset. */
function makeOffset(zone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  return (time) => {
    const whole = Math.floor(time / 1000) * 1000,
      part: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(whole)) part[type] = Number(value);
    return Date.UTC(part.year!, part.month! - 1, part.day!, part.hour!, part.minute!, part.second!) - whole;
  };
}

export function windowsOf(zone: string, size: 'hour' | 'day'): WindowOf {
  const length = size === 'hour' ? HOUR : DAY;
  if (zone === 'UTC') {
    return (time) => {
      const start = Math.floor(time / length) * length;
      return { start, end: start + length };
    };
  }
  const offset = makeOffset(zone),
    find = size === 'hour' ? hourOf : dayOf,
    known = new Map<number, Bounds>();
  return (time) => {
    const quarter = Math.floor(time / QUARTER);
    let bounds = known.get(quarter);
    if (bounds === undefined || time < bounds.start || time >= bounds.end) {
      const { start, end } = find(offset, time);
      bounds = { start: Math.max(start, 0), end };
      known.set(quarter, bounds);
    }
    return bounds;
  };
}

type Offset = (time: number) => number;

/** The first instant in (from, to] that has the offset of `to`. Holds one change at most. */
function change(offset: Offset, from: number, to: number): number {
  const last = offset(to);
  let before = from,
    after = to;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offset(middle) === last) after = middle;
    else before = middle;
  }
  return after;
}

/** The clock's whole hour around `time`, cut where the clock is set. */
function hourOf(offset: Offset, time: number): Bounds {
  const here = offset(time),
    start = Math.floor((time + here) / HOUR) * HOUR - here,
    end = start + HOUR;
  return {
    start: offset(start) === here ? start : change(offset, start, time),
    end: offset(end - 1) === here ? end : change(offset, time, end - 1),
  };
}

/** The first instant at which the clock shows day number `day` or a later one: a midnight that is left out begins after it. */
function dayStart(offset: Offset, day: number): number {
  for (let from = day * DAY - 18 * HOUR; ; from += 6 * HOUR) {
    const to = from + 6 * HOUR,
      first = offset(from),
      last = offset(to);
    const cut = first === last ? to : change(offset, from, to);
    const early = Math.max(from, day * DAY - first);
    if (early < cut) return early;
    const late = Math.max(cut, day * DAY - last);
    if (late < to) return late;
  }
}

function dayOf(offset: Offset, time: number): Bounds {
  let day = Math.floor((time + offset(time)) / DAY);
  // A clock set back over midnight shows the day before once more; the new day goes on.
  if (dayStart(offset, day + 1) <= time) day++;
  return { start: dayStart(offset, day), end: dayStart(offset, day + 1) };
}
