/**
 * A log is topics of partitions of Kafka record batches (v2). What a source must be able to do; segments do it from files,
 * src/kafka from a broker. A batch is handed on as raw bytes: one decoder (topology/consume) serves both.
 */
export interface RawBatch {
  /** The whole batch, header included; valid until the next read of the same partition. CRC not yet checked. */
  readonly bytes: Uint8Array;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Header's baseTimestamp (the first record's time, as written): what partitions are read in step by. */
  readonly firstTimestamp: number;
  readonly maxTimestamp: number;
  /** Of the leader that took it; a log on disk has none. */
  readonly leaderEpoch?: number;
}
export interface PartitionReader {
  readonly topic: string;
  readonly partition: number;
  /** The batch that holds the next offset to read, or undefined at the end of what is whole now. Does not advance. */
  peek(): RawBatch | undefined;
  /** Goes past the batch that peek showed. */
  advance(): void;
  close(): void;
  /** Of a log that is far away. Without it, what peek does not show is not there. */
  readonly far?: Far;
}
export interface Far {
  /** The log has answered: that it still holds what comes after `position` is no mere hope. */
  readonly isKnown: boolean;
  /** Everything up to the high watermark is read. False: more is on its way, or stands behind a transaction that is undecided. */
  readonly atEnd: boolean;
  /** The next offset to read, beyond what was passed over. */
  readonly position: number;
}
export interface Log {
  /** Partition count; a TallyError E_TOPIC_MISSING when there is no such topic. */
  partitions(topic: string): number;
  /** Offset after the last whole record now. */
  endOffset(topic: string, partition: number): number;
  /** Starts at `offset`; the first batch may begin below it. E_LOG_TRUNCATED when offset lies beyond the log's end. */
  reader(topic: string, partition: number, offset: number): PartitionReader;
  close(): void;
}
