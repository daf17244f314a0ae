/**
 * Reads the identities of a store once, in key order, a few MB at a time: makes the hours and shows every live entry to `visit`.
 * Nothing stays in memory but the hours' books. What belongs to a forgotten hour, or to a compaction that did not end, is discarded.
 */
import type { Store } from '../../state/store.ts';
import type { Hour } from './hour.ts';
import type { Identities } from './identities.ts';
import {
  decodeManifest,
  decodeTotal,
  entryWords,
  IDENTITIES_FROM,
  IDENTITIES_TO,
  MANIFEST,
  PART,
  readIdentityKey,
  SEGMENT,
  TOTAL_HOUR,
  TOTAL_KEY,
} from './layout.ts';
import { IN_PARTS } from './directory.ts';
import { ENTRY_WORDS } from './entries.ts';

const PAGE = 64;

export function storedTotal(store: Store): number {
  const value = store.get(TOTAL_KEY);
  return value === undefined ? 0 : decodeTotal(value);
}

/** `visit` returns false to stop: then this returns false, and the identities are to be thrown away. */
export function recover(
  store: Store,
  identities: Identities,
  check: number,
  firstLive: number,
  visit: (hour: Hour, words: Uint32Array, count: number, place: number) => boolean,
): boolean {
  let hour: Hour | null = null,
    seen = 0,
    partsSeen = 0,
    total = 0;
  const settle = (): void => {
    if (hour === null) return;
    if (partsSeen !== hour.parts || seen !== hour.identities())
      throw new Error(`hour ${hour.hour} has ${seen} identities in the store, not ${hour.identities()}`);
  };
  for (let from = IDENTITIES_FROM; ;) {
    const rows = store.range(from, IDENTITIES_TO, PAGE);
    for (const [key, value] of rows) {
      const k = readIdentityKey(key);
      if (k.hour === TOTAL_HOUR) {
        total = decodeTotal(value);
        continue;
      }
      if (k.hour < firstLive) {
        identities.discard(key);
        continue;
      }
      if (hour === null || hour.hour !== k.hour) {
        settle();
        // An hour of which only debris is left is not an hour.
        hour = k.kind === PART ? null : identities.create(k.hour);
        seen = partsSeen = 0;
      }
      if (k.kind === MANIFEST) {
        readManifest(hour!, value, check);
        continue;
      }
      if (k.kind === PART && (hour === null || hour.parts === 0 || k.x !== hour.gen)) {
        identities.discard(key);
        continue;
      }
      const words = entryWords(value),
        count = words.length / ENTRY_WORDS;
      const place = k.kind === SEGMENT ? hour!.raw.end : IN_PARTS;
      if (k.kind === SEGMENT) readSegment(hour!, k.x, count);
      else if (k.y !== partsSeen++) throw new Error(`part ${partsSeen - 1} of hour ${k.hour} is not in the store`);
      seen += count;
      if (!visit(hour!, words, count, place)) return false;
    }
    if (rows.length < PAGE) break;
    from = Buffer.concat([rows.at(-1)![0], Buffer.alloc(1)]);
  }
  settle();
  if (identities.total() !== total) throw new Error(`there are ${identities.total()} identities in the store, not ${total}`);
  return true;
}

function readManifest(hour: Hour, value: Uint8Array, check: number): void {
  const manifest = decodeManifest(value);
  if (manifest.check !== check) throw new Error('the identities in this state were placed under another hash key');
  hour.gen = manifest.gen;
  hour.parts = manifest.parts;
  hour.packedCount = manifest.entries;
}

function readSegment(hour: Hour, seq: number, count: number): void {
  if (hour.segPlaces.length === 0) hour.segFirst = seq;
  else if (seq !== hour.segNext) throw new Error(`segment ${hour.segNext} of hour ${hour.hour} is not in the store`);
  hour.segNext = seq + 1;
  hour.segPlaces.push(hour.raw.end);
  hour.raw.skip(count);
  hour.written = hour.raw.end;
}
