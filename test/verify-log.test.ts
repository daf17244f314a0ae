import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { batch, writeLog } from './verify-fixture.ts';
import type { Logged } from './verify-fixture.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { loggedPartitions, readPartition } from '../src/verify/read-log.ts';
import { unsnap } from '../src/verify/snappy.ts';

const record = (offset: number, value: string | null = `v${offset}`): Logged => ({
  offset,
  timestamp: 1000 + offset,
  key: offset % 2 === 0 ? `k${offset}` : null,
  value: value === null ? null : Buffer.from(value),
});
const FILE = `${'0'.repeat(20)}.log`;
const TRANSACTIONAL = 16,
  CONTROL = 32;

const SNAPPY = 2;

function size(n: number): Buffer {
  const out: number[] = [];
  for (; n > 127; n >>>= 7) out.push((n & 127) | 128);
  return Buffer.from([...out, n]);
}

/** The smallest writer of Snappy that uses every kind of element: literals of all lengths, copies with one, two and four bytes of distance. */
function snap(b: Buffer): Buffer {
  const out: Buffer[] = [size(b.length)],
    seen = new Map<string, number>();
  let open = 0;
  const literal = (end: number): void => {
    const n = end - open - 1,
      part = b.subarray(open, end);
    if (n < 0) return;
    const extra = n < 60 ? 0 : n < 256 ? 1 : n < 65536 ? 2 : 3,
      head = Buffer.alloc(1 + extra);
    head[0] = (extra === 0 ? n : 59 + extra) << 2;
    if (extra > 0) head.writeUIntLE(n, 1, extra);
    out.push(head, part);
  };
  for (let at = 0; at + 4 <= b.length;) {
    const here = b.toString('latin1', at, at + 4),
      from = seen.get(here);
    seen.set(here, at);
    let n = from === undefined ? 0 : 4;
    while (from !== undefined && n < 64 && at + n < b.length && b[from + n] === b[at + n]) n++;
    if (from === undefined) {
      at++;
      continue;
    }
    literal(at);
    const back = at - from;
    if (n < 12 && back < 2048) out.push(Buffer.from([1 | ((n - 4) << 2) | ((back >> 8) << 5), back & 255]));
    else if (back < 65536) out.push(Buffer.from([2 | ((n - 1) << 2), back & 255, back >> 8]));
    else out.push(Buffer.from([3 | ((n - 1) << 2), back & 255, (back >> 8) & 255, back >> 16, 0]));
    open = at += n;
  }
  literal(b.length);
  return Buffer.concat(out);
}

/** As Java's library frames it. */
function framed(b: Buffer, blockBytes: number): Buffer {
  const out: Buffer[] = [Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])];
  for (let at = 0; at < b.length; at += blockBytes) {
    const packed = snap(b.subarray(at, at + blockBytes)),
      length = Buffer.alloc(4);
    length.writeInt32BE(packed.length);
    out.push(length, packed);
  }
  return Buffer.concat(out);
}

describe("the oracle's Snappy", () => {
  test('reads every kind of element, and gives nothing for bytes that end early, say too much or point outside', () => {
    const far: Buffer = Buffer.concat([
      Buffer.from('the beginning, '),
      Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i) >> 5)),
      Buffer.from('the beginning, '),
    ]);
    for (const plain of [...['', 'a', 'abcdefgh'.repeat(40), 'x'.repeat(1000), 'é'.repeat(7)].map((t) => Buffer.from(t)), far]) {
      expect(unsnap(snap(plain))).toEqual(plain);
      expect(unsnap(framed(plain, 1000))).toEqual(plain);
    }
    // "abcd", then six bytes from four back: a copy that runs into what it makes.
    expect(unsnap(Buffer.from([10, 12, 97, 98, 99, 100, 9, 4]))?.toString()).toBe('abcdabcdab');
    const odd = [
      [],
      [128],
      [1],
      [5, 12, 97, 98, 99, 100],
      [4, 12, 97, 98, 99],
      [3, 12, 97, 98, 99, 100],
      [8, 12, 97, 98, 99, 100, 1, 0],
    ].concat([
      [8, 12, 97, 98, 99, 100, 1, 5],
      [8, 12, 97, 98, 99, 100, 1],
      [255, 255, 255, 255, 7, 0, 97],
    ]);
    for (const bytes of odd) expect(unsnap(Buffer.from(bytes)), String(bytes)).toBeNull();
    const cut = framed(Buffer.from('abcdefgh'.repeat(40)), 100);
    for (const end of [17, 19, cut.length - 1]) expect(unsnap(cut.subarray(0, end)), String(end)).toBeNull();
  });

  test('reads back what was written, and takes anything else without harm', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'bc', 'def', 'campaign', '\n', '0123456789'), { maxLength: 400 }),
        fc.integer({ min: 1, max: 300 }),
        (parts, block) => {
          const plain = Buffer.from(parts.join(''));
          expect(unsnap(snap(plain))?.equals(plain)).toBe(true);
          expect(unsnap(framed(plain, block))?.equals(plain)).toBe(true);
        },
      ),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => unsnap(Buffer.from(bytes)) === null || bytes.length > 0));
  });
});

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

  test('reads what other producers pack with Snappy, and says where such a batch is damaged', () => {
    const all = Array.from({ length: 300 }, (_, i) => record(i));
    const [a, b, c] = [all.slice(0, 100), all.slice(100, 200), all.slice(200)];
    writeLog(dir, 'snappy-0', [batch(a, SNAPPY, -1, snap), batch(b, SNAPPY, -1, (body) => framed(body, 500)), batch(c)]);
    writeLog(dir, 'plain-1', [batch(a), batch(b), batch(c)]);
    const plain = [...readPartition(dir, 'plain', 1, Infinity)].flatMap((x) => x.records);
    expect([...readPartition(dir, 'snappy', 0, Infinity)].flatMap((x) => x.records)).toEqual(plain);
    writeLog(dir, 'snapped-0', [batch(a, SNAPPY, -1, snap), batch(b, SNAPPY, -1, (body) => snap(body).subarray(0, -1))]);
    expect(() => read('snapped')).toThrow(/snapped\/0@100.*Snappy/);
    writeLog(dir, 'other-0', [batch(a, 5)]);
    expect(() => read('other')).toThrow(/other\/0@0.*5/);
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
