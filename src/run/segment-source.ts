/** A log on disk as a source: it is read from its beginning, and looked at, for it does not say when something came. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readInStep } from '../log/in-step.ts';
import { openLog } from '../log/segments.ts';
import type { Source, SourceOrder } from './source.ts';

export function openSegmentSource({ log: dir, places, untilEnd }: SourceOrder): Source {
  const log = openLog(dir);
  try {
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
