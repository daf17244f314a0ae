/**
 * The oracle's own reader of a log on disk: LOG/TOPIC-PARTITION/<20 digits>.log, files of Kafka record batches (v2). In goes a
 * partition and an offset to stop before; out come its records in order, a batch at a time. It shares nothing with the log
 * port, so that a fault there shows here. A torn last batch ends the log.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { batchBytes, checkedHeader, HEADER_BYTES, isTransactional, loggedBatch, Transactions } from './record-batch.ts';
import type { Header, LoggedBatch } from './record-batch.ts';

/** The partitions of a topic that the log holds, ascending. */
export function loggedPartitions(log: string, topic: string): number[] {
  const found: number[] = [];
  if (!existsSync(log)) return found;
  for (const name of readdirSync(log)) {
    const cut = name.lastIndexOf('-');
    if (name.slice(0, cut) === topic && /^\d+$/.test(name.slice(cut + 1))) found.push(Number(name.slice(cut + 1)));
  }
  return found.sort((a, b) => a - b);
}

function segmentFiles(log: string, topic: string, partition: number): string[] {
  const dir = join(log, `${topic}-${partition}`);
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => /^\d{20}\.log$/.test(name))
    .sort()
    .map((name) => join(dir, name));
}

/** The whole batches of a partition, as bytes, in order. */
function* batchesOf(log: string, topic: string, partition: number): Generator<{ bytes: Buffer; header: Header }> {
  for (const file of segmentFiles(log, topic, partition)) {
    const fd = openSync(file, 'r');
    try {
      const size = fstatSync(fd).size,
        head = Buffer.alloc(HEADER_BYTES);
      for (let at = 0; at + HEADER_BYTES <= size;) {
        readSync(fd, head, 0, HEADER_BYTES, at);
        const length = batchBytes(head);
        // Zeros, or a batch that reaches beyond the file: a producer was killed here, and the log ends before it.
        if (length === 0 || at + length > size) return;
        const bytes = Buffer.allocUnsafe(length);
        readSync(fd, bytes, 0, length, at);
        yield { bytes, header: checkedHeader(bytes, topic, partition) };
        at += length;
      }
    } finally {
      closeSync(fd);
    }
  }
}

function abortedBatches(log: string, topic: string, partition: number): Set<number> {
  const transactions = new Transactions();
  for (const { bytes, header } of batchesOf(log, topic, partition)) transactions.note(bytes, header);
  return transactions.aborted;
}

/** The partition below `before`, batch by batch. */
export function* readPartition(log: string, topic: string, partition: number, before: number): Generator<LoggedBatch> {
  let aborted: Set<number> | null = null;
  for (const batch of batchesOf(log, topic, partition)) {
    if (batch.header.base >= before) return;
    if (isTransactional(batch.header)) aborted ??= abortedBatches(log, topic, partition);
    yield loggedBatch(batch, { topic, partition }, aborted, 0, before);
  }
}
