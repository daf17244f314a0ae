/**
 * The answer to a SELECT as bytes, as ClickHouse writes them. When it fails after the first bytes are out, ClickHouse appends the error to
 * the body, between marks that a header has named: that part is cut off here and thrown, so that it never passes for data.
 */
import { EXCEPTION_TAG_HEADER_NAME } from '@clickhouse/client';
import type { Client } from './client.ts';
import { cleanMessage } from './faults.ts';

const ERROR_BYTES_MAX = 64 * 1024;

export class BrokenAnswer extends Error {}

export async function* answer(
  client: Client,
  sql: string,
  settings: Readonly<Record<string, string | number>>,
): AsyncGenerator<Uint8Array> {
  const { stream, response_headers } = await client.exec({ query: sql, clickhouse_settings: { ...settings } });
  const tag = response_headers[EXCEPTION_TAG_HEADER_NAME];
  try {
    if (typeof tag === 'string' && tag !== '') yield* untilException(stream, tag);
    else yield* stream as AsyncIterable<Buffer>;
  } finally {
    stream.destroy();
  }
}

/** ClickHouse ends a broken answer by breaking the connection as well: after the mark that is no news. */
async function* whole(stream: AsyncIterable<Buffer>, isExpected: () => boolean): AsyncGenerator<Buffer> {
  try {
    yield* stream;
  } catch (error) {
    if (!isExpected()) throw error;
  }
}

export async function* untilException(stream: AsyncIterable<Buffer>, tag: string): AsyncGenerator<Uint8Array> {
  const mark = Buffer.from(`__exception__\r\n${tag}\r\n`);
  let held: Buffer = Buffer.alloc(0),
    isBroken = false;
  for await (const chunk of whole(stream, () => isBroken)) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (isBroken) {
      held = held.subarray(0, ERROR_BYTES_MAX);
      continue;
    }
    const at = held.indexOf(mark);
    if (at >= 0) {
      const end = held.subarray(Math.max(0, at - 2), at).toString() === '\r\n' ? at - 2 : at;
      if (end > 0) yield held.subarray(0, end);
      held = held.subarray(at + mark.length);
      isBroken = true;
      continue;
    }
    // The mark, with the line end before it, may be cut between two chunks.
    const keep = Math.min(held.length, mark.length + 2);
    if (held.length > keep) yield held.subarray(0, held.length - keep);
    held = held.subarray(held.length - keep);
  }
  if (!isBroken) {
    if (held.length > 0) yield held;
    return;
  }
  const text = held.toString(),
    end = text.lastIndexOf(`${tag}\r\n__exception__`);
  throw new BrokenAnswer(cleanMessage((end < 0 ? text : text.slice(0, end)).replace(/\n\d+ $/, '')));
}
