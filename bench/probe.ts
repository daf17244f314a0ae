/**
 * How long a record takes from the moment at which it was due at its producer until SQL shows it. A record of its own is sent to the first
 * partition of ads.delivery every so often, by schedule: a log, a run or an engine that stands still delays no later one's due time. They
 * are read in the order in which they were sent, so that the count of an hour in `ads_hourly_live` tells which of them are there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, readConnection } from '../src/clickhouse/connection.ts';
import { monotonicMs } from '../src/clock.ts';
import { openProducer } from '../src/kafka/produce/producer.ts';
import type { KafkaProducer } from '../src/kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../src/kafka/produce/topic-writer.ts';
import { engineDir } from '../src/run/places.ts';

const TOPIC = 'ads.delivery',
  ADVERTISER = 'tally-probe',
  HOUR = 3_600_000,
  EVERY_MS = 100,
  /**
   * Between an answer and the next question: what asking adds to a figure is this and the question's own time. A question takes some 10 ms of
   * a core: asked without a pause, they alone would take half of one from what is measured.
   */
  ASK_MS = 40,
  ANSWER_MS = 3000;

export interface Seen {
  /** When it was due, on the clock that only rises. */
  readonly dueMs: number;
  readonly tookMs: number;
}
interface Hour {
  readonly start: number;
  readonly due: number[];
  seen: number;
}

export class Probe {
  readonly seen: Seen[] = [];
  sent = 0;
  private readonly producer: KafkaProducer;
  private readonly writer: KafkaTopicWriter;
  private readonly data: string;
  /** The event's time that goes with a moment of the clock. */
  private readonly timeAt: (monotonic: number) => number;
  /** Of which not all is seen, and the latest. */
  private hours: Hour[] = [];
  private isSending = true;
  private isAsking = true;
  private working: Promise<unknown> = Promise.resolve();
  private fault: Error | undefined;
  /** Of the last question that got no answer. */
  private trouble: string | undefined;

  private constructor(producer: KafkaProducer, data: string, timeAt: (monotonic: number) => number) {
    this.producer = producer;
    this.writer = new KafkaTopicWriter(producer, TOPIC, { compression: 'none' });
    this.data = data;
    this.timeAt = timeAt;
  }

  static async open(log: string, data: string, timeAt: (monotonic: number) => number): Promise<Probe> {
    const probe = new Probe(await openProducer(log, [TOPIC]), data, timeAt);
    probe.working = Promise.all([probe.send(), probe.look()]);
    probe.working.catch((error: unknown) => (probe.fault = error as Error));
    return probe;
  }

  /** Until a record that was due after this moment is seen; `check` throws when there is no use in waiting. */
  async seenAfter(ms: number, withinMs: number, check: () => void): Promise<number> {
    for (const end = monotonicMs() + withinMs; monotonicMs() < end; await sleep(20)) {
      this.check();
      check();
      const first = this.seen.find((s) => s.dueMs > ms);
      if (first !== undefined) return first.dueMs + first.tookMs;
    }
    throw new Error(`no record is seen within ${withinMs} ms: ${this.trouble ?? ''}`);
  }

  /** Sends no more, and waits until all are seen. */
  async finish(withinMs: number, check: () => void): Promise<void> {
    this.isSending = false;
    await this.producer.flush();
    for (const end = monotonicMs() + withinMs; this.seen.length < this.sent; await sleep(20)) {
      this.check();
      check();
      if (monotonicMs() > end)
        throw new Error(`${this.sent - this.seen.length} of ${this.sent} probe records are not seen: ${this.trouble ?? ''}`);
    }
    await this.close();
  }

  async close(): Promise<void> {
    this.isSending = this.isAsking = false;
    await this.working.finally(() => this.producer.close());
  }

  /** Throws when it found what must not be, or its records can't be sent. */
  check(): void {
    const fault = this.fault ?? this.producer.fault;
    if (fault !== undefined) throw fault;
  }

  private async send(): Promise<void> {
    for (let due = monotonicMs(); this.isSending; due += EVERY_MS) {
      await sleep(Math.max(0, due - monotonicMs()));
      if (!this.isSending) return;
      const time = Math.floor(this.timeAt(due)),
        start = time - (time % HOUR),
        id = `probe-${String(this.sent).padStart(12, '0')}`;
      if (this.hours.at(-1)?.start !== start) this.hours.push({ start, due: [], seen: 0 });
      this.hours.at(-1)!.due.push(due);
      this.sent++;
      this.writer.append(0, Buffer.from(id), Buffer.from(JSON.stringify(event(id, time))), time);
      this.writer.send();
    }
  }

  private async look(): Promise<void> {
    for (; this.isAsking; await sleep(ASK_MS)) {
      const from = this.hours[0]?.start,
        connection = readConnection(engineDir(this.data));
      if (from === undefined || connection === undefined) continue;
      const sql =
        `SELECT toUnixTimestamp(window_start), sum(impressions) FROM ${connection.database}.ads_hourly_live ` +
        `WHERE advertiser_id = '${ADVERTISER}' AND window_start >= toDateTime(${from / 1000}, 'UTC') GROUP BY window_start`;
      // It may have been killed, or be starting.
      const answer = await ask(connection, sql, ANSWER_MS).catch((error: unknown) => ({ ok: false, text: String(error) }));
      if (answer.ok) this.heard(answer.text);
      else this.trouble = answer.text;
    }
  }

  private heard(text: string): void {
    const now = monotonicMs();
    for (const line of text.split('\n').filter((l) => l !== '')) {
      const [seconds, count] = line.split('\t').map(Number) as [number, number],
        hour = this.hours.find((h) => h.start === seconds * 1000);
      if (hour === undefined) continue;
      if (count > hour.due.length) throw new Error(`SQL shows ${count} probe records of an hour in which ${hour.due.length} were sent`);
      if (count < hour.seen) throw new Error(`SQL shows ${count} probe records of an hour in which it has shown ${hour.seen}`);
      for (; hour.seen < count; hour.seen++) this.seen.push({ dueMs: hour.due[hour.seen]!, tookMs: now - hour.due[hour.seen]! });
    }
    const latest = this.hours.at(-1);
    this.hours = this.hours.filter((h) => h === latest || h.seen < h.due.length);
  }
}

const event = (id: string, time: number): Record<string, string | number> => ({
  event_id: id,
  event_time: time,
  advertiser_id: ADVERTISER,
  campaign_id: 'probe',
  ad_id: 'probe',
  country: 'DE',
  placement: 'feed',
  device: 'mobile',
  cost_micros: 1,
});

/** What the tables must show of `sent` probe records, at any later time. */
export const PROBES_IN_SQL = `SELECT sum(impressions) FROM ads_hourly_live WHERE advertiser_id = '${ADVERTISER}'`;
