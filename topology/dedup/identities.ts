/**
 * The exact identities, hour by hour: in memory what is new or asked, in the store all. Answers whether an identity stands in one
 * given hour; writes what came since the last commit; makes parts of hours that have gone cold; lets go of memory over its bound.
 * Memory is let go only after a commit, so what is not in memory is in the store.
 */
import type { Store, StoreBatch } from '../../state/store.ts';
import { FRESH } from '../batch.ts';
import { IN_PARTS } from './directory.ts';
import { CompactionJob, partOf } from './compaction.ts';
import type { EntrySource } from './compaction.ts';
import { Entries, ENTRY_BYTES, ENTRY_WORDS, scan } from './entries.ts';
import { Hour } from './hour.ts';
import type { IdentityHash } from './identity-hash.ts';
import { encodeEntries, encodeManifest, encodeTotal, entryWords, identityKey, MANIFEST, PART, SEGMENT, TOTAL_KEY } from './layout.ts';

export interface Tuning {
  /** Entries of a part, on average: a part is what one cold question reads. */
  readonly partEntries: number;
  readonly segmentEntries: number;
  /** An hour is cold when it lies that many hours behind the newest. */
  readonly coldAfterHours: number;
  /** Parts that a commit writes at most; under memory pressure as much again as it writes new entries. */
  readonly compactBytes: number;
  /** Segments of an hour that has parts, before it is compacted again. */
  readonly segmentsMax: number;
}
export const TUNING: Tuning = { partEntries: 1024, segmentEntries: 8192, coldAfterHours: 3, compactBytes: 4 << 20, segmentsMax: 256 };

/** An hour that was not used for that many events may give way to one that is asked. */
const IDLE_EVENTS = 1 << 20;
/** Values that one read of the store takes at once: 10 MB at most. */
const PAGE = 64;

export class Identities {
  readonly hours = new Map<number, Hour>();
  readonly counters = { pointReads: 0, hourLoads: 0, evictions: 0, compactions: 0 };
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
    const made = new Hour(hour);
    this.hours.set(hour, made);
    return made;
  }

  /** Gives the place where it stands now. */
  append(hour: Hour, id: Uint32Array, p: number, fingerprint: number): number {
    if (hour.raw === null) this.#loadRaw(hour);
    const place = hour.rawFrom + hour.raw!.count;
    hour.raw!.append(id, p, fingerprint);
    hour.usedAt = this.#clock;
    if (!hour.dirty) {
      hour.dirty = true;
      this.#dirty.push(hour);
    }
    return place;
  }

  /** Asks an hour whether the identity that stands at `place` there is this one; FRESH: it is not. `a`, `b`: its lanes. */
  find(hour: Hour, place: number, id: Uint32Array, p: number, fingerprint: number, a: number, b: number): number {
    hour.usedAt = this.#clock;
    if (place !== IN_PARTS && place >= hour.rawFrom) {
      if (hour.raw === null) this.#loadRaw(hour);
      return hour.raw!.compare(place - hour.rawFrom, id, p, fingerprint);
    }
    if (hour.parts === 0) return FRESH;
    if (hour.packed === null) {
      hour.asks++;
      if (hour.asks <= Math.max(2, hour.parts / 2) || !this.#roomFor(hour)) return this.#askPart(hour, id, p, fingerprint, b);
      this.#loadPacked(hour);
    }
    return hour.packed!.find(id, p, fingerprint, a, this.#hash);
  }

  forget(hour: Hour): void {
    this.hours.delete(hour.hour);
    hour.gone = true;
    hour.raw = hour.packed = null;
    this.#doomed.push(hour);
  }

  /** Entries of an hour, wherever they are, a piece at a time. */
  each(hour: Hour, visit: (words: Uint32Array, count: number, place: number) => void): void {
    let place = hour.rawFrom;
    const inParts = (words: Uint32Array, count: number): void => visit(words, count, IN_PARTS);
    if (hour.raw !== null) visit(hour.raw.words, hour.raw.count, place);
    else
      this.#eachSegment(hour, (words, count) => {
        visit(words, count, place);
        place += count;
      });
    if (hour.packed !== null) inParts(hour.packed.words, hour.packed.count);
    else this.#eachPart(hour, inParts);
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
    this.#compact(batch, coldBefore, this.#tuning.compactBytes + (this.bytes + bytes > this.#bytesMax * 0.75 ? bytes : 0));
    if (changed) batch.put(TOTAL_KEY, encodeTotal(this.total()));
    this.#writing = false;
    this.#roomDue = true;
  }

  #writeRaw(batch: StoreBatch, hour: Hour): number {
    const raw = hour.raw!,
      first = hour.written;
    for (let from = first; from < raw.count; from += this.#tuning.segmentEntries) {
      const to = Math.min(raw.count, from + this.#tuning.segmentEntries);
      batch.put(identityKey(hour.hour, SEGMENT, hour.segNext++), encodeEntries(raw.words, from, to));
    }
    hour.written = raw.count;
    hour.dirty = false;
    return (raw.count - first) * ENTRY_BYTES;
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

  /** The oldest cold hour that a question would cost too much. */
  #coldest(coldBefore: number): Hour | null {
    const { partEntries, segmentsMax } = this.#tuning;
    let found: Hour | null = null;
    for (const hour of this.hours.values()) {
      if (hour.hour >= coldBefore || hour.compactedAt === this.#writes || (found !== null && found.hour < hour.hour)) continue;
      const segments = hour.segNext - hour.segFirst,
        raw = hour.rawCount();
      const due =
        hour.parts === 0
          ? segments > 16 || raw > 2 * partEntries
          : segments > segmentsMax || raw > Math.max(partEntries, hour.packedCount / 4);
      if (due) found = hour;
    }
    return found;
  }

  #begin(hour: Hour): CompactionJob {
    const sources: EntrySource[] = [];
    const visit = (words: Uint32Array, count: number): void => void sources.push({ words, count });
    // All raw entries are in segments by now, some only in this very batch: those are in memory.
    if (hour.raw === null && hour.written > 0) this.#loadRaw(hour);
    if (hour.raw !== null) visit(hour.raw.words, hour.raw.count);
    if (hour.packed !== null) visit(hour.packed.words, hour.packed.count);
    else this.#eachPart(hour, visit);
    return new CompactionJob(hour.hour, hour.gen + 1, hour.segNext, hour.rawCount(), sources, this.#tuning.partEntries, this.#hash);
  }

  #end(batch: StoreBatch, job: CompactionJob): void {
    const hour = this.hours.get(job.hour)!;
    for (let seq = hour.segFirst; seq < job.segEnd; seq++) batch.del(identityKey(hour.hour, SEGMENT, seq));
    for (let i = 0; i < hour.parts; i++) batch.del(identityKey(hour.hour, PART, hour.gen, i));
    batch.put(
      identityKey(hour.hour, MANIFEST),
      encodeManifest({ gen: job.gen, parts: job.parts, entries: job.entries, check: this.#hash.check() }),
    );
    if (hour.raw !== null) {
      const rest = hour.raw.count - job.rawCount;
      const raw = rest === 0 ? null : new Entries(rest);
      if (raw !== null) {
        raw.words.set(hour.raw.words.subarray(job.rawCount * ENTRY_WORDS, hour.raw.count * ENTRY_WORDS));
        raw.count = rest;
      }
      hour.raw = raw;
    }
    hour.written -= job.rawCount;
    hour.rawFrom += job.rawCount;
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
    if (hour.written > 0) this.#admitLoad(hour, hour.written * ENTRY_BYTES);
    const raw = new Entries(Math.max(16, hour.written));
    this.#eachSegment(hour, (words, count) => {
      raw.words.set(words, raw.count * ENTRY_WORDS);
      raw.count += count;
    });
    if (raw.count !== hour.written) throw new Error(`hour ${hour.hour} has ${raw.count} identities in its segments, not ${hour.written}`);
    hour.raw = raw;
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

  /** Parts are worth loading as a whole only in place of what nobody asks: else hours would push each other out by turns. */
  #roomFor(hour: Hour): boolean {
    const need = hour.packedBytes();
    if (need > this.#bytesMax / 2) return false;
    if (this.bytes + need > this.#bytesMax && this.#clock >= this.#triedAt + IDLE_EVENTS / 16) {
      this.#triedAt = this.#clock;
      this.#evict(this.#bytesMax * 0.875 - need, hour, this.#clock - IDLE_EVENTS);
    }
    return this.bytes + need <= this.#bytesMax;
  }

  #eachSegment(hour: Hour, visit: (words: Uint32Array, count: number) => void): void {
    for (let seq = hour.segFirst; seq < hour.segNext;) {
      const rows = this.#store.range(identityKey(hour.hour, SEGMENT, seq), identityKey(hour.hour, SEGMENT, hour.segNext), PAGE);
      if (rows.length === 0) throw new Error(`segment ${seq} of hour ${hour.hour} is not in the store`);
      for (const [, value] of rows) visitValue(value, visit);
      seq += rows.length;
    }
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

  #askPart(hour: Hour, id: Uint32Array, p: number, fingerprint: number, b: number): number {
    this.counters.pointReads++;
    const part = partOf(b, hour.parts);
    const value = this.#store.get(identityKey(hour.hour, PART, hour.gen, part));
    if (value === undefined) throw new Error(`part ${part} of hour ${hour.hour} is not in the store`);
    const words = entryWords(value);
    return scan(words, words.length / ENTRY_WORDS, id, p, fingerprint);
  }

  /** The least recently used first, of those last used before `usedBefore`; never what is not in the store yet. */
  #evict(target: number, keep: Hour | null, usedBefore: number): void {
    const held = [...this.hours.values()].filter((h) => h !== keep && (h.raw !== null || h.packed !== null));
    held.sort((x, y) => x.usedAt - y.usedAt);
    for (const hour of held) {
      if (this.bytes <= target || hour.usedAt >= usedBefore) return;
      const before = hour.bytes();
      hour.packed = null;
      hour.asks = 0;
      if (hour.raw !== null && hour.raw.count === hour.written) hour.raw = null;
      this.bytes -= before - hour.bytes();
      this.counters.evictions++;
    }
  }
}

function visitValue(value: Uint8Array, visit: (words: Uint32Array, count: number) => void): void {
  const words = entryWords(value);
  visit(words, words.length / ENTRY_WORDS);
}
