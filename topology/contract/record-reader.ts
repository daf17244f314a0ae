/**
 * A strict RFC 8259 reader of one record: its bytes in; per contract field the kind and place of its value out. Rejects what
 * JSON.parse lets pass: a key named twice in any object, an unpaired surrogate, invalid UTF-8, nesting beyond 512.
 * Texts stand decoded in `text` (owned here, valid until the next record); other values stay in the record's own bytes.
 */
import { isUtf8 } from 'node:buffer';
import { UNKNOWN_BYTES_MAX, type Entry, type Layout } from './layout.ts';
import { PLAIN } from './value-bytes.ts';

export const ABSENT = 0,
  NULL = 1,
  TEXT = 2,
  NUMBER = 3,
  TRUE = 4,
  FALSE = 5,
  NESTED = 6;
const DEPTH_MAX = 512,
  KEYS_KEPT = 64;

export class RecordReader {
  readonly kind: Uint8Array;
  readonly start: Int32Array;
  readonly end: Int32Array;
  text = Buffer.alloc(4096);
  /** Why the last record is no JSON object. */
  why = '';
  private readonly keys: readonly Buffer[];
  private bytes: Buffer = Buffer.alloc(0);
  private p = 0;
  private stop = 0;
  private begin = 0;
  /** Letters beyond ASCII were met, so the record was checked to be UTF-8. */
  private letters = false;
  private textEnd = 0;
  private escaped = false;
  /** The top level's keys in their order: which field (-1: none) and where; an escaped one begins at -1. */
  private keyCount = 0;
  private readonly keyField = new Int32Array(KEYS_KEPT);
  private readonly keyStart = new Int32Array(KEYS_KEPT);
  private readonly keyEnd = new Int32Array(KEYS_KEPT);

  constructor(names: readonly string[]) {
    this.keys = names.map((name) => Buffer.from(name, 'utf8'));
    this.kind = new Uint8Array(names.length);
    this.start = new Int32Array(names.length);
    this.end = new Int32Array(names.length);
  }

  read(bytes: Buffer, start: number, end: number): boolean {
    this.bytes = bytes;
    this.begin = start;
    this.letters = false;
    this.p = start;
    this.stop = end;
    this.textEnd = 0;
    this.keyCount = 0;
    this.kind.fill(ABSENT);
    // Decoded, a text is never longer than in its record.
    if (this.text.length < end - start) this.text = Buffer.alloc(2 ** Math.ceil(Math.log2(end - start)));
    if (end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf)
      return this.fail('begins with a byte order mark');
    this.space();
    if (this.p === end) return this.fail('is empty');
    if (this.bytes[this.p] !== 0x7b) return this.fail('is not a JSON object');
    if (!this.members(1)) return false;
    this.space();
    return this.p === end || this.fail('goes on after the object');
  }

  /** In which order the last record wrote its keys; null when they are too many, too long or not plain. */
  order(): Layout | null {
    if (this.keyCount > KEYS_KEPT) return null;
    const order: Entry[] = [];
    for (let k = 0; k < this.keyCount; k++) {
      const from = this.keyStart[k]!,
        end = this.keyEnd[k]!,
        field = this.keyField[k]!;
      if (from < 0 || end - from > UNKNOWN_BYTES_MAX) return null;
      const name = this.bytes.toString('latin1', from, end);
      if (field < 0 && !/^[ -~]*$/.test(name)) return null;
      order.push(field < 0 ? name : field);
    }
    return order;
  }

  private keepKey(field: number, from: number): void {
    const k = this.keyCount++;
    if (k >= KEYS_KEPT) return;
    this.keyField[k] = field;
    this.keyStart[k] = this.escaped ? -1 : from;
    this.keyEnd[k] = this.p - 1;
  }

  private fail(why: string): false {
    this.why = why;
    return false;
  }

  private at(): number {
    return this.p < this.stop ? this.bytes[this.p]! : -1;
  }

  private space(): void {
    for (let c = this.at(); c === 32 || c === 10 || c === 13 || c === 9; c = this.at()) this.p++;
  }

  private unexpected(): false {
    return this.fail(this.p >= this.stop ? 'ends too early' : 'is not valid JSON');
  }

  /** An object, from its brace; at depth 1 its members are the fields. */
  private members(depth: number): boolean {
    if (depth > DEPTH_MAX) return this.fail(`is nested deeper than ${DEPTH_MAX}`);
    let others: Set<string> | null = null;
    let hint = 0;
    this.p++;
    this.space();
    if (this.at() === 0x7d) return ++this.p > 0;
    for (;;) {
      if (this.at() !== 34) return this.unexpected();
      const keyStart = this.p;
      if (!this.string()) return false;
      const field = depth === 1 ? this.fieldOf(keyStart, hint) : -1;
      if (depth === 1) this.keepKey(field, keyStart + 1);
      if (field < 0) {
        const key = this.decoded(keyStart);
        others ??= new Set();
        if (others.has(key)) return this.fail(`names the key ${JSON.stringify(key.slice(0, 80).toWellFormed())} twice`);
        others.add(key);
      } else if (this.kind[field] !== ABSENT) return this.fail(`names the key ${JSON.stringify(this.keys[field]!.toString())} twice`);
      this.space();
      if (this.at() !== 58) return this.unexpected();
      this.p++;
      this.space();
      if (field >= 0) hint = field + 1;
      if (!this.value(depth, field)) return false;
      this.space();
      const c = this.at();
      if (c !== 44 && c !== 0x7d) return this.unexpected();
      this.p++;
      if (c === 0x7d) return true;
      this.space();
    }
  }

  private elements(depth: number): boolean {
    if (depth > DEPTH_MAX) return this.fail(`is nested deeper than ${DEPTH_MAX}`);
    this.p++;
    this.space();
    if (this.at() === 0x5d) return ++this.p > 0;
    for (;;) {
      if (!this.value(depth, -1)) return false;
      this.space();
      const c = this.at();
      if (c !== 44 && c !== 0x5d) return this.unexpected();
      this.p++;
      if (c === 0x5d) return true;
      this.space();
    }
  }

  private value(depth: number, field: number): boolean {
    const from = this.p;
    let kind = NESTED;
    const c = this.at();
    if (c === 34) {
      if (!this.string()) return false;
      if (field >= 0) return this.keepText(field, from);
      return true;
    }
    if (c === 0x7b) {
      if (!this.members(depth + 1)) return false;
    } else if (c === 0x5b) {
      if (!this.elements(depth + 1)) return false;
    } else if (c === 0x74) {
      if (!this.word('true')) return this.unexpected();
      kind = TRUE;
    } else if (c === 0x66) {
      if (!this.word('false')) return this.unexpected();
      kind = FALSE;
    } else if (c === 0x6e) {
      if (!this.word('null')) return this.unexpected();
      kind = NULL;
    } else {
      if (!this.number()) return this.unexpected();
      kind = NUMBER;
    }
    if (field >= 0) {
      this.kind[field] = kind;
      this.start[field] = from;
      this.end[field] = this.p;
    }
    return true;
  }

  private word(word: string): boolean {
    for (let j = 0; j < word.length; j++, this.p++) if (this.at() !== word.charCodeAt(j)) return false;
    return true;
  }

  private digits(): boolean {
    const from = this.p;
    for (let c = this.at(); c >= 48 && c <= 57; c = this.at()) this.p++;
    return this.p > from;
  }

  private number(): boolean {
    if (this.at() === 45) this.p++;
    if (this.at() === 48) this.p++;
    else if (!this.digits()) return false;
    if (this.at() === 46) {
      this.p++;
      if (!this.digits()) return false;
    }
    if (this.at() === 101 || this.at() === 69) {
      this.p++;
      if (this.at() === 43 || this.at() === 45) this.p++;
      return this.digits();
    }
    return true;
  }

  /** Past a string, from its quote. Outside of strings a byte beyond ASCII is an error by itself. */
  private string(): boolean {
    this.escaped = false;
    const { bytes, stop } = this;
    let p = this.p + 1;
    for (;;) {
      while (p < stop && (PLAIN[bytes[p]!] === 1 || (this.letters && bytes[p]! > 127))) p++;
      this.p = p;
      const c = this.at();
      if (c > 127) {
        if (!isUtf8(bytes.subarray(this.begin, stop))) return this.fail('is not valid UTF-8');
        this.letters = true;
        continue;
      }
      if (c < 32) return c < 0 ? this.unexpected() : this.fail('has a control character in a string');
      this.p++;
      if (c === 34) return true;
      if (!this.escape()) return false;
      p = this.p;
    }
  }

  private escape(): boolean {
    this.escaped = true;
    const c = this.at();
    this.p++;
    if (c === 34 || c === 92 || c === 47 || c === 98 || c === 102 || c === 110 || c === 114 || c === 116) return true;
    if (c !== 117) return this.unexpected();
    const unit = this.hex();
    if (unit < 0) return this.unexpected();
    if (unit < 0xd800 || unit > 0xdfff) return true;
    if (unit < 0xdc00 && this.at() === 92 && this.bytes[this.p + 1] === 117) {
      this.p += 2;
      const low = this.hex();
      if (low < 0) return this.unexpected();
      if (low >= 0xdc00 && low <= 0xdfff) return true;
    }
    return this.fail('has an unpaired surrogate');
  }

  private hex(): number {
    let unit = 0;
    for (let j = 0; j < 4; j++, this.p++) {
      const c = this.at(),
        letter = c | 32;
      const digit = c >= 48 && c <= 57 ? c - 48 : letter >= 97 && letter <= 102 && c > 57 ? letter - 87 : -1;
      if (digit < 0) return -1;
      unit = unit * 16 + digit;
    }
    return unit;
  }

  /** The string from its quote at `from` to here, which was just read. */
  private decoded(from: number): string {
    if (this.escaped) return JSON.parse(this.bytes.toString('utf8', from, this.p)) as string;
    return this.bytes.toString('utf8', from + 1, this.p - 1);
  }

  private keepText(field: number, from: number): true {
    const { bytes, text } = this;
    const start = this.textEnd,
      length = this.p - from - 2;
    if (this.escaped) this.textEnd += text.write(this.decoded(from), start, 'utf8');
    else {
      // A call of `copy` costs more than most texts are long.
      if (length > 64) bytes.copy(text, start, from + 1, this.p - 1);
      else for (let j = 0; j < length; j++) text[start + j] = bytes[from + 1 + j]!;
      this.textEnd += length;
    }
    this.kind[field] = TEXT;
    this.start[field] = start;
    this.end[field] = this.textEnd;
    return true;
  }

  /** Which field the key just read names, or -1; most come in the contract's order, so it looks there first. */
  private fieldOf(keyStart: number, hint: number): number {
    if (this.escaped) {
      const key = Buffer.from(this.decoded(keyStart), 'utf8');
      return this.keys.findIndex((k) => k.equals(key));
    }
    const s = keyStart + 1,
      n = this.p - 1 - s;
    const { keys, bytes } = this;
    for (let j = 0, at = hint; j < keys.length; j++, at++) {
      if (at >= keys.length) at = 0;
      const key = keys[at]!;
      if (key.length !== n) continue;
      let same = 0;
      while (same < n && key[same] === bytes[s + same]) same++;
      if (same === n) return at;
    }
    return -1;
  }
}
