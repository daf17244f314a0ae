/** A log on Kafka as a test reads it: waits for `onData`, decodes what is shown, keeps what went wrong on the way. */
import { openKafkaLog } from '../src/kafka/log.ts';
import type { KafkaLog, KafkaLogOptions } from '../src/kafka/log.ts';
import type { KafkaPartitionReader } from '../src/kafka/partition-queue.ts';
import { decoded } from './log-fixture.ts';
import type { Got } from './log-fixture.ts';

export class Watched {
  readonly troubles: string[] = [];
  log!: KafkaLog;
  readonly #waiting = new Set<() => void>();
  static async open(url: string, topics: readonly string[], options: KafkaLogOptions = {}): Promise<Watched> {
    const watched = new Watched();
    const hooks = { onData: () => watched.#wake(), onTrouble: (sentence: string) => void watched.troubles.push(sentence) };
    watched.log = await openKafkaLog(url, topics, { ...hooks, ...options });
    return watched;
  }
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => void this.#waiting.add(resolve));
  }
  /** What is read until `isEnough`, which is asked whenever nothing is left to read at once. */
  async read(reader: KafkaPartitionReader, isEnough: (got: Got[]) => boolean = () => reader.atEnd, from: number = 0): Promise<Got[]> {
    const got: Got[] = [];
    await this.until(() => {
      for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
        got.push(...decoded(batch.bytes).filter((r) => r.offset >= from));
        reader.advance();
      }
      return isEnough(got);
    });
    return got;
  }
  async fault(reader: KafkaPartitionReader): Promise<unknown> {
    try {
      await this.read(reader, () => false);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
