/**
 * A log is topics of partitions of Kafka record batches (v2). What a source must be able to do; segments do it from files,
 * Kafka will do it from a broker. A batch is handed on as raw bytes: one decoder (topology/consume) serves both.
 */
export interface RawBatch {
  /** The whole batch, header included; valid until the next read of the same partition. CRC not yet checked. */
  readonly bytes: Uint8Array;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Header's baseTimestamp (the first record's time, as written): what partitions are read in step by. */
  readonly firstTimestamp: number;
  readonly maxTimestamp: number;
}
export interface PartitionReader {
  readonly topic: string;
  readonly partition: number;
  /** The batch that holds the next offset to read, or undefined at the end of what is whole now. Does not advance. */
  peek(): RawBatch | undefined;
  /** Goes past the batch that peek showed. */
  advance(): void;
  close(): void;
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
