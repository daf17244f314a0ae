/**
 * A load of a given rate: record n is due at n / rate after the start, whatever became of the ones before. What is late is sent as soon as
 * it can be, under the time at which it was due, so that a log that stalls shows in every figure that is taken from record times.
 */
import type { JobEvents, RecordTarget } from './job-events.ts';

export interface RateOptions {
  /** Records in all, and how many a second. */
  readonly records: number;
  readonly rate: number;
  /** Milliseconds that only rise, and a wait of so many. */
  readonly now: () => number;
  readonly wait: (ms: number) => Promise<void>;
  /** Asked between two sends: true ends the load early. */
  readonly isStopped: () => boolean;
  readonly onProgress?: (sent: number, lagMs: number) => void;
}
export interface RateReport {
  /** Records that were due, up to the stop when there was one. */
  readonly scheduled: number;
  readonly sent: number;
  /** Of them, those sent before the schedule was over. */
  readonly sentOnTime: number;
  readonly seconds: number;
  /** The most that a record was sent after it was due. */
  readonly lagMaxMs: number;
}

/** Records that are due together go in one batch a partition: this is what the generator itself adds to a record's way. */
const TICK_MS = 5;
/** So many at most between two sends, also when far behind. */
const SEND_RECORDS = 4096;

/** The caller finishes and closes the target. */
export async function sendAtRate(
  events: Pick<JobEvents, 'put'>,
  target: Pick<RecordTarget, 'append' | 'send' | 'room'>,
  o: RateOptions,
): Promise<RateReport> {
  const start = o.now(),
    dueMs = (n: number): number => (n * 1000) / o.rate,
    endMs = dueMs(o.records),
    dueBy = (ms: number): number => Math.min(o.records, Math.floor((ms * o.rate) / 1000) + 1);
  let sent = 0,
    sentOnTime = 0,
    lagMaxMs = 0;
  while (sent < o.records && !o.isStopped()) {
    const due = dueBy(o.now() - start),
      first = sent,
      to = Math.min(due, sent + SEND_RECORDS);
    for (; sent < to; sent++) events.put(sent, target);
    if (sent > first) {
      target.send();
      await target.room();
      const ms = o.now() - start;
      if (ms <= endMs) sentOnTime = sent;
      lagMaxMs = Math.max(lagMaxMs, ms - dueMs(first));
      o.onProgress?.(sent, ms - dueMs(first));
    }
    // A turn of the event loop at least: sockets and signals live there.
    await o.wait(sent < due ? 0 : sent === o.records ? 0 : Math.max(TICK_MS, dueMs(sent) - (o.now() - start)));
  }
  const ms = o.now() - start;
  return { scheduled: dueBy(ms), sent, sentOnTime, seconds: ms / 1000, lagMaxMs };
}
