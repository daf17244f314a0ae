/**
 * Spoils a valid event, each time in one way out of all that its contract can be broken: not one JSON object, a field missing, of
 * another type, out of range, not valid; where records carry an arrival time also too far in the future, or older than the
 * horizon. Rare, so it may take its time.
 */
import type { Line } from './line.ts';
import type { Random } from './random.ts';
import type { Contract, Field } from '../../topology/contract/model.ts';

export interface Arrival {
  readonly id: Field;
  readonly time: Field;
  readonly arrivalMs: number;
  readonly fenceMs: number | null;
  readonly horizonMs: number | null;
}
type Event = Record<string, unknown>;
type Spoil = (line: Line, event: Event, arrival: Arrival) => void;

const DAY = 86_400_000;
const known = new WeakMap<Contract, readonly Spoil[]>();

export function malform(line: Line, random: Random, contract: Contract, arrival: Arrival): void {
  let ways = known.get(contract);
  if (ways === undefined) known.set(contract, (ways = [...broken(), ...contract.fields.flatMap(ofField), ...timed(arrival)]));
  const event = JSON.parse(line.bytes.toString('utf8', 0, line.length)) as Event;
  ways[random.below(ways.length)]!(line, event, arrival);
}

function replace(line: Line, bytes: Uint8Array): void {
  line.length = 0;
  line.put(bytes);
}
const write = (line: Line, event: unknown): void => replace(line, Buffer.from(JSON.stringify(event)));

/** UNPARSEABLE. */
function broken(): Spoil[] {
  return [
    (line) => void (line.length = Math.max(1, line.length >> 1)),
    (line) => replace(line, Buffer.from('not json')),
    (line) => void (line.bytes[line.length - 1] = 0xff),
    (line, event) => write(line, [event]),
    (line, event, { id }) => {
      const text = JSON.stringify(event),
        name = JSON.stringify(id.name);
      replace(line, Buffer.from(`${text.slice(0, -1)},${name}:${JSON.stringify(event[id.name])}}`));
    },
    (line, event) => replace(line, Buffer.from(`${JSON.stringify(event).slice(0, -1)},"note":"\\ud800"}`)),
    (line, event) => replace(line, Buffer.from(`\ufeff${JSON.stringify(event)}`)),
    (line, event) => write(line, JSON.stringify(event)),
  ];
}

/** The event with another value of the field. */
const set =
  (field: Field, value: unknown): Spoil =>
  (line, event) =>
    write(line, { ...event, [field.name]: value });
/** The same by JSON text, which may say what no JavaScript number can. */
const setText =
  (field: Field, json: string): Spoil =>
  (line, event) => {
    const marked = JSON.stringify({ ...event, [field.name]: '\u0001' });
    replace(line, Buffer.from(marked.replace('"\\u0001"', () => json)));
  };

function ofField(f: Field): Spoil[] {
  const out: Spoil[] = [];
  if (f.required) {
    out.push(set(f, null), (line, event) => {
      const { [f.name]: _, ...rest } = event;
      write(line, rest);
    });
  }
  out.push(...ofType(f));
  return out;
}

function ofType(f: Field): Spoil[] {
  switch (f.type) {
    case 'string':
      return [set(f, 17), ...ofString(f)];
    case 'boolean':
      return [set(f, 'yes'), set(f, 1)];
    case 'integer':
      return [set(f, '12'), set(f, 1.5), setText(f, '9223372036854775808'), ...ofNumber(f)];
    case 'number':
      return [set(f, '1.5'), setText(f, '1e999'), ...ofNumber(f)];
    case 'timestamp':
      return f.time === 'epoch_millis'
        ? [set(f, '2026-01-01T00:00:00Z'), set(f, -1), set(f, Date.UTC(2106, 0, 1)), set(f, 0.5)]
        : [
            set(f, 1_767_225_600_000),
            set(f, '2106-01-01T00:00:00Z'),
            set(f, '2026-02-30T00:00:00Z'),
            set(f, '2026-01-01 00:00'),
            set(f, ''),
          ];
    case 'date':
      return [set(f, 20260101), set(f, '2026-02-30'), set(f, '01.02.2026')];
  }
}

function ofString(f: Field): Spoil[] {
  const out: Spoil[] = [];
  if ((f.minLength ?? 0) > 0) out.push(set(f, ''));
  if (f.maxLength !== null) out.push(set(f, 'x'.repeat(f.maxLength + 1)));
  if (f.pattern !== null || f.validPattern !== null || f.validValues !== null || f.format !== null) out.push(set(f, '??'));
  return out;
}

function ofNumber(f: Field): Spoil[] {
  const out: Spoil[] = [];
  if (f.minimum !== null) out.push(set(f, Number(f.minimum) - 1));
  if (f.maximum !== null) out.push(set(f, Number(f.maximum) + 1));
  if (f.exclusiveMinimum !== null) out.push(setText(f, f.exclusiveMinimum));
  if (f.exclusiveMaximum !== null) out.push(setText(f, f.exclusiveMaximum));
  if (f.scale !== null && f.type === 'number') out.push(setText(f, `0.${'0'.repeat(f.scale)}1`));
  return out;
}

/** FUTURE_TIME and EXPIRED: the event is as its contract asks, but its time does not fit its arrival. */
function timed(arrival: Arrival): Spoil[] {
  const { fenceMs, horizonMs, time } = arrival,
    out: Spoil[] = [];
  const at = (line: Line, event: Event, ms: number): void =>
    write(line, { ...event, [time.name]: time.time === 'iso8601' ? new Date(ms).toISOString() : ms });
  if (fenceMs !== null) out.push((line, event, { arrivalMs }) => at(line, event, arrivalMs + fenceMs + 60_000));
  if (horizonMs !== null) out.push((line, event, { arrivalMs }) => at(line, event, Math.max(0, arrivalMs - horizonMs - 3 * DAY)));
  return out;
}
