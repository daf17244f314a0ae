/**
 * Sends a whole log once more: every batch of every partition is appended again behind the end that the partition had, with its
 * records, keys and times as they were. What a producer does that has lost its memory.
 */
import { PartitionWriter } from '../log/partition-writer.ts';
import { openLog } from '../log/segments.ts';
import { listTopics } from '../log/topics.ts';
import { SEGMENT_BYTES } from '../log/writer.ts';

/** How many records were sent. */
export async function sendAgain(dir: string): Promise<number> {
  const log = openLog(dir);
  let sent = 0;
  try {
    for (const [topic, partitions] of listTopics(dir)) {
      for (let p = 0; p < partitions; p++) sent += again(dir, log, topic, p);
    }
  } finally {
    log.close();
  }
  return sent;
}

function again(dir: string, log: ReturnType<typeof openLog>, topic: string, partition: number): number {
  const end = log.endOffset(topic, partition),
    reader = log.reader(topic, partition, 0);
  const writer = new PartitionWriter(dir, topic, partition, SEGMENT_BYTES);
  let sent = 0;
  try {
    for (let batch = reader.peek(); batch !== undefined && batch.baseOffset < end; batch = reader.peek()) {
      const count = batch.lastOffset - batch.baseOffset + 1;
      // The base offset is outside of the checksum: a copy of the batch is right as it is, at any place.
      const bytes = Uint8Array.prototype.slice.call(batch.bytes) as Uint8Array;
      reader.advance();
      writer.append({ parts: [bytes], bytes: bytes.length, count, maxTimestamp: batch.maxTimestamp });
      sent += count;
    }
    writer.sync();
  } finally {
    writer.close();
    reader.close();
  }
  return sent;
}
