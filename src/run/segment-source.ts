/** A log on disk as a source: it is read from its beginning, and looked at, for it does not say when something came. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readInStep } from '../log/in-step.ts';
import { CRC_AT, uint32At } from '../../topology/consume/batch-header.ts';
import { changed } from '../log/faults.ts';
import { openLog } from '../log/segments.ts';
import type { SegmentLog } from '../log/segments.ts';
import type { Place, Source, SourceOrder } from './source.ts';

export function openSegmentSource({ log: dir, places, untilEnd }: SourceOrder): Source {
  const log = openLog(dir);
  try {
    for (const place of places) checkSame(log, place);
    const step = readInStep(log, places, { untilEnd });
    return {
      step,
      starts: places.map(({ offset }) => ({ offset, topicId: '' })),
      ends: () => places.map((p) => log.endOffset(p.topic, p.partition)),
      news: (waitMs) => sleep(waitMs),
      pass: () => undefined,
      committed() {},
      async close() {
        step.close();
        log.close();
      },
    };
  } catch (error) {
    log.close();
    throw error;
  }
}

/** The batch that was read last must still stand there: another log of the same topics would be read on in its middle. */
function checkSame(log: SegmentLog, { topic, partition, offset, crc }: Place): void {
  // A log that ends before it, or begins behind it, is told of when it is read.
  if (crc < 0 || offset > log.endOffset(topic, partition) || offset <= log.startOffset(topic, partition)) return;
  const reader = log.reader(topic, partition, offset - 1);
  try {
    const batch = reader.peek();
    if (batch === undefined || batch.lastOffset !== offset - 1 || uint32At(batch.bytes, CRC_AT) !== crc)
      throw changed(topic, partition, offset - 1);
  } finally {
    reader.close();
  }
}
