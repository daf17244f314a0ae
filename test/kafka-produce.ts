/** Sends record batches as they are: what a producer of Kafka would refuse to write can be written too. */
import { Connection } from '../src/kafka/connection.ts';
import type { Api } from '../src/kafka/protocol/api.ts';
import { BatchBuilder } from '../src/log/batch-builder.ts';
import type { Log } from '../src/log/port.ts';
import { openLog } from '../src/log/segments.ts';

interface ProduceRequest {
  readonly topic: string;
  readonly partition: number;
  readonly records: Uint8Array;
}
interface Produced {
  readonly error: number;
  readonly baseOffset: number;
}

const UNKNOWN_TOPIC = 3,
  NOT_LEADER = 6;

const PRODUCE: Api<ProduceRequest, Produced> = {
  name: 'Produce',
  key: 0,
  versions: [9, 12],
  flexible: true,
  write(w, { topic, partition, records }) {
    w.compactString(null);
    w.int16(-1);
    w.int32(10_000);
    w.uvarint(2);
    w.compactString(topic);
    w.uvarint(2);
    w.int32(partition);
    w.compactBytes(records);
    w.noTags();
    w.noTags();
    w.noTags();
  },
  read(r) {
    let error = 0,
      baseOffset = -1;
    r.compactArray(() => {
      r.compactString();
      r.compactArray(() => {
        r.int32();
        error = r.int16();
        baseOffset = r.int64();
        r.int64();
        r.int64();
        r.compactArray(() => {
          r.int32();
          r.compactNullableString();
          r.skipTags();
        });
        r.compactNullableString();
        r.skipTags();
      });
      r.skipTags();
    });
    return { error, baseOffset };
  },
};

/** One batch, not compressed. */
export function batchOf(values: readonly string[]): Buffer {
  const builder = new BatchBuilder(1 << 20);
  for (const [i, value] of values.entries()) {
    const bytes = Buffer.from(value);
    builder.add(null, bytes, 0, bytes.length, 1_700_000_000_000 + i);
  }
  return Buffer.concat(builder.seal('none').parts);
}

export class RawProducer {
  readonly #connection: Connection;
  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** To the one broker that leads everything. */
  static async open(port: number): Promise<RawProducer> {
    return new RawProducer(
      await Connection.open({
        host: '127.0.0.1',
        port,
        clientId: 'test',
        tls: undefined,
        connectTimeoutMs: 5000,
        requestTimeoutMs: 20_000,
        answerBytesMax: 1024 * 1024,
      }),
    );
  }

  /** The offset that the batch got. */
  async send(topic: string, partition: number, records: Uint8Array): Promise<number> {
    for (let tries = 0; ; tries++) {
      const { error, baseOffset } = await this.#connection.send(PRODUCE, { topic, partition, records });
      if (error === 0) return baseOffset;
      // A new topic takes a moment to reach its leader; nothing was written then.
      if ((error !== UNKNOWN_TOPIC && error !== NOT_LEADER) || tries === 50)
        throw new Error(`the broker refused the batch: error ${error}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  close(): void {
    this.#connection.close();
  }
}

/** Batch for batch from a log on disk into the topic, from `offset` on; gives the offset behind the last. Both logs then hold the same. */
export async function copyPartition(log: Log, producer: RawProducer, topic: string, partition: number, offset = 0): Promise<number> {
  const reader = log.reader(topic, partition, offset);
  let next = offset;
  for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
    // A producer's batch begins at 0: its place in the log is the broker's to say, and no part of the checksum.
    const given = await producer.send(topic, partition, Buffer.from(batch.bytes).fill(0, 0, 8));
    if (given !== batch.baseOffset) throw new Error(`a batch of offset ${batch.baseOffset} got offset ${given}`);
    next = batch.lastOffset + 1;
    reader.advance();
  }
  reader.close();
  return next;
}

/** What stands in the topic `sales` of a log on disk, batch for batch in the same topic of a broker: each call what is new since the last. */
export class Copy {
  private readonly next: number[];
  private readonly log: string;
  private readonly port: number;
  constructor(log: string, port: number, partitions: number) {
    this.log = log;
    this.port = port;
    this.next = Array.from({ length: partitions }, () => 0);
  }
  async go(): Promise<void> {
    const producer = await RawProducer.open(this.port),
      log = openLog(this.log);
    for (let p = 0; p < this.next.length; p++) this.next[p] = await copyPartition(log, producer, 'sales', p, this.next[p]!);
    log.close();
    producer.close();
  }
}
