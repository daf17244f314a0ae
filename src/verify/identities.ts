/**
 * Who was seen in one shard: each id with the contents that its records without a quarantine row carry, and where each content
 * was first met. In go all records that are past contract, fence and horizon; out come the contents that count, once each, and
 * at the end what cannot have happened: a conflict with nothing, or two contents of one id that both counted.
 */
import type { Differences } from './model.ts';

/** One object a partition, shared by all that was seen there. */
export interface Partition {
  readonly topic: string;
  readonly partition: number;
}
export interface Place {
  readonly at: Partition;
  readonly offset: number;
}
interface Seen {
  readonly content: string;
  readonly time: number;
  readonly at: Partition;
  readonly offset: number;
  /** It stands in another partition too, so that any order between them is possible. */
  spread: boolean;
  next: Seen | null;
}

const HOUR = 3_600_000;
export const hourEnd = (time: number): number => (Math.floor(time / HOUR) + 1) * HOUR;
export const say = ({ at, offset }: Place): string => `${at.topic}/${at.partition}@${offset}`;

export class Identities {
  /** Highest accepted time of the shard. */
  highest = -1;
  private readonly byId = new Map<string, Seen>();
  private readonly conflicts: { id: string; content: string; place: Place }[] = [];
  private readonly expired: { time: number; place: Place }[] = [];
  private readonly twice = new Set<string>();

  accept(time: number): void {
    if (time > this.highest) this.highest = time;
  }

  /** A record without a row. True when this content of this id is met for the first time, so that it counts. */
  counts(id: string, content: string, time: number, at: Partition, offset: number): boolean {
    const first = this.byId.get(id);
    for (let seen: Seen | null = first ?? null; seen !== null; seen = seen.next) {
      if (seen.content !== content) continue;
      if (seen.at !== at) seen.spread = true;
      return false;
    }
    this.byId.set(id, { content, time, at, offset, spread: false, next: first ?? null });
    if (first !== undefined) this.twice.add(id);
    return true;
  }

  conflict(id: string, content: string, place: Place): void {
    this.conflicts.push({ id, content, place });
  }
  expire(time: number, place: Place): void {
    this.expired.push({ time, place });
  }

  /** What the shard's highest time and the records without rows make impossible. */
  check(horizonMs: number, differences: Differences): void {
    const boundary = this.highest - horizonMs;
    for (const { time, place } of this.expired) {
      if (hourEnd(time) > boundary) {
        differences.add(
          'quarantine',
          say(place),
          'an event of a remembered hour to be counted',
          "EXPIRED, although its hour ends after the shard's highest time less the horizon",
        );
      }
    }
    for (const c of this.conflicts) this.checkConflict(c.id, c.content, c.place, differences);
    for (const id of this.twice) this.checkTwice(id, boundary, differences);
  }

  private checkConflict(id: string, content: string, place: Place, differences: Differences): void {
    for (let seen = this.byId.get(id) ?? null; seen !== null; seen = seen.next) {
      if (seen.content !== content && (seen.spread || seen.at !== place.at || seen.offset < place.offset)) return;
    }
    differences.add(
      'conflict',
      say(place),
      'a record of the same id with other content that was counted before it',
      'ID_CONFLICT, although there is none',
      { key: `id ${id}` },
    );
  }

  private checkTwice(id: string, boundary: number, differences: Differences): void {
    let remembered = 0,
      last: Seen | null = null;
    for (let seen = this.byId.get(id) ?? null; seen !== null; seen = seen.next) {
      if (hourEnd(seen.time) <= boundary) continue;
      remembered++;
      last ??= seen;
    }
    if (remembered > 1) {
      differences.add(
        'conflict',
        say(last!),
        'ID_CONFLICT for all contents of the id but one',
        `${remembered} contents without a quarantine row`,
        { key: `id ${id}` },
      );
    }
  }
}
