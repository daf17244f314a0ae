/**
 * A log on Kafka as a source: a fetch client of our own, read committed, in step. What could make a count wrong is asked before the first
 * record: a topic that was made anew, records that are gone, producers who may write into the future.
 */
import type { ReadTo } from '../../topology/shard.ts';
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { GapError } from '../kafka/faults.ts';
import { openKafkaLog } from '../kafka/log.ts';
import type { KafkaLog } from '../kafka/log.ts';
import type { KafkaPartitionReader } from '../kafka/partition-queue.ts';
import { InStep } from '../log/in-step.ts';
import { Pause } from '../pause.ts';
import type { Passed, Place, Source, SourceOrder, Start } from './source.ts';

/** Offsets are told to the group this often at most. */
const TELL_MS = 5_000;
/** A partition that gives nothing for so long is spoken of. */
const HELD_MS = 10_000;

export async function openKafkaSource(order: SourceOrder, onTrouble: (sentence: string) => void): Promise<Source> {
  const arrived = new Pause(),
    { kafka } = order;
  const log = await openKafkaLog(order.log, topicsOf(order.places), {
    ...kafka.security,
    bufferBytes: kafka.bufferBytes,
    onData: () => arrived.wake(),
    onTrouble: once(onTrouble),
  });
  try {
    if (!kafka.allowFutureTimes) for (const topic of topicsOf(order.places)) await checkTimes(log, topic, order.fenceMs);
    const starts = await startsOf(log, order);
    const ends = order.ends ?? (order.untilEnd ? await endsOf(log, order.places, onTrouble) : undefined);
    return new KafkaSource(log, order, starts, ends, arrived, onTrouble);
  } catch (error) {
    await log.close();
    throw error;
  }
}

const topicsOf = (places: readonly Pick<Place, 'topic'>[]): string[] => [...new Set(places.map((p) => p.topic))];

class KafkaSource implements Source {
  readonly step: InStep;
  readonly starts: readonly Start[];
  private readonly log: KafkaLog;
  private readonly order: SourceOrder;
  private readonly readers: KafkaPartitionReader[];
  private readonly arrived: Pause;
  private readonly onTrouble: (sentence: string) => void;
  private toldAt = -Infinity;
  private telling = false;
  private heldFor = '';

  constructor(
    log: KafkaLog,
    order: SourceOrder,
    starts: readonly Start[],
    ends: readonly number[] | undefined,
    arrived: Pause,
    onTrouble: (sentence: string) => void,
  ) {
    this.log = log;
    this.order = order;
    this.starts = starts;
    this.arrived = arrived;
    this.onTrouble = onTrouble;
    this.readers = order.places.map(({ topic, partition, leaderEpoch }, i) =>
      log.reader({
        topic,
        partition,
        offset: starts[i]!.offset,
        topicId: starts[i]!.topicId,
        leaderEpoch: order.from === null ? leaderEpoch : -1,
      }),
    );
    this.step = new InStep([...this.readers], ends, order.kafka.maxSkewMs);
  }

  ends(): number[] {
    return this.readers.map((reader) => Math.max(reader.position, reader.highWatermark));
  }

  async news(waitMs: number): Promise<void> {
    this.sayHeld();
    await this.arrived.sleep(waitMs);
  }

  private sayHeld(): void {
    const held = this.step.held();
    const who = held === undefined || monotonicMs() - held.sinceMs < HELD_MS ? '' : `${held.topic}/${held.partition}`;
    if (who !== '' && who !== this.heldFor)
      this.onTrouble(
        `${who} gives nothing and is not at its end: no window becomes final, and the other partitions read on ${this.order.kafka.maxSkewMs / 3_600_000} h at most (an unreachable leader, or a transaction that nobody ends)`,
      );
    this.heldFor = who;
  }

  pass(error: unknown): Passed | undefined {
    if (!(error instanceof GapError) || this.order.kafka.onGap !== 'record') return undefined;
    const { kind, topic, partition, from, to, resumeAt } = error.gap,
      place = this.order.places.findIndex((p) => p.topic === topic && p.partition === partition),
      topicId = this.log.topicId(topic);
    this.readers[place]!.close();
    const reader = this.log.reader({ topic, partition, offset: resumeAt, topicId });
    this.readers[place] = reader;
    this.step.replace(place, reader);
    const known = (offset: number): number | null => (offset < 0 ? null : offset);
    return { place, offset: resumeAt, topicId, sentence: error.message, gap: kind, from: known(from), to: known(to) };
  }

  committed(readTo: readonly ReadTo[]): void {
    const { group } = this.order.kafka,
      now = monotonicMs();
    if (group === null || this.telling || now - this.toldAt < TELL_MS) return;
    this.toldAt = now;
    this.telling = true;
    this.log
      .commit(group, readTo)
      .catch((error: Error) => this.onTrouble(`lag tools are not told where we are: ${error.message}`))
      .finally(() => (this.telling = false));
  }

  close(): Promise<void> {
    this.step.close();
    return this.log.close();
  }
}

export async function startsOf(log: KafkaLog, { places, from }: Pick<SourceOrder, 'places' | 'from'>): Promise<Start[]> {
  if (from === null) return places.map((p) => ({ offset: p.offset, topicId: p.topicId === '' ? log.topicId(p.topic) : p.topicId }));
  const byTopic = new Map<string, number[]>();
  for (const topic of topicsOf(places)) {
    const asked =
      from === 'earliest' ? log.startOffsets(topic) : from === 'latest' ? log.endOffsets(topic) : log.offsetsForTime(topic, from);
    byTopic.set(topic, await asked);
  }
  return places.map((p) => ({ offset: byTopic.get(p.topic)![p.partition]!, topicId: log.topicId(p.topic) }));
}

/** Last stable offsets: what stands above them belongs to transactions that are not decided, and is named. */
export async function endsOf(
  log: KafkaLog,
  places: readonly Pick<Place, 'topic' | 'partition'>[],
  onTrouble: (sentence: string) => void,
): Promise<number[]> {
  const stable = new Map<string, number[]>();
  for (const topic of topicsOf(places)) {
    const ends = await log.endOffsets(topic),
      highs = await log.highWatermarks(topic);
    stable.set(topic, ends);
    for (const [partition, end] of ends.entries()) {
      if (highs[partition]! > end)
        onTrouble(
          `${topic}/${partition}: ${highs[partition]! - end} records from offset ${end} on are not read: a transaction before them is not decided`,
        );
    }
  }
  return places.map((p) => stable.get(p.topic)![p.partition]!);
}

/** Producers' own times are believed up to the fence: a topic that takes times beyond it would fill the quarantine, or worse, the watermark. */
async function checkTimes(log: KafkaLog, topic: string, fenceMs: number): Promise<void> {
  const TYPE = 'message.timestamp.type',
    AFTER = 'message.timestamp.after.max.ms';
  const config = await log.topicConfig(topic, [TYPE, AFTER]);
  const after = config.get(AFTER);
  if (config.get(TYPE) !== 'CreateTime' || after === undefined || Number(after) <= fenceMs) return;
  throw new TallyError(
    'E_KAFKA_TIMES',
    `Topic '${topic}' takes records whose time lies up to ${after} ms ahead; the job trusts record times up to ${fenceMs} ms ahead (its fence).`,
    `Set ${AFTER}=${fenceMs} (or ${TYPE}=LogAppendTime) on the topic, or start with --allow-future-times.`,
  );
}

/** What is said again and again is told once, until something else is. */
function once(tell: (sentence: string) => void): (sentence: string) => void {
  let last = '';
  return (sentence) => {
    if (sentence !== last) tell(sentence);
    last = sentence;
  };
}
