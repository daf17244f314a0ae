/**
 * Says of each event, in order, whether it is FRESH, a DUPLICATE, a CONFLICT or EXPIRED, for the whole horizon. The directory answers
 * "surely new" in one probe; a "maybe in hour h" is decided exactly in that hour. Decided record by record: an hour that ends at
 * or before the highest accepted time less the horizon is forgotten at that very record. Where slices and commits are
 * cut changes no verdict. Memory that `write` has put into a batch counts as stored from then on: if the commit fails, throw this away.
 */
import type { Store, StoreBatch } from '../../state/store.ts';
import { EXPIRED, FRESH } from '../batch.ts';
import type { EventColumns } from '../batch.ts';
import { Directory, slotsFor, TAG_MASK, tagOf } from './directory.ts';
import { ENTRY_WORDS } from './entries.ts';
import type { Hour } from './hour.ts';
import { Identities, TUNING } from './identities.ts';
import type { Tuning } from './identities.ts';
import { IdentityHash, LANES } from './identity-hash.ts';
import { Rebuild } from './rebuild.ts';
import { recover, storedTotal } from './recovery.ts';

const HOUR_MS = 3600000;
/** Above it, two live hours could bear one tag. */
export const HORIZON_MAX_MS = 42 * 24 * HOUR_MS;
/** Identities that go into a new directory for each event that comes: all, before the old one is full. */
const REBUILT_AN_EVENT = 10;
const MEMORY_BYTES = 256 << 20,
  DIRECTORY_SLOTS = 1 << 23;

export interface DedupOptions {
  readonly store: Store;
  readonly horizonMs: number;
  /** Whatever is before it is expired too. */
  readonly frozenTo?: number;
  /** Secret to producers; the same for the life of the state. */
  readonly hashKey: readonly [number, number];
  /** Bound of the identities in memory, the directory and one commit's worth apart. */
  readonly memoryBytesMax?: number;
  readonly directorySlots?: number;
  readonly tuning?: Partial<Tuning>;
}
export interface DedupStats {
  readonly identities: number;
  readonly hours: number;
  readonly memoryBytes: number;
  readonly directoryBytes: number;
  readonly directoryUsed: number;
  readonly rebuilds: number;
  readonly pointReads: number;
  readonly hourLoads: number;
  readonly evictions: number;
  readonly compactions: number;
}

export class Dedup {
  readonly #options: DedupOptions;
  readonly #tuning: Tuning;
  readonly #hash: IdentityHash;
  #directory = new Directory();
  #rebuild: Rebuild | null = null;
  /** The live hour of each tag that has identities; a slot whose tag has none is stale. */
  readonly #byTag: (Hour | null)[] = Array.from({ length: TAG_MASK + 1 }, () => null);
  #identities: Identities;
  #maxTime = -1;
  /** From when on events are taken, and the time at which the next hour is forgotten. */
  #liveFrom = 0;
  #forgetAt: number;
  /** The hour of the last event that was stored, by its start. */
  #lastHour: Hour | null = null;
  #lastStart = -HOUR_MS;
  /** Hours were forgotten whose slots may still stand in the directory. */
  #isStale = false;
  #rebuilds = 0;

  constructor(options: DedupOptions) {
    if (!(options.horizonMs > 0 && options.horizonMs <= HORIZON_MAX_MS))
      throw new Error(`horizonMs ${options.horizonMs} is not within 42 days`);
    this.#options = options;
    this.#tuning = { ...TUNING, ...options.tuning };
    this.#hash = new IdentityHash(options.hashKey);
    this.#identities = this.#newIdentities();
    this.#forgetAt = HOUR_MS + options.horizonMs;
    this.#directory.reset(slotsFor(0, options.directorySlots ?? DIRECTORY_SLOTS));
  }

  /** The highest event time that was accepted; -1: none. */
  get maxTime(): number {
    return this.#maxTime;
  }
  /** Hours that end at or before it are forgotten. */
  boundary(): number {
    return this.#maxTime < 0 ? -Infinity : this.#maxTime - this.#options.horizonMs;
  }

  /** Begins from what the store holds; `maxTime` as it was at the store's last commit. */
  open(maxTime: number): void {
    this.#maxTime = maxTime;
    const firstLive = this.#setLive();
    const { store } = this.#options;
    let slots = slotsFor(storedTotal(store), this.#options.directorySlots ?? DIRECTORY_SLOTS);
    for (; ; slots *= 2) {
      this.#identities = this.#newIdentities();
      this.#byTag.fill(null);
      this.#lastStart = -HOUR_MS;
      this.#directory.reset(slots);
      const whole = recover(store, this.#identities, this.#hash.check(), firstLive, (hour, words, count, place) =>
        this.#directory.insert(words, ENTRY_WORDS, count, hour.tag, place, this.#hash),
      );
      if (whole) break;
    }
    for (const hour of this.#identities.hours.values()) this.#name(hour);
  }

  admit(events: EventColumns, verdict: Uint8Array): void {
    this.#identities.makeRoom(events.count);
    this.#makeSlots(events.count);
    const hash = this.#hash,
      directory = this.#directory;
    for (let from = 0; from < events.count; from += LANES) {
      const n = Math.min(LANES, events.count - from);
      hash.block(events.id, from * 4, 4, n);
      directory.touch(hash.a, n);
      BLOCK_A.set(hash.a);
      BLOCK_B.set(hash.b);
      for (let i = 0; i < n; i++) {
        const e = from + i;
        verdict[e] = this.#decide(events.id, e * 4, events.time[e]!, events.fingerprint[e]!, BLOCK_A[i]!, BLOCK_B[i]!);
      }
    }
  }

  write(batch: StoreBatch): void {
    this.#identities.write(batch, Math.floor(this.#maxTime / HOUR_MS) - this.#tuning.coldAfterHours);
  }

  stats(): DedupStats {
    const { hours, counters } = this.#identities;
    let memoryBytes = 0;
    for (const hour of hours.values()) memoryBytes += hour.bytes();
    return {
      identities: this.#identities.total(),
      hours: hours.size,
      memoryBytes,
      directoryBytes: this.#directory.slots.byteLength,
      directoryUsed: this.#directory.used,
      rebuilds: this.#rebuilds,
      ...counters,
    };
  }

  #decide(id: Uint32Array, p: number, time: number, fingerprint: number, a: number, b: number): number {
    if (time < this.#liveFrom) return EXPIRED;
    if (time > this.#maxTime) {
      this.#maxTime = time;
      if (time >= this.#forgetAt) this.#forget();
    }
    const { slots, mask } = this.#directory;
    let at = a & mask,
      stale = -1;
    for (;;) {
      const slot = slots[at << 1]!;
      if (slot === 0) break;
      const hour = this.#byTag[slot & TAG_MASK]!;
      if (hour === null) {
        if (stale < 0) stale = at;
      } else if ((slot ^ b) >>> 10 === 0) {
        const known = this.#identities.find(hour, slots[(at << 1) + 1]!, id, p, fingerprint, a, b);
        if (known !== FRESH) return known;
      }
      at = (at + 1) & mask;
    }
    const hour = time >= this.#lastStart && time < this.#lastStart + HOUR_MS ? this.#lastHour! : this.#hourOf(time);
    if (stale >= 0) at = stale;
    else this.#directory.used++;
    slots[at << 1] = (b & ~TAG_MASK) | hour.tag;
    slots[(at << 1) + 1] = this.#identities.append(hour, id, p, fingerprint);
    return FRESH;
  }

  #hourOf(time: number): Hour {
    const number = Math.floor(time / HOUR_MS);
    let hour = this.#identities.hours.get(number);
    if (hour === undefined) this.#name((hour = this.#identities.create(number)));
    this.#lastHour = hour;
    this.#lastStart = number * HOUR_MS;
    return hour;
  }

  #name(hour: Hour): void {
    if (this.#byTag[hour.tag] !== null) throw new Error(`hours ${hour.hour} and ${this.#byTag[hour.tag]!.hour} are live under one tag`);
    this.#byTag[hour.tag] = hour;
  }

  #setLive(): number {
    const { horizonMs, frozenTo = 0 } = this.#options;
    const first = Math.max(0, Math.floor((this.#maxTime - horizonMs) / HOUR_MS));
    this.#liveFrom = Math.max(first * HOUR_MS, frozenTo);
    this.#forgetAt = (first + 1) * HOUR_MS + horizonMs;
    return first;
  }

  #forget(): void {
    const first = this.#setLive();
    const { hours } = this.#identities;
    for (const hour of hours.values()) {
      if (hour.hour >= first) continue;
      this.#identities.forget(hour);
      this.#isStale = true;
      this.#byTag[tagOf(hour.hour)] = null;
    }
    if (this.#lastStart < this.#liveFrom) this.#lastStart = -HOUR_MS;
  }

  /** Before a slice. A crowded directory has its stale slots emptied, or is made anew, larger if it must be, a little with every slice. */
  #makeSlots(events: number): void {
    for (;;) {
      const directory = this.#directory;
      if (this.#rebuild === null) {
        if (directory.used + events <= directory.crowdedAt) return;
        if (this.#isStale) directory.sweep(this.#byTag);
        this.#isStale = false;
        if (directory.used + events <= directory.crowdedAt - directory.size / 16) return;
        this.#rebuilds++;
        this.#identities.keepsPlaces = true;
        this.#rebuild = new Rebuild(this.#identities, this.#hash, slotsFor(this.#identities.total() + events, directory.size));
      }
      const isFull = directory.used + events > directory.limit;
      if (!this.#rebuild.step(isFull ? Infinity : events * REBUILT_AN_EVENT)) return;
      this.#directory = this.#rebuild.directory;
      this.#rebuild = null;
      this.#identities.keepsPlaces = false;
    }
  }

  #newIdentities(): Identities {
    return new Identities(this.#options.store, this.#hash, this.#options.memoryBytesMax ?? MEMORY_BYTES, this.#tuning);
  }
}

/** A question to a part hashes what it indexes, so a block's own lanes are kept apart. */
const BLOCK_A = new Int32Array(LANES),
  BLOCK_B = new Int32Array(LANES);
