/** `tally produce`: each line of a file or of stdin becomes a record of a topic. Ends when all of it is on disk, or acknowledged by Kafka. */
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { nowMs, randomUint32 } from '../clock.ts';
import { securityFor } from '../config/parts.ts';
import { TallyError, usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openProducer } from '../kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../kafka/produce/topic-writer.ts';
import type { Compression } from '../log/codecs.ts';
import { LineProducer } from '../log/produce-lines.ts';
import type { RecordSink } from '../log/produce-lines.ts';
import { checkCompression, TopicWriter } from '../log/writer.ts';
import { checkTopicName, PARTITIONS_MAX } from '../log/topics.ts';
import { StopSignal } from '../run/signals.ts';
import type { Args, Command } from './command.ts';
import { startProgress } from './progress.ts';

const CHUNK_BYTES = 1024 * 1024;
/** What trickles in is shown to readers this soon, not when a MiB is full. */
const LINGER_MS = 200;
/** A stop waits this long for a broker that does not answer. */
const STOP_MS = 5000;

export const produce: Command = {
  name: 'produce',
  summary: 'append lines to a topic of a log, each as one record',
  usage: '--log LOG --topic T [--partitions N] [--key FIELD] [--compression none|lz4|zstd] [--config FILE] [FILE|-]',
  positionals: { min: 0, max: 1 },
  options: {
    log: {
      type: 'string',
      placeholder: 'LOG',
      help: 'the directory of the log, made when it is missing; or kafka://host:port[,host:port...]',
    },
    topic: { type: 'string', placeholder: 'T', help: 'the topic; made when it is missing, but not on Kafka' },
    partitions: { type: 'string', placeholder: 'N', help: 'partitions of a new topic (default 1); a topic that exists must have as many' },
    key: {
      type: 'string',
      placeholder: 'FIELD',
      help: "the record key is this top-level field's text, and chooses the partition as Kafka does",
    },
    compression: { type: 'string', placeholder: 'CODEC', help: 'none, lz4 (default) or zstd' },
    config: { type: 'string', placeholder: 'FILE', help: "settings of Kafka's TLS and login; TALLY_KAFKA_... variables win over it" },
  },
  required: ['log', 'topic'],
  examples: [
    'tally produce --log log --topic ads.delivery events.jsonl',
    'zcat events.jsonl.gz | tally produce --log log --topic ads.delivery --partitions 4 --key event_id',
    'tally produce --log kafka://127.0.0.1:9092 --topic ads.delivery --key event_id events.jsonl',
  ],
  run: runProduce,
};

/** A topic that lines are appended to. What `finish` came back from is there for good. */
interface LineLog extends RecordSink {
  readonly records: number;
  readonly partitions: number;
  readonly pending: number;
  send(): void;
  /** Until there is room for more. */
  room(): Promise<void>;
  finish(): Promise<void>;
  release(): void | Promise<void>;
}
interface Order {
  readonly log: string;
  readonly topic: string;
  readonly partitions: number | undefined;
  readonly compression: Compression;
  readonly config: string | undefined;
}

async function runProduce(args: Args): Promise<number> {
  const text = (name: string): string | undefined => args.values[name] as string | undefined,
    topic = text('topic')!;
  checkTopicName(topic);
  const order = {
    log: text('log')!,
    topic,
    partitions: wholeNumber(text('partitions')),
    compression: checkCompression(text('compression') ?? 'lz4'),
    config: text('config'),
  };
  const file = args.positionals[0] ?? '-',
    input = openInput(file),
    stop = new StopSignal();
  let line = (): number => 0,
    empty = 0;
  const log = isKafkaUrl(order.log)
    ? await openKafka(
        order,
        () => `line ${line()}`,
        () => input.destroy(),
        stop,
      )
    : openSegments(order);
  try {
    const lines = new LineProducer(log, text('key'));
    line = () => lines.line;
    await appendAll(input, file, lines, log, stop);
    empty = lines.empty;
  } finally {
    stop.release();
    await log.release();
  }
  process.stderr.write(
    `${log.records} records appended to ${topic} (${log.partitions} partition${log.partitions === 1 ? '' : 's'})${empty === 0 ? '' : `, ${empty} empty line${empty === 1 ? '' : 's'} skipped`}${stop.stopped ? ', then stopped' : ''}\n`,
  );
  return 0;
}

function openSegments({ log, topic, partitions, compression }: Order): LineLog {
  const writer = new TopicWriter(log, topic, { compression, ...(partitions === undefined ? {} : { partitions }) });
  return Object.assign(writer, {
    room: async () => {},
    finish: async () => writer.flush(),
    release: () => writer.close(),
  });
}

async function openKafka(order: Order, placeOf: () => string, onFault: () => void, stop: StopSignal): Promise<LineLog> {
  const { log, topic, compression, config } = order;
  const producer = await openProducer(log, [topic], securityFor(log, config)),
    there = producer.partitions(topic);
  if (order.partitions !== undefined && order.partitions !== there) {
    await producer.close();
    throw usage(
      'E_PARTITIONS',
      `Topic "${topic}" has ${there} partition${there === 1 ? '' : 's'}, not ${order.partitions}.`,
      'Leave --partitions out: topics of Kafka are not made here.',
    );
  }
  producer.onFault(onFault);
  stop.onStop(() => producer.hurry(STOP_MS));
  const writer = new KafkaTopicWriter(producer, topic, { compression, placeOf, turn: randomUint32() });
  return Object.assign(writer, {
    room: () => producer.room(),
    finish: async () => {
      writer.send();
      await producer.flush();
    },
    release: () => producer.close(),
  });
}

/** Whole lines that came before a broken input, a line that is refused or a stop are appended; the line that broke off is not. */
async function appendAll(input: Readable, file: string, lines: LineProducer, log: LineLog, stop: StopSignal): Promise<void> {
  const progress = startProgress('produce');
  let fault: unknown;
  const timer = setInterval(() => {
    try {
      if (log.pending > 0) log.send();
    } catch (error) {
      fault ??= error;
      input.destroy();
    }
  }, LINGER_MS);
  stop.onStop(() => input.destroy());
  try {
    for await (const chunk of input) {
      lines.push(chunk as Buffer, nowMs());
      await log.room();
      progress.update(`${log.records} records, ${(lines.bytes / 1e6).toFixed(0)} MB`);
    }
    if (!stop.stopped && fault === undefined) lines.end(nowMs());
  } catch (error) {
    if (!isOfInput(error)) fault ??= error;
    else if (!stop.stopped) fault ??= unreadable(file, error);
  } finally {
    clearInterval(timer);
    progress.done();
  }
  try {
    await log.finish();
  } catch (error) {
    // Sending failed: that is why the input ended.
    fault = fault instanceof TallyError && fault.code !== 'E_INPUT' ? fault : error;
  }
  if (fault !== undefined) throw fault;
}

/** Reading failed, or was ended by a stop; a fault of the log is told as what it is. */
function isOfInput(error: unknown): boolean {
  const { syscall, code } = error as NodeJS.ErrnoException;
  return syscall === 'read' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR';
}

function openInput(file: string): Readable {
  if (file === '-') return process.stdin;
  try {
    const fd = fs.openSync(file, 'r');
    if (!fs.fstatSync(fd).isDirectory()) return fs.createReadStream('', { fd, highWaterMark: CHUNK_BYTES });
    fs.closeSync(fd);
  } catch (cause) {
    throw unreadable(file, cause);
  }
  throw new TallyError('E_INPUT', `${file} is a directory.`, 'Give a file of lines, or - for stdin.');
}

function unreadable(file: string, cause: unknown): TallyError {
  const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const what = isMissing ? `There is no file ${file}.` : `${file === '-' ? 'stdin' : file} cannot be read: ${(cause as Error).message}.`;
  return new TallyError('E_INPUT', what, 'Give a file of lines, or - for stdin.', undefined, cause);
}

function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || n > PARTITIONS_MAX)
    throw usage('E_PARTITIONS', `--partitions ${text} is no number of partitions.`, `Give a whole number from 1 to ${PARTITIONS_MAX}.`);
  return n;
}
