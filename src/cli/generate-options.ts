/** What `tally generate` was told, as numbers within their bounds, or a sentence that says what was expected. */
import { DEFAULTS } from '../generate/event-source.ts';
import type { GenerateOptions } from '../generate/event-source.ts';
import { usage } from '../errors.ts';
import type { Args } from './command.ts';
import { wholeNumber } from './numbers.ts';

const EVENTS_MAX = 10_000_000_000,
  KEYS_MAX = 5_000_000,
  SEED_MAX = 2 ** 32 - 1,
  RATE_MAX = 10_000_000;

type Values = Args['values'];
export const text = (values: Values, name: string): string | undefined => (typeof values[name] === 'string' ? values[name] : undefined);

export function optionsOf(values: Values): GenerateOptions {
  const whole = (name: string, usual: number, least: number, most: number): number =>
    values[name] === undefined ? usual : wholeNumber(`--${name}`, String(values[name]), least, most);
  const options: GenerateOptions = {
    ...DEFAULTS,
    events: eventsOf(values),
    seed: whole('seed', DEFAULTS.seed, 0, SEED_MAX),
    keys: whole('keys', DEFAULTS.keys, 1, KEYS_MAX),
    duplicates: share(values, 'duplicates', DEFAULTS.duplicates),
    late: share(values, 'late', DEFAULTS.late),
    malformed: share(values, 'malformed', DEFAULTS.malformed),
    conflicts: share(values, 'conflicts', DEFAULTS.conflicts),
    startMs: startOf(text(values, 'start')),
    spanMs: durationOf('span', text(values, 'span'), DEFAULTS.spanMs, 1),
    disorderMs: durationOf('disorder', text(values, 'disorder'), DEFAULTS.disorderMs, 0),
    id: text(values, 'id') ?? null,
    time: text(values, 'time') ?? null,
  };
  if (options.duplicates + options.malformed + options.conflicts > 1)
    throw usage('E_USAGE', '--duplicates, --malformed and --conflicts are more than all records together.', 'they are shares: 0.03 is 3 %');
  return options;
}

function share(values: Values, name: string, usual: number): number {
  const said = text(values, name);
  if (said === undefined) return usual;
  if (/^\d*\.?\d+$/.test(said) && Number(said) <= 1) return Number(said);
  throw usage('E_USAGE', `--${name} is a share from 0 to 1, not ${said}.`, `for example --${name} ${usual || 0.01}`);
}

function startOf(said: string | undefined): number {
  if (said === undefined) return DEFAULTS.startMs;
  const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(said) ? Date.parse(said) : NaN;
  if (ms >= 0 && ms < Date.UTC(2105, 0, 1)) return ms;
  throw usage('E_USAGE', `--start is a time with a zone, not ${said}.`, 'for example --start 2026-01-01T00:00:00Z');
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationOf(name: string, said: string | undefined, usual: number, least: number): number {
  if (said === undefined) return usual;
  const m = /^(\d{1,9})([smhd])$/.exec(said),
    ms = m === null ? -1 : Number(m[1]) * UNITS[m[2]!]!;
  if (ms >= least && ms <= 36_500 * UNITS.d!) return ms;
  throw usage(
    'E_USAGE',
    `--${name} is a number with s, m, h or d, not ${said}.`,
    `for example --${name} ${name === 'span' ? '24h' : '60s'}`,
  );
}

function eventsOf(values: Values): number {
  if (values['rate'] !== undefined) return rateOf(values)!.records;
  if (values['events'] === undefined)
    throw usage('E_USAGE', 'tally generate needs --events.', 'tally generate --help shows what it takes.');
  return wholeNumber('--events', String(values['events']), 0, EVENTS_MAX);
}

export interface Rate {
  readonly rate: number;
  readonly forMs: number;
  readonly records: number;
}

/** `--rate R --for TIME`: how many a second, and for how long; undefined without. */
export function rateOf(values: Values): Rate | undefined {
  const said = text(values, 'rate'),
    duration = text(values, 'for');
  if (said === undefined) {
    if (duration !== undefined) throw usage('E_USAGE', '--for goes with --rate.', 'for example --rate 50000 --for 60s');
    return undefined;
  }
  for (const name of ['events', 'span'])
    if (values[name] !== undefined)
      throw usage('E_USAGE', `--rate and --${name} do not go together.`, 'for example --rate 50000 --for 60s');
  if (duration === undefined) throw usage('E_USAGE', '--rate needs --for, how long it is kept.', 'for example --rate 50000 --for 60s');
  const rate = wholeNumber('--rate', said, 1, RATE_MAX),
    forMs = durationOf('for', duration, 0, 1);
  return { rate, forMs, records: Math.round((rate * forMs) / 1000) };
}
