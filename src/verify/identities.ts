/**
 * Who was seen in one shard: each id with the contents that its records without a quarantine row carry, and where each content
 * was first met. In go all records that are past contract, fence and horizon; out come the contents that count, once each, and
 * at the end what cannot have happened: a conflict with nothing, or two contents of one id that both counted.
 * An id and a content is one row of columns; a record that is possible as soon as it is met is not kept.
 */
import { DIGEST_WORDS, hashOf, idDigest, newDigest, textDigest } from './digest.ts';
import type { Digest } from './digest.ts';
import { HashIndex, withRoom } from './hash-index.ts';
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

const HOUR = 3_600_000;
export const hourEnd = (time: number): number => (Math.floor(time / HOUR) + 1) * HOUR;
export const say = ({ at, offset }: Place): string => `${at.topic}/${at.partition}@${offset}`;

export class Identities {
  /** Highest accepted time of the shard. */
  highest = -1;
  private readonly horizonMs: number;
  private readonly index = new HashIndex();
  private ids = new Uint32Array(1024);
  private contents = new Uint32Array(1024);
  private times = new Float64Array(256);
  private offsets = new Float64Array(256);
  /** Which of `partitions`. */
  private places = new Int32Array(256);
  /** 1: it stands in another partition too, so that any order between them is possible. */
  private spread = new Uint8Array(256);
  private readonly partitions: Partition[] = [];
  private readonly conflicts: { id: string; content: string; place: Place }[] = [];
  private readonly expired: { time: number; place: Place }[] = [];
  private readonly twice = new Set<string>();
  private readonly id = newDigest();
  private readonly content = newDigest();

  constructor(horizonMs: number) {
    this.horizonMs = horizonMs;
  }

  accept(time: number): void {
    if (time > this.highest) this.highest = time;
  }

  /** A record without a row. True when this content of this id is met for the first time, so that it counts. */
  counts(id: string, content: string, time: number, at: Partition, offset: number): boolean {
    const place = this.placeOf(at);
    idDigest(id, this.id);
    textDigest(content, this.content);
    let hasOther = false;
    for (let row = this.firstOf(); row >= 0; row = this.nextOf()) {
      if (!isAt(this.contents, row, this.content)) {
        hasOther = true;
        continue;
      }
      if (this.places[row] !== place) this.spread[row] = 1;
      return false;
    }
    const row = this.index.add(),
      n = row + 1;
    this.ids = withRoom(this.ids, n * DIGEST_WORDS);
    this.contents = withRoom(this.contents, n * DIGEST_WORDS);
    this.times = withRoom(this.times, n);
    this.offsets = withRoom(this.offsets, n);
    this.places = withRoom(this.places, n);
    this.spread = withRoom(this.spread, n);
    this.ids.set(this.id, row * DIGEST_WORDS);
    this.contents.set(this.content, row * DIGEST_WORDS);
    this.times[row] = time;
    this.offsets[row] = offset;
    this.places[row] = place;
    if (hasOther) this.twice.add(id);
    return true;
  }

  /** A conflict with what was met before it, or in another partition, is possible; of any other only the end can say. */
  conflict(id: string, content: string, place: Place): void {
    if (!this.hasRival(id, content, place)) this.conflicts.push({ id, content, place });
  }

  /** The boundary only rises: what lies before it now will do so at the end. */
  expire(time: number, place: Place): void {
    if (hourEnd(time) > this.highest - this.horizonMs) this.expired.push({ time, place });
  }

  /** What the shard's highest time and the records without rows make impossible. */
  check(differences: Differences): void {
    const boundary = this.highest - this.horizonMs;
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
    for (const { id, content, place } of this.conflicts) {
      if (this.hasRival(id, content, place)) continue;
      differences.add(
        'conflict',
        say(place),
        'a record of the same id with other content that was counted before it',
        'ID_CONFLICT, although there is none',
        { key: `id ${id}` },
      );
    }
    for (const id of this.twice) this.checkTwice(id, boundary, differences);
  }

  private placeOf(at: Partition): number {
    // Partitions are walked one after the other.
    const found = this.partitions.lastIndexOf(at);
    return found >= 0 ? found : this.partitions.push(at) - 1;
  }

  /** The rows of the id in `this.id`, one after the other. */
  private firstOf(): number {
    const row = this.index.first(hashOf(this.id));
    return row < 0 || isAt(this.ids, row, this.id) ? row : this.nextOf();
  }
  private nextOf(): number {
    let row = this.index.next();
    while (row >= 0 && !isAt(this.ids, row, this.id)) row = this.index.next();
    return row;
  }

  /** Whether the id has another content that may have been counted before this place. */
  private hasRival(id: string, content: string, { at, offset }: Place): boolean {
    const place = this.placeOf(at);
    idDigest(id, this.id);
    textDigest(content, this.content);
    for (let row = this.firstOf(); row >= 0; row = this.nextOf()) {
      if (isAt(this.contents, row, this.content)) continue;
      if (this.spread[row] === 1 || this.places[row] !== place || this.offsets[row]! < offset) return true;
    }
    return false;
  }

  private checkTwice(id: string, boundary: number, differences: Differences): void {
    let remembered = 0,
      last = -1;
    idDigest(id, this.id);
    for (let row = this.firstOf(); row >= 0; row = this.nextOf()) {
      if (hourEnd(this.times[row]!) <= boundary) continue;
      remembered++;
      last = row;
    }
    if (remembered > 1) {
      differences.add(
        'conflict',
        say({ at: this.partitions[this.places[last]!]!, offset: this.offsets[last]! }),
        'ID_CONFLICT for all contents of the id but one',
        `${remembered} contents without a quarantine row`,
        { key: `id ${id}` },
      );
    }
  }
}

function isAt(column: Uint32Array, row: number, digest: Digest): boolean {
  const at = row * DIGEST_WORDS;
  return column[at] === digest[0] && column[at + 1] === digest[1] && column[at + 2] === digest[2] && column[at + 3] === digest[3];
}
