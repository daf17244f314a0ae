/**
 * The kinds of values that a setting may have. Each takes what a file (typed) or the environment and flags (text) give, and comes out as one
 * type: durations in milliseconds, sizes in bytes. What is wrong is one sentence that begins after the setting's name: "is ..., not ...".
 */
import { z } from 'zod';

/** What people are told of a setting; the schema holds it beside each value (`ABOUT`). */
export interface About {
  readonly help: string;
  /** What it takes, in words: "whole number, 1 to 1024". */
  readonly takes: string;
  /** The default as it would be written. */
  readonly default?: string;
  readonly flag?: string;
  /** In help, after the flag; without one the flag takes no value. */
  readonly placeholder?: string;
  /** Never shown, never read from a file or a flag: it comes by the environment alone. */
  readonly isSecret?: boolean;
  /** A path: in a configuration file it is relative to that file. */
  readonly isPath?: boolean;
  /** A value as one would write it. */
  readonly show: (value: unknown) => string;
}
/** What the caller says of a setting; the kind adds the rest. */
export type Said = Pick<About, 'help' | 'flag' | 'placeholder'>;

export const ABOUT = z.registry<About>();

type Read<T> = (given: unknown) => T | undefined;

/** A setting that is undefined when nobody gives it. */
function optional<T>(about: About, read: Read<T>): z.ZodType<T | undefined> {
  return reading(about, read).optional().register(ABOUT, about);
}

function defaulted<T>(about: About & { readonly default: string }, read: Read<T>): z.ZodType<T> {
  const value = read(about.default);
  if (value === undefined) throw new Error(`the default ${about.default} is not a value of its setting`);
  return reading(about, read)
    .default(value as never)
    .register(ABOUT, about) as unknown as z.ZodType<T>;
}

function reading<T>({ takes, isSecret }: About, read: Read<T>): z.ZodType<T> {
  return z.unknown().transform((given, context): T => {
    const value = read(given);
    if (value !== undefined) return value;
    context.issues.push({
      code: 'custom',
      input: given,
      message: `is ${takes}${isSecret === true ? '' : `, not ${withoutPassword(showGiven(given))}`}`,
    });
    return z.NEVER;
  });
}

const showGiven = (given: unknown): string =>
  typeof given === 'string' ? given : given === null ? 'empty' : typeof given === 'object' ? 'a list or a group' : JSON.stringify(given);

/** `http://user:secret@host` with what stands for the password hidden. */
export const withoutPassword = (text: string): string => text.replace(/(:\/\/[^/@:]*):[^@]*@/, '$1:(hidden)@');

const shownUrl = (value: unknown): string => withoutPassword(String(value));

const asText = (given: unknown): string | undefined => (typeof given === 'string' && given !== '' ? given : undefined);

export function text(said: Said & Partial<About>): z.ZodType<string | undefined> {
  return optional({ takes: 'text', show: String, ...said }, asText);
}

export function file(said: Said & Partial<About>): z.ZodType<string | undefined> {
  return optional({ takes: 'a path', show: shownUrl, isPath: true, ...said }, asText);
}

export function url(said: Said): z.ZodType<string | undefined> {
  return optional({ takes: 'a URL', show: shownUrl, ...said }, asText);
}

export function secret(said: Said): z.ZodType<string | undefined> {
  return optional({ takes: 'text', show: () => '(hidden)', isSecret: true, ...said }, asText);
}

export function toggle(said: Said): z.ZodType<boolean> {
  return defaulted({ takes: 'true or false', default: 'false', show: String, ...said }, (given) => {
    if (given === true || given === 'true') return true;
    return given === false || given === 'false' ? false : undefined;
  });
}

export function choice<const C extends string>(said: Said, of: readonly C[], standard: C): z.ZodType<C> {
  return defaulted(choosing(said, of, standard), (given) => of.find((one) => one === given));
}

export function optionalChoice<const C extends string>(said: Said, of: readonly C[]): z.ZodType<C | undefined> {
  return optional(choosing(said, of, undefined), (given) => of.find((one) => one === given));
}

function choosing<D extends string | undefined>(
  said: Said,
  of: readonly string[],
  standard: D,
): About & { readonly default: NonNullable<D> } {
  const takes = `${of.slice(0, -1).join(', ')} or ${of.at(-1)}`;
  return { takes, show: String, ...said, ...(standard === undefined ? {} : { default: standard }) } as About & {
    readonly default: NonNullable<D>;
  };
}

export interface Range {
  readonly least: number;
  readonly most: number;
}

const inWords = (n: number): string => String(n);

/** How many shards, and which of them this process runs; null: all, or, in a group, those that are dealt to it. */
export interface Shards {
  readonly count: number;
  readonly owned: readonly number[] | null;
  readonly isGroup: boolean;
}

const SHARDS_MAX = 1024;

/** 16; or of 16 some: 3/16, 0-3/16; or as a group deals them: group/16; or, in a StatefulSet, that of the host's number: ordinal/16, of four pods ordinal:4/16. */
export function shards(said: Said, host: () => string): z.ZodType<Shards | undefined> {
  const takes = `a whole number from 1 to ${SHARDS_MAX}, or which of them run here (0-3/16, ordinal/16, group/16)`;
  const show = (value: unknown): string => {
    const { count, owned, isGroup } = value as Shards;
    if (isGroup) return `group/${count}`;
    return owned === null ? String(count) : `${owned[0]}-${owned.at(-1)}/${count}`;
  };
  return optional<Shards>({ takes, show, ...said }, (given) => {
    const match = /^(?:(?:(\d+)(?:-(\d+))?|ordinal(?::(\d+))?|group)\/)?(\d+)$/.exec(
      typeof given === 'number' ? String(given) : typeof given === 'string' ? given : '',
    );
    if (match === null) return undefined;
    const count = Number(match[4]);
    if (count < 1 || count > SHARDS_MAX) return undefined;
    if (!String(given).includes('/')) return { count, owned: null, isGroup: false };
    if (String(given).startsWith('group')) return { count, owned: null, isGroup: true };
    const all = Array.from({ length: count }, (_, i) => i);
    if (match[1] === undefined) {
      const ordinal = Number(/-(\d+)$/.exec(host())?.[1] ?? Number.NaN),
        pods = Number(match[3] ?? count);
      return ordinal < pods && pods <= count ? { count, owned: all.filter((i) => i % pods === ordinal), isGroup: false } : undefined;
    }
    const from = Number(match[1]),
      to = Number(match[2] ?? match[1]);
    return from <= to && to < count ? { count, owned: all.slice(from, to + 1), isGroup: false } : undefined;
  });
}

export function whole(said: Said, range: Range, standard: number): z.ZodType<number> {
  return defaulted(
    { takes: `a whole number from ${range.least} to ${range.most}`, default: String(standard), show: inWords as About['show'], ...said },
    wholeIn(range),
  );
}

function wholeIn({ least, most }: Range): Read<number> {
  return (given) => {
    const n = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
    return typeof n === 'number' && Number.isInteger(n) && n >= least && n <= most ? n : undefined;
  };
}

const SPANS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];
const SIZES: readonly (readonly [string, number])[] = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
  ['B', 1],
];

/** In milliseconds. */
export function span(said: Said, least: string, most: string, standard: string): z.ZodType<number> {
  return measured(said, 'a time', SPANS, least, most, standard);
}

/** In bytes. */
export function size(said: Said, least: string, most: string, standard: string): z.ZodType<number> {
  return measured(said, 'a size', SIZES, least, most, standard);
}

function measured(
  said: Said,
  what: string,
  units: readonly (readonly [string, number])[],
  least: string,
  most: string,
  standard: string,
): z.ZodType<number> {
  const read: Read<number> = (given) => {
    const match = typeof given === 'string' ? /^(\d+(?:\.\d+)?) ?([A-Za-z]+)$/.exec(given) : null;
    const unit = units.find(([name]) => name === match?.[2]);
    if (match === null || unit === undefined) return undefined;
    const n = Math.round(Number(match[1]) * unit[1]);
    return n >= low && n <= high ? n : undefined;
  };
  let low = 0,
    high = Infinity;
  [low, high] = [read(least)!, read(most)!];
  const show = (value: unknown): string => {
    const [name, factor] = units.find(([, factor]) => (value as number) % factor === 0)!;
    return `${(value as number) / factor}${name}`;
  };
  return defaulted({ takes: `${what} from ${least} to ${most}`, default: standard, show, ...said }, read);
}

/** The first record that counts: a word, or a time in milliseconds. */
export function startPlace(said: Said): z.ZodType<'earliest' | 'latest' | number> {
  const takes = 'earliest, latest or a time such as 2026-01-31T00:00:00Z';
  const show = (value: unknown): string => (typeof value === 'number' ? new Date(value).toISOString() : String(value));
  return defaulted<'earliest' | 'latest' | number>({ takes, default: 'earliest', show, ...said }, (given) => {
    if (given === 'earliest' || given === 'latest') return given;
    const isTime = typeof given === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(given);
    const ms = isTime ? Date.parse(given) : Number.NaN;
    return ms >= 0 ? ms : undefined;
  });
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

export function listen(said: Said): z.ZodType<Listen | undefined> {
  const show = (value: unknown): string => {
    const { host, port } = value as Listen;
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  };
  return optional<Listen>({ takes: 'an address such as 127.0.0.1:9464', show, ...said }, (given) => {
    const match = typeof given === 'string' ? /^(?:\[([0-9a-fA-F:.]+)\]|([^:/?#[\]\s@]+)):(\d{1,5})$/.exec(given) : null;
    return match === null || Number(match[3]) > 65_535 ? undefined : { host: match[1] ?? match[2]!, port: Number(match[3]) };
  });
}
