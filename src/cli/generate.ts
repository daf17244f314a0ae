/** `tally generate`: events that a contract allows, and some that it does not, as lines on stdout or straight into a log. */
import { once } from 'node:events';
import { EventSource } from '../generate/event-source.ts';
import type { GenerateOptions } from '../generate/event-source.ts';
import { sendAtRate } from '../generate/at-rate.ts';
import type { RateReport } from '../generate/at-rate.ts';
import { JobEvents } from '../generate/job-events.ts';
import { generateToKafka, KafkaTarget, openKafkaTarget } from '../generate/to-kafka.ts';
import { generateLog, SegmentTarget } from '../generate/to-log.ts';
import { monotonicMs, nowMs } from '../clock.ts';
import { securityFor } from '../config/parts.ts';
import { loadContracts } from '../contracts/read.ts';
import { usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import type { Security } from '../kafka/security.ts';
import { checkCompression } from '../log/writer.ts';
import { PARTITIONS_MAX } from '../log/topics.ts';
import { loadJob, shippedContracts } from '../run/load-job.ts';
import { StopSignal } from '../run/signals.ts';
import { didYouMean } from '../../topology/nearest.ts';
import type { Args, Command } from './command.ts';
import { optionsOf, rateOf, text } from './generate-options.ts';
import type { Rate } from './generate-options.ts';
import { wholeNumber } from './numbers.ts';
import { startProgress } from './progress.ts';

const CHUNK_BYTES = 256 * 1024;
/** A stop waits this long for a broker that does not answer. */
const STOP_MS = 5000;

export const generate: Command = {
  name: 'generate',
  summary: 'make events by a contract: lines on stdout, or all topics of a job',
  usage:
    '(--contract C | --job JOB --log LOG [--partitions P]) (--events N | --rate R --for TIME [--json]) [--seed K] [--duplicates 0.03] [--late 0.01] [--malformed 0.005] [--keys 10000] [--start T] [--span 24h] [--contracts DIR]',
  positionals: { min: 0, max: 0 },
  options: {
    contract: { type: 'string', placeholder: 'C', help: 'events of this contract, as lines on stdout' },
    job: { type: 'string', placeholder: 'JOB', help: 'events of all topics of this job, in their proportions, into --log' },
    log: {
      type: 'string',
      placeholder: 'LOG',
      help: 'with --job: the directory of the log, made when it is missing; or kafka://host:port[,host:port...]',
    },
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
    disorder: { type: 'string', placeholder: 'TIME', help: 'the rest arrive within this after they happened, most within seconds (3m)' },
    rate: { type: 'string', placeholder: 'R', help: 'with --job and --for: so many records a second, each sent when it is due' },
    for: { type: 'string', placeholder: 'TIME', help: 'with --rate: how long the rate is kept: 60s, 10m' },
    span: { type: 'string', placeholder: 'TIME', help: 'from the first arrival to the last: 90m, 24h, 30d (24h)' },
    id: { type: 'string', placeholder: 'FIELD', help: 'with --contract: the id (event_id, or the first that can be)' },
    time: { type: 'string', placeholder: 'FIELD', help: "with --contract: the event's time (event_time, or the first that can be)" },
    contracts: { type: 'string', placeholder: 'DIR', help: 'read the contracts from here' },
    config: { type: 'string', placeholder: 'FILE', help: "settings of Kafka's TLS and login; TALLY_KAFKA_... variables win over it" },
    json: { type: 'boolean', help: 'with --rate: print the report as one JSON object' },
  },
  examples: [
    'tally generate --contract ads-click --events 1000 --seed 7 > clicks.jsonl',
    'tally generate --contract telemetry --events 100000 --malformed 0 | tally produce --log log --topic telemetry.events',
    'tally generate --job ads-insights --log log --events 1000000 --partitions 4 --span 30d',
    'tally generate --job ads-insights --log kafka://127.0.0.1:9092 --rate 50000 --for 60s --disorder 30s --json',
  ],
  run,
};

type Values = Args['values'];

async function run(args: Args): Promise<number> {
  const { values } = args,
    job = text(values, 'job'),
    contract = text(values, 'contract');
  if ((job === undefined) === (contract === undefined))
    throw usage('E_USAGE', 'tally generate needs either --contract or --job.', 'tally generate --help shows what it takes.');
  const options = optionsOf(values);
  return job === undefined ? toStdout(contract!, values, options) : intoLog(job, values, options);
}

interface Order {
  readonly job: string;
  readonly log: string;
  readonly values: Values;
  readonly options: Omit<GenerateOptions, 'id' | 'time' | 'dimensions' | 'fenceMs' | 'horizonMs'>;
  readonly partitions?: number;
  readonly compression?: ReturnType<typeof checkCompression>;
}

async function intoLog(job: string, values: Values, options: GenerateOptions): Promise<number> {
  const log = text(values, 'log'),
    partitions = text(values, 'partitions'),
    compression = text(values, 'compression'),
    rate = rateOf(values);
  if (log === undefined) throw usage('E_USAGE', '--job needs --log, the log that the events go to.', 'for example --log ./log');
  for (const name of ['id', 'time'])
    if (values[name] !== undefined) throw usage('E_USAGE', `--${name} goes with --contract; a job says it itself.`, `leave --${name} out`);
  if (partitions !== undefined && isKafkaUrl(log))
    throw usage('E_USAGE', '--partitions goes with a log of files: topics of Kafka are not made here.', 'leave --partitions out');
  if (values['json'] === true && rate === undefined) throw usage('E_USAGE', '--json goes with --rate.', 'leave --json out');
  const { id: _id, time: _time, dimensions: _dimensions, fenceMs: _fence, horizonMs: _horizon, ...said } = options;
  const order: Order = {
    job,
    log,
    values,
    options: said,
    ...(partitions === undefined ? {} : { partitions: wholeNumber('--partitions', partitions, 1, PARTITIONS_MAX) }),
    ...(compression === undefined ? {} : { compression: checkCompression(compression) }),
  };
  return rate === undefined ? atOnce(order) : atRate(order, rate);
}

const securityOf = ({ log, values }: Order): Security => securityFor(log, text(values, 'config'));

async function atOnce(order: Order): Promise<number> {
  const { job, log, values, options, partitions, compression } = order,
    { plan, contracts } = await loadJob(job, text(values, 'contracts')),
    progress = startProgress('generate');
  const all = {
    ...options,
    ...(partitions === undefined ? {} : { partitions }),
    ...(compression === undefined ? {} : { compression }),
    onProgress: (done: number) => progress.update(`${done.toLocaleString('en')} of ${options.events.toLocaleString('en')} records`),
  };
  const made = isKafkaUrl(log)
    ? await generateToKafka(plan, contracts, log, { ...all, security: securityOf(order) })
    : generateLog(plan, contracts, log, all);
  progress.done();
  tell(made.records, made.topics);
  return 0;
}

/** Without --start, an event arrives when it is due: latency can be taken from the log's times. */
async function atRate(order: Order, { rate, forMs, records }: Rate): Promise<number> {
  const { job, log, values, options, compression } = order,
    { plan, contracts } = await loadJob(job, text(values, 'contracts')),
    stop = new StopSignal(),
    progress = startProgress('generate');
  let startMs = options.startMs,
    startedAt = 0,
    acknowledgedLagMs = 0;
  const target = isKafkaUrl(log)
    ? await openKafkaTarget(plan, log, {
        security: securityOf(order),
        ...(compression === undefined ? {} : { compression }),
        onAcknowledged: (dueMs) => (acknowledgedLagMs = Math.max(acknowledgedLagMs, monotonicMs() - startedAt - (dueMs - startMs))),
      })
    : new SegmentTarget(plan, log, order);
  if (target instanceof KafkaTarget) stop.onStop(() => target.hurry(STOP_MS));
  try {
    if (values['start'] === undefined) startMs = nowMs();
    const events = new JobEvents(plan, contracts, { ...options, startMs, spanMs: forMs });
    startedAt = monotonicMs();
    const report = await sendAtRate(events, target, {
      records,
      rate,
      now: monotonicMs,
      wait: (ms) => new Promise((resolve) => (ms > 0 ? setTimeout(resolve, ms) : setImmediate(resolve))),
      isStopped: () => stop.stopped,
      onProgress: (sent, lagMs) => progress.update(`${sent.toLocaleString('en')} records, ${lagMs.toFixed(0)} ms behind`),
    });
    await target.finish();
    progress.done();
    const all = { rate, ...report, ...(isKafkaUrl(log) ? { acknowledgedLagMaxMs: acknowledgedLagMs } : {}), topics: target.counts() };
    if (values['json'] === true) process.stdout.write(`${JSON.stringify(all)}\n`);
    else tell(report.sent, all.topics, report);
    return 0;
  } finally {
    stop.release();
    await target.close();
  }
}

function tell(records: number, topics: Readonly<Record<string, number>>, report?: RateReport): void {
  const number = (n: number): string => n.toLocaleString('en'),
    each = Object.entries(topics).map(([topic, n]) => `${number(n)} in ${topic}`);
  process.stderr.write(`${number(records)} records: ${each.join(', ')}\n`);
  if (report === undefined) return;
  const { scheduled, sent, sentOnTime, seconds, lagMaxMs } = report;
  process.stderr.write(
    `${number(scheduled)} scheduled, ${number(sent)} sent in ${seconds.toFixed(1)} s, ${number(sentOnTime)} of them before the schedule ended; at most ${lagMaxMs.toFixed(0)} ms late\n`,
  );
}

async function toStdout(id: string, values: Values, options: GenerateOptions): Promise<number> {
  for (const name of ['log', 'partitions', 'compression', 'rate', 'for', 'json', 'config']) {
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
