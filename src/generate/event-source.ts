/**
 * Events by number: record n of a seed is always the same bytes, whoever asks and in whatever order. In go contracts and shares; out
 * come, one record at a time in a buffer that is used again, valid events with Zipf keys, exact resends of earlier ones, late
 * ones, and malformed ones of every kind. Arrival times rise evenly over the span; event times lie a little before them.
 */
import { GroupKeys } from './group-keys.ts';
import { Line } from './line.ts';
import { malform } from './malformed.ts';
import { Random, Zipf } from './random.ts';
import { textsOf, writerOf } from './values.ts';
import type { WriteValue } from './values.ts';
import { usage } from '../errors.ts';
import type { Contract, Field } from '../../topology/contract/model.ts';

export interface GenerateOptions {
  readonly events: number;
  readonly seed: number;
  /** Share of the records that are exact resends of an earlier one. */
  readonly duplicates: number;
  /** Share whose event time lies `lateMinMs` to `lateMaxMs` before their arrival. */
  readonly late: number;
  readonly malformed: number;
  /** Share that carry the id of an earlier event and another time. */
  readonly conflicts: number;
  readonly keys: number;
  readonly startMs: number;
  readonly spanMs: number;
  /** The usual disorder: most events arrive within seconds, the last after this. */
  readonly disorderMs: number;
  readonly lateMinMs: number;
  readonly lateMaxMs: number;
  /** Names of the id, of the event's time and of what events are grouped by; guessed from the contract when not said. */
  readonly id: string | null;
  readonly time: string | null;
  readonly dimensions: readonly string[] | null;
  /** Records carry their arrival time: then malformed ones are also too far in the future (by more than this), or too old. */
  readonly fenceMs: number | null;
  readonly horizonMs: number | null;
}
const MINUTE = 60_000,
  HOUR = 60 * MINUTE;
export const DEFAULTS: GenerateOptions = {
  events: 1_000_000,
  seed: 1,
  duplicates: 0.03,
  late: 0.01,
  malformed: 0.005,
  conflicts: 0,
  keys: 10_000,
  startMs: Date.UTC(2026, 0, 1),
  spanMs: 24 * HOUR,
  disorderMs: 3 * MINUTE,
  lateMinMs: 10 * MINUTE,
  lateMaxMs: 48 * HOUR,
  id: null,
  time: null,
  dimensions: null,
  fenceMs: null,
  horizonMs: null,
};

/** Of several contracts the first has most events, and each one more this share of it. */
const SHARES = [1, 0.08, 0.02];
/** Of an optional field: mostly there, else left out, and null now and then. */
const PRESENT = 0.7,
  NULL = 0.71;
/** How far an original is looked for, where nearly all are resends or malformed. */
const TRIES = 100;
const NULL_TEXT = Buffer.from('null');

interface Source {
  readonly contract: Contract;
  readonly id: Field;
  readonly time: Field;
  /** In the contract's order. `name` is `,"name":`; the first comma becomes the brace. */
  readonly fields: readonly { name: Buffer; write: WriteValue; kind: 'id' | 'time' | 'key' | 'value' | 'optional' }[];
  /** By key: the bytes of the grouping fields, each with its name, in the contract's order. */
  readonly keyBytes: (Buffer[] | undefined)[];
  readonly idText: ((n: number) => string) | null;
}

export class EventSource {
  /** The record that `make` made: its contract (a number), its bytes and its key, both valid until the next one. */
  source = 0;
  readonly line = new Line();
  readonly key = new Line();
  /** When it arrives: its time in the log. */
  arrivalMs = 0;
  private readonly o: GenerateOptions;
  private readonly random: Random;
  private readonly zipf: Zipf;
  private readonly groups: readonly GroupKeys[];
  private readonly sources: readonly Source[];
  private readonly groupNames: readonly (readonly Field[])[];
  private readonly shareEnds: readonly number[];

  constructor(contracts: readonly Contract[], options: Partial<GenerateOptions> = {}) {
    this.o = { ...DEFAULTS, ...options };
    this.random = new Random(this.o.seed);
    this.zipf = new Zipf(this.o.keys);
    this.groupNames = contracts.map((c) => groupingFields(c, this.o));
    this.groups = this.groupNames.map((fields) => new GroupKeys(fields));
    this.sources = contracts.map((c, i) => sourceOf(c, this.o, this.groupNames[i]!));
    const shares = contracts.map((_, i) => SHARES[i] ?? SHARES[SHARES.length - 1]!),
      total = shares.reduce((a, b) => a + b, 0);
    let end = 0;
    this.shareEnds = shares.map((share) => (end += share / total));
  }

  /** Makes record n, 0 <= n < events. */
  make(n: number): void {
    const { o, random } = this;
    random.reset(n);
    const u = random.unit();
    this.arrivalMs = this.arrival(n);
    // The first is always an original, so that there is one to send again.
    if (n === 0) return this.event(0);
    if (u < o.duplicates) return this.event(this.earlier(n));
    if (u < o.duplicates + o.conflicts) {
      this.event(this.earlier(n));
      return this.contradict();
    }
    if (u < o.duplicates + o.conflicts + o.malformed) {
      this.event(n);
      random.reset(n + 2 ** 51);
      const { contract, id, time } = this.sources[this.source]!;
      return malform(this.line, random, contract, { id, time, arrivalMs: this.arrivalMs, fenceMs: o.fenceMs, horizonMs: o.horizonMs });
    }
    this.event(n);
  }

  private arrival(n: number): number {
    return this.o.startMs + Math.floor((n * this.o.spanMs) / this.o.events);
  }

  /** Whether record n is an event of its own that is valid. */
  private isOriginal(n: number): boolean {
    this.random.reset(n);
    return n === 0 || this.random.unit() >= this.o.duplicates + this.o.conflicts + this.o.malformed;
  }

  /** The number of an original before n: mostly a short while back, at times anywhere. */
  private earlier(n: number): number {
    const { random } = this,
      isNear = random.unit() < 0.9;
    let j = isNear ? n - 1 - random.below(Math.min(n, 5000)) : random.below(n);
    for (let tries = 0; j > 0 && !this.isOriginal(j); tries++) j = tries < TRIES ? j - 1 : 0;
    return j;
  }

  /** The valid event of number n. */
  private event(n: number): void {
    const { random, line, key, o } = this;
    random.reset(n + 2 ** 52);
    const share = random.unit();
    this.source = 0;
    while (share >= this.shareEnds[this.source]! && this.source < this.shareEnds.length - 1) this.source++;
    const from = this.sources[this.source]!,
      time = this.timeOf(n, o),
      k = this.zipf.draw(random);
    const keyBytes = (from.keyBytes[k] ??= this.keyBytesOf(this.source, k));
    line.length = 0;
    key.length = 0;
    let group = 0;
    for (const { name, write, kind } of from.fields) {
      if (kind === 'optional') {
        const u = random.unit();
        if (u >= NULL) continue;
        line.put(name);
        if (u < PRESENT) write(line, random, time);
        else line.put(NULL_TEXT);
      } else if (kind === 'key') line.put(keyBytes[group++]!);
      else if (kind === 'id') {
        line.put(name);
        const at = line.length;
        this.id(from, n);
        // The key is the id's own text, without quotes.
        const quoted = line.bytes[at] === 34 ? 1 : 0;
        key.put(line.bytes.subarray(at + quoted, line.length - quoted));
      } else {
        line.put(name);
        write(line, random, time);
      }
    }
    line.room(1);
    line.bytes[0] = 123;
    line.bytes[line.length++] = 125;
  }

  private id(from: Source, n: number): void {
    const { random, line } = this;
    if (from.id.type === 'integer') return line.integer(1 + n);
    if (from.idText !== null) return line.text(JSON.stringify(from.idText(n)));
    line.room(40);
    line.bytes[line.length++] = 34;
    line.uuid(random.next(), random.next(), random.next(), random.next());
    line.bytes[line.length++] = 34;
  }

  private timeOf(n: number, o: GenerateOptions): number {
    const { random } = this,
      arrival = this.arrival(n),
      isLate = random.unit() < o.late,
      u = random.unit();
    return Math.max(0, arrival - Math.floor(isLate ? o.lateMinMs + u * (o.lateMaxMs - o.lateMinMs) : u * u * u * o.disorderMs));
  }

  private keyBytesOf(source: number, k: number): Buffer[] {
    const values = this.groups[source]!.values(k);
    return this.sources[source]!.fields.filter((p) => p.kind === 'key').map((p) =>
      Buffer.from(`${p.name.toString()}${values.get(nameIn(p.name))!}`),
    );
  }

  /** The same id, a second earlier: another content. */
  private contradict(): void {
    const { line } = this,
      { time } = this.sources[this.source]!;
    const event = JSON.parse(line.bytes.toString('utf8', 0, line.length)) as Record<string, unknown>;
    const ms = typeof event[time.name] === 'number' ? (event[time.name] as number) : Date.parse(String(event[time.name]));
    const earlier = ms >= 1000 ? ms - 1000 : ms + 1000;
    event[time.name] = typeof event[time.name] === 'number' ? earlier : new Date(earlier).toISOString();
    line.length = 0;
    line.text(JSON.stringify(event));
  }
}

/** `,"name":` back to the name. */
const nameIn = (bytes: Buffer): string => JSON.parse(bytes.toString().slice(1, -1)) as string;

function pick(contract: Contract, what: string, said: string | null, fits: (f: Field) => boolean, usual: readonly string[]): Field {
  const named = (name: string): Field | undefined => contract.fields.find((f) => f.name === name && fits(f));
  const found =
    said === null ? (usual.map(named).find((f) => f !== undefined) ?? contract.fields.find((f) => f.required && fits(f))) : named(said);
  if (found !== undefined) return found;
  throw usage(
    'E_GENERATE',
    `Contract ${contract.id} has no field that can be ${what}${said === null ? '' : ` and is called ${said}`}.`,
    `Say which one it is, by --id or --time.`,
  );
}
const pickId = (c: Contract, said: string | null): Field =>
  pick(c, 'the id', said, (f) => f.type === 'string' || f.type === 'integer', ['event_id', 'id']);
const pickTime = (c: Contract, said: string | null): Field =>
  pick(c, "the event's time", said, (f) => f.type === 'timestamp', ['event_time', 'timestamp', 'time']);

/** What events are grouped by: as said, else every required string that is not the id. */
function groupingFields(contract: Contract, o: GenerateOptions): Field[] {
  const id = pickId(contract, o.id);
  const isDimension = (f: Field): boolean =>
    o.dimensions === null ? f.type === 'string' && f.required && f !== id && f.format === null : o.dimensions.includes(f.name);
  return contract.fields.filter(isDimension);
}

function sourceOf(contract: Contract, o: GenerateOptions, groups: readonly Field[]): Source {
  const id = pickId(contract, o.id),
    time = pickTime(contract, o.time),
    iso = time.time === 'iso8601',
    quote = Buffer.from('"');
  const writeTime: WriteValue = (line, _, ms) => {
    if (!iso) return line.integer(ms);
    line.put(quote);
    line.time(ms);
    line.put(quote);
  };
  const fields = contract.fields.map((f) => {
    const name = Buffer.from(`,${JSON.stringify(f.name)}:`);
    const kind = f === id ? 'id' : f === time ? 'time' : groups.includes(f) ? 'key' : f.required ? 'value' : 'optional';
    return {
      name,
      kind,
      write: kind === 'time' ? writeTime : kind === 'value' || kind === 'optional' ? writerOf(f) : writeNothing,
    } as const;
  });
  const isFree =
    id.type === 'string' &&
    id.pattern === null &&
    id.validPattern === null &&
    id.validValues === null &&
    (id.format === null || id.format === 'uuid');
  const uuid = isFree && (id.minLength ?? 0) <= 36 && (id.maxLength ?? 36) >= 36;
  return { contract, id, time, fields, keyBytes: [], idText: id.type === 'integer' || uuid ? null : textsOf(id).text };
}

const writeNothing: WriteValue = () => {};

/** The records as lines without their ends, each in bytes of its own. */
export function* generateEvents(contract: Contract, options: Partial<GenerateOptions> = {}): Generator<Uint8Array> {
  const source = new EventSource([contract], options),
    events = options.events ?? DEFAULTS.events;
  for (let n = 0; n < events; n++) {
    source.make(n);
    yield Uint8Array.prototype.slice.call(source.line.bytes, 0, source.line.length);
  }
}
