/** `tally produce`: each line of a file or of stdin becomes a record of a topic. Ends when all of it is on disk. */
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { nowMs } from '../clock.ts';
import { TallyError, usage } from '../errors.ts';
import { LineProducer } from '../log/produce-lines.ts';
import { checkCompression, TopicWriter } from '../log/writer.ts';
import { checkTopicName, PARTITIONS_MAX, refuseKafka } from '../log/topics.ts';
import { StopSignal } from '../run/signals.ts';
import type { Args, Command } from './command.ts';
import { startProgress } from './progress.ts';

const CHUNK_BYTES = 1024 * 1024;
/** What trickles in is shown to readers this soon, not when a MiB is full. */
const LINGER_MS = 200;

export const produce: Command = {
  name: 'produce',
  summary: 'append lines to a topic of a log, each as one record',
  usage: '--log LOG --topic T [--partitions N] [--key FIELD] [--compression none|lz4|zstd] [FILE|-]',
  positionals: { min: 0, max: 1 },
  options: {
    log: { type: 'string', placeholder: 'LOG', help: 'the directory of the log; made when it is missing' },
    topic: { type: 'string', placeholder: 'T', help: 'the topic; made when it is missing' },
    partitions: { type: 'string', placeholder: 'N', help: 'partitions of a new topic (default 1); a topic that exists must have as many' },
    key: {
      type: 'string',
      placeholder: 'FIELD',
      help: "the record key is this top-level field's text, and chooses the partition as Kafka does",
    },
    compression: { type: 'string', placeholder: 'CODEC', help: 'none, lz4 (default) or zstd' },
  },
  required: ['log', 'topic'],
  examples: [
    'tally produce --log log --topic ads.delivery events.jsonl',
    'zcat events.jsonl.gz | tally produce --log log --topic ads.delivery --partitions 4 --key event_id',
  ],
  run: runProduce,
};

async function runProduce(args: Args): Promise<number> {
  const log = args.values['log'] as string,
    topic = args.values['topic'] as string,
    keyField = args.values['key'] as string | undefined;
  refuseKafka(log);
  checkTopicName(topic);
  const partitions = wholeNumber(args.values['partitions'] as string | undefined);
  const compression = checkCompression((args.values['compression'] as string | undefined) ?? 'lz4');
  const file = args.positionals[0] ?? '-',
    input = openInput(file);
  const writer = new TopicWriter(log, topic, { compression, ...(partitions === undefined ? {} : { partitions }) });
  const stop = new StopSignal();
  try {
    await appendAll(input, file, new LineProducer(writer, keyField), writer, stop);
  } finally {
    stop.release();
    writer.close();
  }
  process.stderr.write(
    `${writer.records} records appended to ${topic} (${writer.partitions} partition${writer.partitions === 1 ? '' : 's'})${stop.stopped ? ', then stopped' : ''}\n`,
  );
  return 0;
}

/** Whole lines that came before a broken input or a stop are appended; the line that broke off is not. */
async function appendAll(input: Readable, file: string, lines: LineProducer, writer: TopicWriter, stop: StopSignal): Promise<void> {
  const progress = startProgress('produce');
  let fault: unknown;
  const timer = setInterval(() => {
    try {
      if (writer.pending > 0) writer.send();
    } catch (error) {
      fault = error;
      input.destroy();
    }
  }, LINGER_MS);
  stop.onStop(() => input.destroy());
  try {
    for await (const chunk of input) {
      lines.push(chunk as Buffer, nowMs());
      progress.update(`${writer.records} records, ${(lines.bytes / 1e6).toFixed(0)} MB`);
    }
    if (!stop.stopped && fault === undefined) lines.end(nowMs());
  } catch (error) {
    if (fault === undefined && !isOfInput(error)) throw error;
    if (fault === undefined && !stop.stopped) throw unreadable(file, error);
  } finally {
    clearInterval(timer);
    progress.done();
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
