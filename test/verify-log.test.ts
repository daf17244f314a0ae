import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { batch, writeLog } from './verify-fixture.ts';
import type { Logged } from './verify-fixture.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { loggedPartitions, readPartition } from '../src/verify/read-log.ts';

const record = (offset: number, value: string | null = `v${offset}`): Logged => ({
  offset,
  timestamp: 1000 + offset,
  key: offset % 2 === 0 ? `k${offset}` : null,
  value: value === null ? null : Buffer.from(value),
});
const FILE = `${'0'.repeat(20)}.log`;
const TRANSACTIONAL = 16,
  CONTROL = 32;

describe("the oracle's reader of a log", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'tally-verify-log-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const read = (topic: string, before = Infinity): string[] =>
    [...readPartition(dir, topic, 0, before)].flatMap((b) =>
      b.records.map((r) => `${r.offset} ${r.timestamp} ${r.key ?? '-'} ${r.value ?? 'null'}`),
    );

  test('gives records in order, up to the offset asked', () => {
    writeLog(dir, 'plain-0', [batch([record(0), record(1, null), record(2)]), batch([record(3), record(4)])]);
    expect(read('plain')).toEqual(['0 1000 k0 v0', '1 1001 - null', '2 1002 k2 v2', '3 1003 - v3', '4 1004 k4 v4']);
    expect(read('plain', 4)).toHaveLength(4);
    expect(loggedPartitions(dir, 'plain')).toEqual([0]);
  });

  test.each(['none', 'lz4', 'zstd'] as const)('reads what the producer wrote with %s', (compression) => {
    const topic = `made-${compression}`,
      writer = new TopicWriter(dir, topic, { compression, batchBytes: 2000 });
    for (let i = 0; i < 500; i++) writer.append(0, Buffer.from(`k${i}`), Buffer.from(`value ${i} ${'x'.repeat(i % 70)}`), 5000 + i);
    writer.close();
    const found = read(topic);
    expect(found).toHaveLength(500);
    expect(found[499]).toBe(`499 5499 k499 value 499 ${'x'.repeat(499 % 70)}`);
  });

  test.each<[string, (whole: Buffer) => Buffer]>([
    ['a batch that reaches beyond the file', (b) => b.subarray(0, b.length - 1)],
    ['half a header', (b) => b.subarray(0, 20)],
    ['zeros', () => Buffer.alloc(500)],
  ])('ends before %s', (_, cut) => {
    writeLog(dir, 'torn-0', [batch([record(0)]), cut(batch([record(1), record(2)]))]);
    expect(read('torn')).toEqual(['0 1000 k0 v0']);
  });

  test('stops at a checksum that does not fit, the last batch too', () => {
    writeLog(dir, 'bad-0', [batch([record(0)]), batch([record(1)])]);
    const file = join(dir, 'bad-0', FILE),
      bytes = readFileSync(file);
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(file, bytes);
    expect(() => read('bad')).toThrow('bad/0@1');
  });

  test('leaves out control batches and what was aborted', () => {
    const marker = (offset: number, type: number, producer: number): Buffer => {
      const whole = batch(
        [{ ...record(offset), key: String.fromCharCode(0, 0, 0, type), value: Buffer.from([0, 0]) }],
        TRANSACTIONAL | CONTROL,
        producer,
      );
      return whole;
    };
    writeLog(dir, 'tx-0', [
      batch([record(0)], TRANSACTIONAL, 7),
      batch([record(1)], TRANSACTIONAL, 8),
      batch([record(2)]),
      marker(3, 0, 7),
      marker(4, 1, 8),
      batch([record(5)], TRANSACTIONAL, 7),
      marker(6, 1, 7),
    ]);
    expect(read('tx').map((r) => r.split(' ')[0])).toEqual(['1', '2', '5']);
  });
});
