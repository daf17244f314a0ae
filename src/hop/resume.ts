/**
 * Where a writer goes on: the last marker of each partition of the hop says up to where the source has been sent to it; the least of them
 * holds for all. Markers are looked for from the end backwards, in steps that grow.
 */
import { decodeBatch } from '../../topology/consume/cursor.ts';
import { Records } from '../../topology/consume/records.ts';
import { decodeMarker, isMarker } from '../../topology/hop/format.ts';
import type { Marker, SourceMark, Stamp } from '../../topology/hop/format.ts';
import { TallyError } from '../errors.ts';
import { checkStamp } from './faults.ts';
import type { KafkaLog } from '../kafka/log.ts';
import { codecs } from '../log/codecs.ts';
import type { Pause } from '../pause.ts';

/** Records, at the first look; then four times as many. */
const STEP = 1000;
const LOOK_MS = 50;

/** By source partition; those of which nothing was ever sent are missing. */
export type Marks = ReadonlyMap<number, SourceMark>;

/** `partitions`: those of the source that are asked for. `arrived` is woken by the log. */
export async function lastMarks(log: KafkaLog, arrived: Pause, topic: string, partitions: readonly number[], stamp: Stamp): Promise<Marks> {
  const starts = await log.startOffsets(topic),
    ends = await log.endOffsets(topic),
    least = new Map<number, SourceMark>();
  const unheard = new Map<number, number>();
  for (const [hop, end] of ends.entries()) {
    const found = await backwards(log, arrived, topic, hop, starts[hop]!, end, partitions, stamp);
    for (const partition of partitions) {
      const mark = found.get(partition),
        before = least.get(partition);
      if (mark === undefined) unheard.set(partition, hop);
      else if (before === undefined || mark.next < before.next) least.set(partition, mark);
    }
    if (found.size < partitions.length && starts[hop]! > 0) throw cut(topic, hop);
  }
  // A writer's first marker reached some partitions and not others: no record of that source was sent yet.
  for (const [partition] of unheard) {
    const mark = least.get(partition);
    if (mark !== undefined) least.set(partition, { ...mark, next: beginOf(mark), high: -1, leaderEpoch: -1 });
  }
  return least;
}

const beginOf = ({ skipped }: SourceMark): number => (skipped[0]?.[0] === 0 ? skipped[0][1] : 0);

/** Retention was faster than this writer, or it never wrote. */
function cut(topic: string, partition: number): TallyError {
  return new TallyError(
    'E_HOP_GAP',
    `the internal topic '${topic}', partition ${partition}, no longer says how far it was written: its beginning was removed, and nothing of this writer is left`,
    'nobody wrote to it for longer than its retention; count anew: delete the topic, and the state with tally drop',
  );
}

async function backwards(
  log: KafkaLog,
  arrived: Pause,
  topic: string,
  hop: number,
  start: number,
  end: number,
  partitions: readonly number[],
  stamp: Stamp,
): Promise<Map<number, SourceMark>> {
  const found = new Map<number, SourceMark>();
  for (let to = end, step = STEP; to > start && found.size < partitions.length; step *= 4) {
    const from = Math.max(start, to - step),
      marks = new Map<number, SourceMark>();
    await markers(log, arrived, { topic, partition: hop, from, to }, (marker) => {
      checkStamp(topic, marker, stamp);
      for (const mark of marker.sources) if (partitions.includes(mark.partition)) marks.set(mark.partition, mark);
    });
    for (const [partition, mark] of marks) if (!found.has(partition)) found.set(partition, mark);
    to = from;
  }
  return found;
}

async function markers(
  log: KafkaLog,
  arrived: Pause,
  range: { readonly topic: string; readonly partition: number; readonly from: number; readonly to: number },
  hear: (marker: Marker) => void,
): Promise<void> {
  const reader = log.reader({ topic: range.topic, partition: range.partition, offset: range.from }),
    records = new Records(undefined, true);
  try {
    while (reader.position < range.to) {
      const batch = reader.peek();
      if (batch === undefined) {
        await arrived.sleep(LOOK_MS);
        continue;
      }
      decodeBatch(batch.bytes, records, codecs);
      for (let i = 0; i < records.count; i++)
        if (records.offset[i]! >= range.from && records.offset[i]! < range.to && isMarker(records, i)) hear(decodeMarker(records, i));
      reader.advance();
    }
  } finally {
    reader.close();
  }
}
