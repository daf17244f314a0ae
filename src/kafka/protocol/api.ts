/**
 * What a request of Kafka's protocol is to us: its number, the versions that we write and read, and both encodings. A connection sends the
 * highest version that the broker knows too.
 */
import type { Reader } from './reader.ts';
import type { Writer } from './writer.ts';

export interface Api<Request, Answer> {
  readonly name: string;
  readonly key: number;
  /** Least and highest version that is implemented here. */
  readonly versions: readonly [number, number];
  /** Flexible versions carry compact lengths and tagged fields in header and body. */
  readonly flexible: boolean;
  /** What is read points into the answer's bytes: who asked gives the buffer back. Otherwise it is free once read. */
  readonly keepsBytes?: boolean;
  write(w: Writer, request: Request, version: number): void;
  read(r: Reader, version: number): Answer;
}
