/** `tally generate`: events that a contract allows, and some that it does not, as lines on stdout or straight into a log. */
import { once } from 'node:events';
import { DEFAULTS, EventSource } from '../generate/event-source.ts';
import type { GenerateOptions } from '../generate/event-source.ts';
import { generateLog } from '../generate/to-log.ts';
import { loadContracts } from '../contracts/read.ts';
import { usage } from '../errors.ts';
import { checkCompression } from '../log/writer.ts';
import { PARTITIONS_MAX, refuseKafka } from '../log/topics.ts';
import { loadJob, shippedContracts } from '../run/load-job.ts';
import { didYouMean } from '../../topology/nearest.ts';
import type { Args, Command } from './command.ts';
import { wholeNumber } from './numbers.ts';
import { startProgress } from './progress.ts';

const EVENTS_MAX = 10_000_000_000,
  KEYS_MAX = 5_000_000,
  SEED_MAX = 2 ** 32 - 1;
const CHUNK_BYTES = 256 * 1024;

export const generate: Command = {
  name: 'generate',
  summary: 'make events by a contract: lines on stdout, or all topics of a job',
  usage:
    '(--contract C | --job JOB --log LOG [--partitions P]) --events N [--seed K] [--duplicates 0.03] [--late 0.01] [--malformed 0.005] [--keys 10000] [--start T] [--span 24h] [--contracts DIR]',
  positionals: { min: 0, max: 0 },
  options: {
    contract: { type: 'string', placeholder: 'C', help: 'events of this contract, as lines on stdout' },
    job: { type: 'string', placeholder: 'JOB', help: 'events of all topics of this job, in their proportions, into --log' },
    log: { type: 'string', placeholder: 'LOG', help: 'with --job: the directory of the log; made when it is missing' },
    partitions: { type: 'string', placeholder: 'P', help: 'with --job: partitions of new topics (1)' },
    compression: { type: 'string', placeholder: 'CODEC', help: 'with --job: none, lz4 (default) or zstd' },
    events: { type: 'string', placeholder: 'N', help: 'how many records, resends and malformed ones included' },
    seed: { type: 'string', placeholder: 'K', help: 'the same seed and options give the same bytes (1)' },
    duplicates: { type: 'string', placeholder: 'SHARE', help: 'exact resends of an earlier event, some time later (0.03)' },
    late: { type: 'string', placeholder: 'SHARE', help: 'events that arrive 10 minutes to 48 hours after they happened (0.01)' },
    malformed: { type: 'string', placeholder: 'SHARE', help: 'records that break the contract, in every way there is (0.005)' },
    conflicts: { type: 'string', placeholder: 'SHARE', help: 'records with the id of an earlier event and another content (0)' },
    keys: { type: 'string', placeholder: 'N', help: "different keys, frequent by Zipf's law (10000)" },
    start: { type: 'string', placeholder: 'T', help: 'when the first one arrives (2026-01-01T00:00:00Z)' },
    span: { type: 'string', placeholder: 'TIME', help: 'from the first arrival to the last: 90m, 24h, 30d (24h)' },
    id: { type: 'string', placeholder: 'FIELD', help: 'with --contract: the id (event_id, or the first that can be)' },
    time: { type: 'string', placeholder: 'FIELD', help: "with --contract: the event's time (event_time, or the first that can be)" },
    contracts: { type: 'string', placeholder: 'DIR', help: 'read the contracts from here' },
  },
  required: ['events'],
  examples: [
    'tally generate --contract ads-click --events 1000 --seed 7 > clicks.jsonl',
    'tally generate --contract telemetry --events 100000 --malformed 0 | tally produce --log log --topic telemetry.events',
    'tally generate --job ads-insights --log log --events 1000000 --partitions 4 --span 30d',
  ],
  run,
};

type Values = Args['values'];
const text = (values: Values, name: string): string | undefined => (typeof values[name] === 'string' ? values[name] : undefined);

async function run(args: Args): Promise<number> {
  const { values } = args,
    job = text(values, 'job'),
    contract = text(values, 'contract');
  if ((job === undefined) === (contract === undefined))
    throw usage('E_USAGE', 'tally generate needs either --contract or --job.', 'tally generate --help shows what it takes.');
  const options = optionsOf(values);
  return job === undefined ? toStdout(contract!, values, options) : intoLog(job, values, options);
}

async function intoLog(job: string, values: Values, options: GenerateOptions): Promise<number> {
  const log = text(values, 'log'),
    partitions = text(values, 'partitions'),
    compression = text(values, 'compression');
  if (log === undefined) throw usage('E_USAGE', '--job needs --log, the log that the events go to.', 'for example --log ./log');
  for (const name of ['id', 'time'])
    if (values[name] !== undefined) throw usage('E_USAGE', `--${name} goes with --contract; a job says it itself.`, `leave --${name} out`);
  refuseKafka(log);
  const { plan, contracts } = await loadJob(job, text(values, 'contracts'));
  const progress = startProgress('generate'),
    { id: _id, time: _time, dimensions: _dimensions, fenceMs: _fence, horizonMs: _horizon, ...said } = options;
  const made = generateLog(plan, contracts, log, {
    ...said,
    ...(partitions === undefined ? {} : { partitions: wholeNumber('--partitions', partitions, 1, PARTITIONS_MAX) }),
    ...(compression === undefined ? {} : { compression: checkCompression(compression) }),
    onProgress: (done) => progress.update(`${done.toLocaleString('en')} of ${options.events.toLocaleString('en')} records`),
  });
  progress.done();
  process.stderr.write(
    `${made.records.toLocaleString('en')} records: ${Object.entries(made.topics)
      .map(([topic, n]) => `${n.toLocaleString('en')} in ${topic}`)
      .join(', ')}\n`,
  );
  return 0;
}

async function toStdout(id: string, values: Values, options: GenerateOptions): Promise<number> {
  for (const name of ['log', 'partitions', 'compression']) {
    if (values[name] !== undefined)
      throw usage('E_USAGE', `--${name} goes with --job; lines of a contract go to stdout.`, 'tally produce puts lines into a log.');
  }
  const { contracts } = loadContracts(text(values, 'contracts') ?? shippedContracts()),
    contract = contracts.get(id);
  if (contract === undefined)
    throw usage(
      'E_CONTRACT',
      `There is no contract "${id}"${didYouMean(id, [...contracts.keys()])}`,
      `There are: ${[...contracts.keys()].join(', ')}.`,
    );
  const source = new EventSource([contract], options),
    { line } = source,
    progress = startProgress('generate');
  let chunk = Buffer.allocUnsafe(CHUNK_BYTES),
    filled = 0;
  for (let n = 0; n < options.events; n++) {
    source.make(n);
    if (filled + line.length + 1 > chunk.length) {
      await put(chunk.subarray(0, filled));
      // stdout may still hold the old one.
      chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, line.length + 1));
      filled = 0;
      progress.update(`${n.toLocaleString('en')} of ${options.events.toLocaleString('en')} lines`);
    }
    line.bytes.copy(chunk, filled, 0, line.length);
    filled += line.length;
    chunk[filled++] = 10;
  }
  await put(chunk.subarray(0, filled));
  progress.done();
  return 0;
}

async function put(bytes: Uint8Array): Promise<void> {
  if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
}

function optionsOf(values: Values): GenerateOptions {
  const whole = (name: string, usual: number, least: number, most: number): number =>
    values[name] === undefined ? usual : wholeNumber(`--${name}`, String(values[name]), least, most);
  const options: GenerateOptions = {
    ...DEFAULTS,
    events: whole('events', DEFAULTS.events, 0, EVENTS_MAX),
    seed: whole('seed', DEFAULTS.seed, 0, SEED_MAX),
    keys: whole('keys', DEFAULTS.keys, 1, KEYS_MAX),
    duplicates: share(values, 'duplicates', DEFAULTS.duplicates),
    late: share(values, 'late', DEFAULTS.late),
    malformed: share(values, 'malformed', DEFAULTS.malformed),
    conflicts: share(values, 'conflicts', DEFAULTS.conflicts),
    startMs: startOf(text(values, 'start')),
    spanMs: durationOf(text(values, 'span')),
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

function durationOf(said: string | undefined): number {
  if (said === undefined) return DEFAULTS.spanMs;
  const m = /^(\d{1,9})([smhd])$/.exec(said),
    ms = m === null ? 0 : Number(m[1]) * UNITS[m[2]!]!;
  if (ms > 0 && ms <= 36_500 * UNITS.d!) return ms;
  throw usage('E_USAGE', `--span is a number with s, m, h or d, not ${said}.`, 'for example --span 24h');
}
