/**
 * The door of one source: records of raw JSON in, columns of valid events and a list of rejections out. Compiles the contract into a
 * scanner (generated code, `text` shows it) for records written as most producers write them, and learns one for producers that keep
 * another order of keys; all others take the slow path, with the same verdict and columns. Nothing past this door checks the contract again.
 */
import { EventColumns, type Gate, type Rejection } from '../batch.ts';
import type { Records } from '../consume/records.ts';
import { Router } from '../hop/route.ts';
import { sourceInputs } from '../inputs.ts';
import type { Plan } from '../plan.ts';
import { anyValue } from './any-value.ts';
import { avalanche, integerIdentity, mix, mixBytes, textIdentity, uuidWords } from './identity.ts';
import { dateMs, isoMs } from './iso-time.ts';
import type { Layout } from './layout.ts';
import type { Contract } from './model.ts';
import { KeyIsField } from './record-key.ts';
import { runText } from './run-text.ts';
import { scannerText } from './scanner-text.ts';
import { choiceFor, textPlan } from './scanner-values.ts';
import { Scanners, type Scan } from './scanners.ts';
import { Slots } from './slots.ts';
import { SlowPath } from './slow-path.ts';
import { KnownTexts, textRules } from './text-rules.ts';
import { below, codePoints, fourDigits, longDecimal, longInteger, plainEnd, POWER, restOfText, shortDecimal } from './value-bytes.ts';

export interface CompiledGate extends Gate {
  /** The generated code, for people. */
  readonly text: string;
  /** How many records have taken the slow path so far; null values and oversize ones take neither. */
  readonly slow: number;
  /** The orders of keys that it has learned a scanner for: fields by their place in the contract, unknown ones by name. */
  readonly learned: readonly Layout[];
  /** Where the events of the last `scan` belong, when that was asked for. */
  readonly router: Router | null;
}

export interface GateOptions {
  /** Events a call of `scan` may yield; 4096. */
  readonly capacity?: number;
  /** 'slow' sends every record the slow path: for tests. */
  readonly path?: 'both' | 'slow';
  /** A field whose text each record's key must be (`KeyIsField`); null or absent: not asked. */
  readonly keyField?: string | null;
  /** Says of each event which shard it belongs to; absent: not asked. */
  readonly route?: { readonly field: string; readonly shards: number };
}

/** One in so many records of the slow path is asked in which order its keys stand. */
const LEARN_EVERY = 8;

type Run = (
  scan: Scan,
  bytes: Uint8Array,
  view: DataView,
  records: Records,
  from: number,
  to: number,
  most: number,
  fence: number,
  out: EventColumns,
  after: ((record: number, bytes: Uint8Array, view: DataView) => void) | null,
) => number;
/** The slots hold the record already. */
const TAKEN: Scan = () => true;

/** How generated code writes a text of a group key; the same for all sources. */
const KEY_CODE = `// A text of the group key at t: its length in LEB128, then its bytes, four at a time (the last four may overlap). Each word
// goes into the hash on its way: reading it again from where it was just written costs more than the copy. Returns the hash.
function keyText(bytes, view, s, e, key, keyView, t, h) {
  let n = e - s, w = 0;
  h = mix(h, n, secret);
  while (n > 127) { key[t++] = (n & 127) | 128; n >>>= 7; }
  key[t++] = n;
  if (e - s < 4) {
    while (s < e) { key[t++] = bytes[s]; w = (w << 8) | bytes[s++]; }
    return mix(h, w, secret);
  }
  for (; s < e - 4; s += 4, t += 4) {
    w = view.getInt32(s, true);
    keyView.setInt32(t, w, true);
    h = mix(h, w, secret);
  }
  w = view.getInt32(e - 4, true);
  keyView.setInt32(t + (e - 4 - s), w, true);
  return mix(h, w, secret);
}

// How many bytes that text takes in the key.
function keySize(n) {
  return n < 128 ? n + 1 : n < 16384 ? n + 2 : n < 2097152 ? n + 3 : n < 268435456 ? n + 4 : n + 5;
}`;

const RUNTIME = {
  anyValue,
  avalanche,
  below,
  codePoints,
  dateMs,
  fourDigits,
  integerIdentity,
  isoMs,
  longDecimal,
  longInteger,
  mix,
  mixBytes,
  plainEnd,
  POWER,
  restOfText,
  shortDecimal,
  textIdentity,
  uuidWords,
};

/** Names that the generated code may use, and what they are. */
function environment(contract: Contract, source: number, hashKey: readonly [number, number], slots: Slots): Record<string, unknown> {
  const double = new Float64Array(1);
  const known = contract.fields.map((f) => {
    const rules = f.type === 'string' || f.type === 'date' ? textRules(f) : null;
    return rules !== null && textPlan(f).known ? new KnownTexts(rules) : null;
  });
  const k0 = hashKey[0] | 0,
    k1 = hashKey[1] | 0;
  return {
    ...RUNTIME,
    known,
    choices: contract.fields.map((f) => choiceFor(f)?.table ?? null),
    k0,
    k1,
    start: slots.start,
    end: slots.end,
    lo: slots.lo,
    hi: slots.hi,
    words: slots.words,
    ready: slots.ready,
    double,
    doubleWords: new Int32Array(double.buffer),
    pair: new Float64Array(2),
    keySeed: avalanche(k0 ^ 0x6b657973) | 0,
    printSeed: mix(avalanche(k1 ^ 0x7072696e) | 0, source, k0 | 1),
    secret: avalanche(k0 ^ (k1 << 16) ^ (k1 >>> 16)) | 1,
  };
}

function compiled(names: Readonly<Record<string, unknown>>, text: string, name: string): unknown {
  const make = new Function('names', `"use strict";\nconst { ${Object.keys(names).join(', ')} } = names;\n\n${text}\nreturn ${name};`);
  return make(names);
}

class ScannerGate implements CompiledGate {
  readonly text: string;
  slow = 0;
  private readonly scanners: Scanners;
  private readonly run: Run;
  /** The same code a second time: what the slow path does to it leaves the fast one's as it is. */
  private readonly runSlow: Run;
  private readonly capacity: number;
  private readonly inputs: number;
  private own: EventColumns | null = null;
  private readonly judge: SlowPath;
  private readonly alwaysSlow: boolean;
  private readonly maxRecordBytes: number;
  private readonly fenceMs: number;
  private readonly recordKey: KeyIsField | null;
  readonly router: Router | null;
  private slowText: Uint8Array = new Uint8Array(0);
  private slowView: DataView = new DataView(new ArrayBuffer(0));

  constructor(contract: Contract, plan: Plan, source: number, hashKey: readonly [number, number], options: GateOptions) {
    const inputs = sourceInputs(plan, source);
    const slots = new Slots(contract.fields.length);
    this.capacity = options.capacity ?? 4096;
    this.inputs = inputs.fields.length;
    this.judge = new SlowPath(contract, plan.time, slots);
    this.alwaysSlow = options.path === 'slow';
    this.maxRecordBytes = plan.maxRecordBytes;
    this.fenceMs = plan.fenceMs;
    const keyField = options.keyField ?? null,
      { route } = options,
      read = new Set([...inputs.read, ...(keyField === null ? [] : [keyField]), ...(route === undefined ? [] : [route.field])]);
    this.router = route === undefined ? null : new Router(contract, route, slots, this.capacity);
    this.recordKey = keyField === null ? null : new KeyIsField(contract, keyField, slots);
    const names = environment(contract, source, hashKey, slots);
    const scanner = (layout: Layout): string => scannerText(contract, read, plan.id, plan.time, layout);
    const run = `${KEY_CODE}\n\n${runText(contract, plan, source)}\n`;
    this.run = compiled(names, run, 'run') as Run;
    this.runSlow = compiled(names, run, 'run') as Run;
    this.scanners = new Scanners(contract.fields.length, (layout) => compiled(names, scanner(layout), 'scan') as Scan);
    this.text = `${scanner(contract.fields.map((_, at) => at))}\n\n${run}`;
  }

  get out(): EventColumns {
    return (this.own ??= new EventColumns(this.capacity, this.inputs));
  }

  get learned(): readonly Layout[] {
    return this.scanners.learned;
  }

  scan(records: Records, from: number, to: number, rejected: Rejection[]): EventColumns {
    const { out } = this;
    out.count = 0;
    this.add(records, from, to, out, rejected);
    return out;
  }

  add(records: Records, from: number, to: number, out: EventColumns, rejected: Rejection[]): void {
    const { scanners, run, alwaysSlow, maxRecordBytes, fenceMs, recordKey, router } = this;
    const { valueStart, valueEnd, timestamp } = records;
    if (to - from > out.capacity - out.count) throw new Error(`a slice of ${to - from} records for ${out.capacity - out.count} places`);
    // A plain Uint8Array, also of a Buffer: the scanner then sees one kind of array only.
    const held = records.bytes;
    const bytes = new Uint8Array(held.buffer, held.byteOffset, held.byteLength);
    const buffer = Buffer.from(held.buffer, held.byteOffset, held.byteLength);
    const view = new DataView(held.buffer, held.byteOffset, held.byteLength);
    const after =
      recordKey === null && router === null
        ? null
        : (record: number, texts: Uint8Array, textView: DataView): void => {
            recordKey?.check(records, record, texts);
            router?.route(out.count - 1, texts, textView);
          };
    for (let i = from; i < to; i++) {
      if (!alwaysSlow && (i = run(scanners.first, bytes, view, records, i, to, maxRecordBytes, fenceMs, out, after)) === to) return;
      const start = valueStart[i]!,
        end = valueEnd[i]!,
        latest = timestamp[i]! + fenceMs;
      if (start < 0) {
        rejected.push({ record: i, code: 'UNPARSEABLE', field: '', detail: 'the value is null' });
      } else if (end - start > maxRecordBytes) {
        rejected.push({ record: i, code: 'OVERSIZE', field: '', detail: `${end - start} bytes` });
      } else if (!alwaysSlow && scanners.others(bytes, view, start, end, latest)) {
        this.runSlow(TAKEN, bytes, view, records, i, i + 1, maxRecordBytes, fenceMs, out, after);
      } else if (this.takeSlow(buffer, start, end, latest, i, rejected)) {
        this.runSlow(TAKEN, this.slowText, this.slowView, records, i, i + 1, maxRecordBytes, fenceMs, out, after);
      }
    }
  }

  private takeSlow(bytes: Buffer, start: number, end: number, latest: number, record: number, rejected: Rejection[]): boolean {
    this.slow++;
    const verdict = this.judge.judge(bytes, start, end, latest);
    if (verdict !== null) {
      rejected.push({ record, code: verdict.code, field: verdict.field, detail: verdict.detail });
      return false;
    }
    if (this.slow % LEARN_EVERY === 0 && !this.alwaysSlow) {
      const order = this.judge.order();
      if (order !== null) this.scanners.learn(order);
    }
    const held = this.judge.text;
    if (held.buffer !== this.slowText.buffer || held.byteOffset !== this.slowText.byteOffset) {
      this.slowText = new Uint8Array(held.buffer, held.byteOffset, held.byteLength);
      this.slowView = new DataView(held.buffer, held.byteOffset, held.byteLength);
    }
    return true;
  }
}

export function compileGate(
  contract: Contract,
  plan: Plan,
  source: number,
  hashKey: readonly [number, number],
  options: GateOptions = {},
): CompiledGate {
  return new ScannerGate(contract, plan, source, hashKey, options);
}
