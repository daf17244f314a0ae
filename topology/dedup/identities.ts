/**
 * The exact identities, hour by hour: in memory what is new or asked, in the store all. Answers whether an identity stands in one
 * given hour; writes what came since the last commit; makes parts of hours that have gone cold; lets go of memory over its bound.
 * Memory is let go only after a commit, so what is not in memory is in the store.
 */
import type { Store, StoreBatch } from '../../state/store.ts';
import { FRESH } from '../batch.ts';
import { IN_PARTS } from './directory.ts';
import { CompactionJob, DealTable, partOf } from './compaction.ts';
import type { EntrySource } from './compaction.ts';
import { Arrivals, compareAt } from './arrivals.ts';
import { Entries, ENTRY_BYTES, ENTRY_WORDS, scan } from './entries.ts';
import { Hour } from './hour.ts';
import type { IdentityHash } from './identity-hash.ts';
import { encodeEntries, encodeManifest, encodeTotal, entryWords, identityKey, MANIFEST, PART, SEGMENT, TOTAL_KEY } from './layout.ts';

export interface Tuning {
  /** Entries of a part, on average: a part is what one cold question reads. */
  readonly partEntries: number;
  /** The same of a segment, at most. */
  readonly segmentEntries: number;
  /** An hour's memory grows, and is let go, by 2 to this power entries. */
  readonly chunkBits: number;
  /** An hour is cold when it lies that many hours behind the newest. */
  readonly coldAfterHours: number;
  /** Parts that a commit writes at most; under memory pressure as much again as it writes new entries. */
  readonly compactBytes: number;
  /** Segments that hold as many on average stay as they are: a question reads one of them, as it would read a part. */
  readonly segmentFill: number;
  /** Smaller ones that a cold hour may have before it is compacted; and one that has parts, before it is compacted again. */
  readonly segmentsMax: number;
  readonly segmentsBesideParts: number;
}
export const TUNING: Tuning = {
  partEntries: 1024,
  segmentEntries: 1024,
  chunkBits: 16,
  coldAfterHours: 3,
  compactBytes: 4 << 20,
  segmentFill: 512,
  segmentsMax: 16,
  segmentsBesideParts: 256,
};

/** An hour that was not used for that many events may give way to one that is asked. */
const IDLE_EVENTS = 1 << 20;
/** Values that one read of the store takes at once: some MB. */
const PAGE = 64;

export class Identities {
  readonly hours = new Map<number, Hour>();
  readonly counters = { pointReads: 0, hourLoads: 0, evictions: 0, compactions: 0 };
  /** Set while somebody goes through all of them who needs them to keep their places. */
  keepsPlaces = false;
  /** Memory of all hours as of the last commit, and what was loaded since. */
  bytes = 0;
  readonly #store: Store;
  readonly #hash: IdentityHash;
  readonly #bytesMax: number;
  readonly #tuning: Tuning;
  #dirty: Hour[] = [];
  #doomed: Hour[] = [];
  #debris: Uint8Array[] = [];
  #job: CompactionJob | null = null;
  readonly #spare: Uint32Array[] = [];
  readonly #table = new DealTable();
  /** Events so far, and when an eviction for room was last tried. */
  #clock = 0;
  #triedAt = -Infinity;
  #roomDue = false;
  /** Counts commits. While one is being made, nothing is let go: what it writes can't be read back yet. */
  #writes = 0;
  #writing = false;

  constructor(store: Store, hash: IdentityHash, bytesMax: number, tuning: Tuning) {
    this.#store = store;
    this.#hash = hash;
    this.#bytesMax = bytesMax;
    this.#tuning = tuning;
  }

  create(hour: number): Hour {
    const made = new Hour(hour, new Arrivals(0, this.#tuning.chunkBits, this.#spare));
    this.hours.set(hour, made);
    return made;
  }

  /** Gives the place where it stands now. */
  append(hour: Hour, id: Uint32Array, p: number, fingerprint: number): number {
    hour.usedAt = this.#clock;
    if (!hour.dirty) {
      hour.dirty = true;
      this.#dirty.push(hour);
    }
    return hour.raw.append(id, p, fingerprint);
  }

  /** Asks an hour whether the identity that stands at `place` there is this one; FRESH: it is not. `a`, `b`: its lanes. */
  find(hour: Hour, place: number, id: Uint32Array, p: number, fingerprint: number, a: number, b: number): number {
    hour.usedAt = this.#clock;
    if (place !== IN_PARTS && place >= hour.rawFrom) {
      if (place >= hour.raw.first) return hour.raw.compare(place, id, p, fingerprint);
      hour.rawAsks++;
      const isWorthIt = hour.rawAsks > Math.max(2, hour.segPlaces.length / 2) && this.#roomFor(hour, hour.rawCount() * ENTRY_BYTES);
      if (!isWorthIt) return this.#askSegment(hour, place, id, p, fingerprint);
      this.#loadRaw(hour);
      return hour.raw.compare(place, id, p, fingerprint);
    }
    if (hour.parts === 0) return FRESH;
    if (hour.packed === null) {
      hour.asks++;
      if (hour.asks <= Math.max(2, hour.parts / 2) || !this.#roomFor(hour, hour.packedBytes()))
        return this.#askPart(hour, id, p, fingerprint, b);
      this.#loadPacked(hour);
    }
    return hour.packed!.find(id, p, fingerprint, a, this.#hash);
  }

  forget(hour: Hour): void {
    this.hours.delete(hour.hour);
    hour.gone = true;
    while (hour.raw.drop(Infinity));
    hour.packed = null;
    this.#doomed.push(hour);
  }

  /** Raw entries of an hour from a place on: some, `most` at most. */
  piece(hour: Hour, place: number, most: number): Uint32Array {
    if (place >= hour.raw.first) return hour.raw.piece(place, most);
    const segment = segmentOf(hour, place),
      from = place - hour.segPlaces[segment]!,
      to = Math.min(from + most, hour.raw.first - hour.segPlaces[segment]!);
    return this.#segment(hour, segment).subarray(from * ENTRY_WORDS, to * ENTRY_WORDS);
  }

  part(hour: Hour, part: number): Uint32Array {
    const value = this.#store.get(identityKey(hour.hour, PART, hour.gen, part));
    if (value === undefined) throw new Error(`part ${part} of hour ${hour.hour} is not in the store`);
    return entryWords(value);
  }

  /** Keys that stand in the store and mean nothing any more; they go with the next commit. */
  discard(key: Uint8Array): void {
    this.#debris.push(key);
  }

  /** To be called before a slice: lets go of memory once a commit has made that safe. */
  makeRoom(events: number): void {
    this.#clock += events;
    if (!this.#roomDue) return;
    this.#roomDue = false;
    this.bytes = 0;
    for (const hour of this.hours.values()) this.bytes += hour.bytes();
    if (this.bytes > this.#bytesMax) this.#evict(this.#bytesMax * 0.875, null, Infinity);
  }

  total(): number {
    let n = 0;
    for (const hour of this.hours.values()) n += hour.identities();
    return n;
  }

  /** Everything that this commit changes. Hours before `coldBefore` may be compacted. */
  write(batch: StoreBatch, coldBefore: number): void {
    this.#writes++;
    this.#writing = true;
    for (const key of this.#debris) batch.del(key);
    this.#debris = [];
    for (const hour of this.#doomed) this.#erase(batch, hour);
    const changed = this.#dirty.length + this.#doomed.length > 0;
    this.#doomed = [];
    let bytes = 0;
    for (const hour of this.#dirty) if (!hour.gone) bytes += this.#writeRaw(batch, hour);
    this.#dirty = [];
    if (!this.keepsPlaces)
      this.#compact(batch, coldBefore, this.#tuning.compactBytes + (this.bytes + bytes > this.#bytesMax * 0.75 ? bytes : 0));
    if (changed) batch.put(TOTAL_KEY, encodeTotal(this.total()));
    this.#writing = false;
    this.#roomDue = true;
  }

  #writeRaw(batch: StoreBatch, hour: Hour): number {
    const { segmentEntries } = this.#tuning,
      first = hour.written;
    hour.raw.each(first, (words, count, place) => {
      for (let from = 0; from < count; from += segmentEntries) {
        const to = Math.min(count, from + segmentEntries);
        batch.put(identityKey(hour.hour, SEGMENT, hour.segNext++), encodeEntries(words, from, to));
        hour.segPlaces.push(place + from);
      }
    });
    hour.written = hour.raw.end;
    hour.dirty = false;
    return (hour.written - first) * ENTRY_BYTES;
  }

  #erase(batch: StoreBatch, hour: Hour): void {
    for (let seq = hour.segFirst; seq < hour.segNext; seq++) batch.del(identityKey(hour.hour, SEGMENT, seq));
    if (hour.parts > 0) batch.del(identityKey(hour.hour, MANIFEST));
    for (let i = 0; i < hour.parts; i++) batch.del(identityKey(hour.hour, PART, hour.gen, i));
    if (this.#job?.hour !== hour.hour) return;
    for (let i = 0; i < this.#job.next; i++) batch.del(identityKey(hour.hour, PART, this.#job.gen, i));
    this.#job = null;
  }

  #compact(batch: StoreBatch, coldBefore: number, bytesMax: number): void {
    for (let left = bytesMax; left > 0;) {
      if (this.#job === null) {
        const hour = this.#coldest(coldBefore);
        if (hour === null) return;
        this.#job = this.#begin(hour);
      }
      left -= this.#job.step(batch, left);
      if (this.#job.done()) this.#end(batch, this.#job);
    }
  }

  /** The oldest cold hour that stands in too many small segments. */
  #coldest(coldBefore: number): Hour | null {
    const { segmentFill, segmentsMax, segmentsBesideParts } = this.#tuning;
    let found: Hour | null = null;
    for (const hour of this.hours.values()) {
      if (hour.hour >= coldBefore || hour.compactedAt === this.#writes || (found !== null && found.hour < hour.hour)) continue;
      const most = hour.parts === 0 ? segmentsMax : segmentsBesideParts,
        beyond = hour.segNext - hour.segFirst - most;
      if (beyond > 0 && hour.rawCount() < beyond * segmentFill) found = hour;
    }
    return found;
  }

  #begin(hour: Hour): CompactionJob {
    const sources: EntrySource[] = [];
    const visit = (words: Uint32Array, count: number): void => void sources.push({ words, count });
    // All raw entries are in segments by now, some only in this very batch: those are in memory.
    this.#eachRaw(hour, visit);
    if (hour.packed !== null) visit(hour.packed.words, hour.packed.count);
    else this.#eachPart(hour, visit);
    return new CompactionJob(
      hour.hour,
      hour.gen + 1,
      hour.segNext,
      hour.raw.end,
      sources,
      this.#tuning.partEntries,
      this.#hash,
      this.#table,
    );
  }

  #end(batch: StoreBatch, job: CompactionJob): void {
    const hour = this.hours.get(job.hour)!;
    for (let seq = hour.segFirst; seq < job.segEnd; seq++) batch.del(identityKey(hour.hour, SEGMENT, seq));
    for (let i = 0; i < hour.parts; i++) batch.del(identityKey(hour.hour, PART, hour.gen, i));
    batch.put(
      identityKey(hour.hour, MANIFEST),
      encodeManifest({ gen: job.gen, parts: job.parts, entries: job.entries, check: this.#hash.check() }),
    );
    hour.rawFrom = job.rawEnd;
    while (hour.raw.drop(hour.rawFrom));
    hour.segPlaces = hour.segPlaces.slice(job.segEnd - hour.segFirst);
    hour.segFirst = job.segEnd;
    hour.gen = job.gen;
    hour.parts = job.parts;
    hour.packedCount = job.entries;
    hour.packed = null;
    hour.asks = 0;
    hour.compactedAt = this.#writes;
    this.counters.compactions++;
    this.#job = null;
  }

  #loadRaw(hour: Hour): void {
    this.#admitLoad(hour, hour.rawCount() * ENTRY_BYTES - hour.raw.bytes);
    const whole = new Arrivals(hour.rawFrom, this.#tuning.chunkBits, this.#spare);
    this.#eachRaw(hour, (words, count) => {
      for (let at = 0; at < count * ENTRY_WORDS; at += ENTRY_WORDS) whole.append(words, at, words[at + 4]!);
    });
    hour.raw = whole;
    hour.rawAsks = 0;
  }

  #loadPacked(hour: Hour): void {
    this.#admitLoad(hour, hour.packedBytes());
    const packed = new Entries(hour.packedCount);
    this.#eachPart(hour, (words, count) => {
      packed.words.set(words, packed.count * ENTRY_WORDS);
      packed.count += count;
    });
    if (packed.count !== hour.packedCount)
      throw new Error(`hour ${hour.hour} has ${packed.count} identities in its parts, not ${hour.packedCount}`);
    hour.packed = packed;
    hour.asks = 0;
  }

  #admitLoad(hour: Hour, bytes: number): void {
    this.counters.hourLoads++;
    this.bytes += bytes;
    if (this.bytes > this.#bytesMax && !this.#writing) this.#evict(this.#bytesMax, hour, Infinity);
  }

  /** An hour is worth loading as a whole only in place of what nobody asks: else hours would push each other out by turns. */
  #roomFor(hour: Hour, need: number): boolean {
    if (need > this.#bytesMax / 2) return false;
    if (this.bytes + need > this.#bytesMax && this.#clock >= this.#triedAt + IDLE_EVENTS / 16) {
      this.#triedAt = this.#clock;
      this.#evict(this.#bytesMax * 0.875 - need, hour, this.#clock - IDLE_EVENTS);
    }
    return this.bytes + need <= this.#bytesMax;
  }

  /** Raw entries in their order, wherever they are. */
  #eachRaw(hour: Hour, visit: (words: Uint32Array, count: number, place: number) => void): void {
    const to = hour.raw.first;
    let place = hour.rawFrom;
    for (let seq = hour.segFirst; place < to;) {
      const rows = this.#store.range(identityKey(hour.hour, SEGMENT, seq), identityKey(hour.hour, SEGMENT, hour.segNext), PAGE);
      if (rows.length === 0) throw new Error(`segment ${seq} of hour ${hour.hour} is not in the store`);
      for (const [, value] of rows) {
        if (hour.segPlaces[seq++ - hour.segFirst] !== place) throw new Error(`a segment of hour ${hour.hour} does not begin at ${place}`);
        const words = entryWords(value),
          // What has come into memory again, or never left it, is not shown twice.
          count = Math.min(words.length / ENTRY_WORDS, to - place);
        visit(words, count, place);
        place += count;
        if (place === to) break;
      }
    }
    hour.raw.each(hour.rawFrom, visit);
  }

  #eachPart(hour: Hour, visit: (words: Uint32Array, count: number) => void): void {
    for (let part = 0; part < hour.parts;) {
      const rows = this.#store.range(
        identityKey(hour.hour, PART, hour.gen, part),
        identityKey(hour.hour, PART, hour.gen, hour.parts),
        PAGE,
      );
      if (rows.length === 0) throw new Error(`part ${part} of hour ${hour.hour} is not in the store`);
      for (const [, value] of rows) visitValue(value, visit);
      part += rows.length;
    }
  }

  #askSegment(hour: Hour, place: number, id: Uint32Array, p: number, fingerprint: number): number {
    this.counters.pointReads++;
    const segment = segmentOf(hour, place);
    return compareAt(this.#segment(hour, segment), place - hour.segPlaces[segment]!, id, p, fingerprint);
  }

  #segment(hour: Hour, n: number): Uint32Array {
    const value = this.#store.get(identityKey(hour.hour, SEGMENT, hour.segFirst + n));
    if (value === undefined) throw new Error(`segment ${hour.segFirst + n} of hour ${hour.hour} is not in the store`);
    return entryWords(value);
  }

  #askPart(hour: Hour, id: Uint32Array, p: number, fingerprint: number, b: number): number {
    this.counters.pointReads++;
    const words = this.part(hour, partOf(b, hour.parts));
    return scan(words, words.length / ENTRY_WORDS, id, p, fingerprint);
  }

  /** The least recently used first, of those last used before `usedBefore`; never what is not in the store yet. */
  #evict(target: number, keep: Hour | null, usedBefore: number): void {
    const held = [...this.hours.values()].filter((h) => h !== keep && h.bytes() > 0);
    held.sort((x, y) => x.usedAt - y.usedAt);
    for (const hour of held) {
      if (this.bytes <= target || hour.usedAt >= usedBefore) return;
      const before = hour.bytes();
      hour.packed = null;
      hour.asks = 0;
      while (this.bytes - (before - hour.bytes()) > target && hour.raw.drop(hour.written));
      this.bytes -= before - hour.bytes();
      this.counters.evictions++;
    }
  }
}

function visitValue(value: Uint8Array, visit: (words: Uint32Array, count: number) => void): void {
  const words = entryWords(value);
  visit(words, words.length / ENTRY_WORDS);
}

/** The last segment that begins at or before a place, counted from the hour's first. */
function segmentOf({ segPlaces }: Hour, place: number): number {
  let n = 0;
  for (let end = segPlaces.length; end - n > 1;) {
    const middle = (n + end) >>> 1;
    if (segPlaces[middle]! <= place) n = middle;
    else end = middle;
  }
  return n;
}
