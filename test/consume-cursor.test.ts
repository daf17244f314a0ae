import zlib from 'node:zlib';
import fc from 'fast-check';
import { compressFrameSync, compressSync } from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../src/log/batch-builder.ts';
import { codecs, COMPRESSIONS } from '../src/log/codecs.ts';
import { BatchError, decodeBatch } from '../topology/consume/cursor.ts';
import { Records } from '../topology/consume/records.ts';
import { decoded, encodeRecords, frame, seal, text, varint } from './log-fixture.ts';
import type { Given } from './log-fixture.ts';

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.constant(new Uint8Array(0)),
  fc.uint8Array({ minLength: 8000, maxLength: 9000, size: 'max' }),
);
const given = fc.record({
  key: fc.option(fc.uint8Array({ maxLength: 80 })),
  value: fc.option(bytes),
  timestamp: fc.integer({ min: 0, max: 4291747200000 }),
});
const latin = (b: Uint8Array | null): string | null => (b === null ? null : Buffer.from(b).toString('latin1'));
const wanted = (records: readonly Given[]): unknown[] =>
  records.map((r, i) => ({ offset: r.offset ?? i, timestamp: r.timestamp, key: latin(r.key), value: latin(r.value) }));

function fails(raw: Uint8Array, limit?: number): BatchError {
  try {
    decodeBatch(raw, new Records(), codecs, limit === undefined ? undefined : { inflatedBytesMax: limit });
  } catch (error) {
    if (error instanceof BatchError) return error;
    throw error;
  }
  throw new Error('nothing was wrong');
}

function snappyLiterals(b: Buffer<ArrayBuffer>): Buffer {
  const size: number[] = [];
  for (let n = b.length; ; n >>>= 7) {
    if (n < 128) {
      size.push(n);
      break;
    }
    size.push((n & 127) | 128);
  }
  const out = [Buffer.from(size)];
  for (let at = 0; at < b.length; at += 60) {
    const part = b.subarray(at, at + 60);
    out.push(Buffer.from([(part.length - 1) << 2]), part);
  }
  return Buffer.concat(out);
}

/** The frame that Kafka's Java client writes: independent blocks of 64 KiB, no content size. */
function lz4Blocks(b: Buffer<ArrayBuffer>, blockBytes: number, flags: number): Buffer {
  const sample = compressFrameSync(Buffer.from('x')),
    parts: Buffer[] = [Buffer.from(sample.subarray(0, 4)), Buffer.from([flags, 0x40, 0])];
  for (let at = 0; at < b.length; at += blockBytes) {
    const part = b.subarray(at, at + blockBytes),
      before = b.subarray(Math.max(0, at - 65536), at);
    const packed: Buffer = (flags & 0x20) !== 0 || at === 0 ? compressSync(part) : compressSync(part, before);
    packed.writeUInt32LE(packed.length - 4, 0);
    parts.push(packed);
  }
  return Buffer.concat([...parts, Buffer.alloc(4)]);
}

describe('the cursor over a record batch', () => {
  it('gives back what the writer was given, whatever the codec', () => {
    fc.assert(
      fc.property(
        fc.array(given, { minLength: 1, maxLength: 40 }),
        fc.constantFrom(...COMPRESSIONS),
        fc.integer({ min: 0, max: 2 ** 45 }),
        (records, codec, base) => {
          const builder = new BatchBuilder(1 << 20);
          for (const r of records) builder.add(r.key, r.value, 0, r.value?.length ?? 0, r.timestamp);
          const raw = Buffer.concat(builder.seal(codec).parts);
          raw.writeBigInt64BE(BigInt(base), 0);
          expect(decoded(raw)).toEqual(wanted(records.map((r, i) => ({ ...r, offset: base + i }))));
        },
      ),
      { numRuns: 150, seed: 1 },
    );
  });

  it('writes byte for byte what the format says', () => {
    const records: Given[] = [
      { key: Buffer.from('k'), value: Buffer.from('v'.repeat(300)), timestamp: 5000 },
      { key: null, value: null, timestamp: 4000 },
    ];
    const builder = new BatchBuilder(1024);
    for (const r of records) builder.add(r.key, r.value, 0, r.value?.length ?? 0, r.timestamp);
    const want = frame(encodeRecords(records, 5000), { count: 2, baseTimestamp: 5000, maxTimestamp: 5000 });
    want.writeInt32BE(0, 12);
    expect(Buffer.concat(builder.seal('none').parts).equals(want)).toBe(true);
  });

  it('reads the batches of other clients: gzip, snappy raw and xerial, lz4 in linked and independent blocks, zstd', () => {
    const records = Array.from({ length: 3000 }, (_, i) => ({ ...text(`record ${i} ${'pad'.repeat(i % 30)}`), timestamp: 1000 + i }));
    const plain = encodeRecords(records, 1000),
      want = wanted(records);
    const xerial = (block: number): Buffer => {
      const parts: Buffer[] = [Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])];
      for (let at = 0; at < plain.length; at += block) {
        const packed = snappyLiterals(plain.subarray(at, at + block)),
          size = Buffer.alloc(4);
        size.writeInt32BE(packed.length);
        parts.push(size, packed);
      }
      return Buffer.concat(parts);
    };
    const packed: [number, Buffer][] = [
      [0, plain],
      [1, zlib.gzipSync(plain)],
      [2, snappyLiterals(plain)],
      [2, xerial(32 * 1024)],
      [3, compressFrameSync(plain)],
      [3, lz4Blocks(plain, 65536, 0x60)],
      [3, lz4Blocks(plain, 65536, 0x40)],
      [4, zlib.zstdCompressSync(plain)],
    ];
    for (const [code, payload] of packed) expect(decoded(frame(payload, { attributes: code, count: records.length }))).toEqual(want);
  });

  it('follows snappy copies, also those that overlap themselves', () => {
    // "ab", then 10 bytes from 2 back: 12 bytes; a copy of kind 2 with a length of 10 and an offset of 2.
    const snappy = (...packed: number[]): string => {
      const into = new Records();
      codecs.inflate(2, Buffer.from(packed), into, 100);
      return Buffer.from(into.bytes.subarray(0, into.used)).toString();
    };
    expect(snappy(12, 1 << 2, 97, 98, (9 << 2) | 2, 2, 0)).toBe('abababababab');
    expect(snappy(6, 1 << 2, 97, 98, (0 << 2) | 1, 2)).toBe('ababab');
  });

  it('skips headers, keeps gaps between offsets, and takes the append time where the batch says so', () => {
    const records: Given[] = [
      {
        key: null,
        value: Buffer.from('a'),
        timestamp: 1000,
        headers: [
          ['trace', 'x'],
          ['none', null],
        ],
      },
      { key: null, value: Buffer.from('b'), timestamp: 900, offset: 7 },
    ];
    const raw = frame(encodeRecords(records, 1000), { base: 50, count: 2, lastDelta: 9 });
    expect(decoded(raw).map((r) => [r.offset, r.timestamp, r.value])).toEqual([
      [50, 1000, 'a'],
      [57, 900, 'b'],
    ]);
    const appended = frame(encodeRecords(records, 1000), { count: 2, lastDelta: 9, attributes: 8, maxTimestamp: 77_000 });
    expect(decoded(appended).map((r) => r.timestamp)).toEqual([77_000, 77_000]);
  });

  it('sees no records in a control batch', () => {
    const records = new Records(),
      raw = frame(encodeRecords([{ key: Buffer.from([0, 0, 0, 1]), value: Buffer.alloc(6), timestamp: 0 }], 0), {
        attributes: 0x30,
        count: 1,
      });
    expect(decodeBatch(raw, records, codecs)).toBe('control');
    expect(records.count).toBe(0);
  });

  it('notices any changed bit behind the magic byte', () => {
    const raw = frame(zlib.zstdCompressSync(encodeRecords([text('one'), text('two')], 1000)), { attributes: 4, count: 2 });
    for (let at = 16; at < raw.length; at++) {
      const hurt = Buffer.from(raw);
      hurt[at]! ^= 1 << (at % 8);
      expect(fails(hurt).kind).toBe(at === 16 ? 'unsupported' : 'crc');
    }
  });

  it('never takes malformed contents under a right checksum for records, and never fails otherwise than as a batch error', () => {
    const plain = encodeRecords([text('one'), { ...text('two'), key: Buffer.from('k'), headers: [['h', 'v']] }, text('three')], 1000);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: plain.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        fc.constantFrom(...COMPRESSIONS),
        (at, flip, codec) => {
          const hurt = Buffer.from(plain);
          hurt[at]! ^= flip;
          const [code, payload] =
            codec === 'none' ? [0, hurt] : codec === 'lz4' ? [3, compressFrameSync(hurt)] : [4, zlib.zstdCompressSync(hurt)];
          const raw = frame(payload, { attributes: code, count: 3 });
          try {
            expect(decoded(raw)).toHaveLength(3);
          } catch (error) {
            if (!(error instanceof BatchError)) throw error;
            expect(error.kind).toBe('malformed');
          }
        },
      ),
      { numRuns: 1000, seed: 2 },
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120 }),
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: -2, max: 2 ** 31 - 1 }),
        (payload, code, count) => {
          const raw = frame(payload, { attributes: code & 7, count, lastDelta: 2 ** 31 - 2 });
          if (count === 0) return;
          expect(['malformed', 'unsupported', 'too-large']).toContain(fails(raw).kind);
        },
      ),
      { numRuns: 500, seed: 3 },
    );
  });

  it('says what is malformed: counts, order, lengths, leftovers', () => {
    const two = [text('one'), text('two')],
      plain = encodeRecords(two, 1000);
    const cases: [Buffer, Parameters<typeof frame>[1], RegExp][] = [
      [plain, { count: 3 }, /do not fit/],
      [plain, { count: 1, lastDelta: 1 }, /follow the last/],
      [plain, { count: 2, lastDelta: 0 }, /counts 2 records over 1/],
      [plain, { count: -1, lastDelta: 1 }, /counts -1/],
      [plain, { count: 2 ** 30 }, /do not fit/],
      [
        encodeRecords(
          [
            { ...text('one'), offset: 1 },
            { ...text('two'), offset: 1 },
          ],
          1000,
        ),
        { count: 2 },
        /out of order/,
      ],
      [encodeRecords([text('one'), { ...text('two'), offset: 5 }], 1000), { count: 2 }, /out of order/],
      [encodeRecords([text('a'.repeat(50)), text('b')], 1000), { count: 3, lastDelta: 2 }, /does not end|claims/],
      [Buffer.from([...varint(7), 0, 0, 0, ...varint(-2), ...varint(1), 65, 0]), { count: 1 }, /key/],
    ];
    for (const [payload, f, why] of cases) {
      const error = fails(frame(payload, { base: 9, ...f }));
      expect(error.message).toMatch(why);
      expect([error.kind, error.offset]).toEqual(['malformed', 9]);
    }
  });

  it('does not inflate a bomb, whatever the codec', () => {
    const zeros = Buffer.alloc(8 << 20),
      limit = 1 << 20;
    const bombs: [number, Buffer][] = [
      [1, zlib.gzipSync(zeros)],
      [3, compressFrameSync(zeros)],
      [3, lz4Blocks(zeros, 65536, 0x60)],
      [3, lz4Blocks(zeros, 65536, 0x40)],
      [4, zlib.zstdCompressSync(zeros)],
      [2, Buffer.concat([Buffer.from([0x80, 0x80, 0x80, 0x04]), Buffer.alloc(200_000)])],
    ];
    for (const [code, payload] of bombs) {
      const error = fails(frame(payload, { attributes: code, count: 1 }), limit);
      expect([code, error.kind]).toEqual([code, 'too-large']);
      expect(error.message).toContain(String(limit));
    }
    // An announced size alone takes no memory either.
    expect(fails(frame(Buffer.from([0xff, 0xff, 0xff, 0x7f, 0]), { attributes: 2, count: 1 })).kind).toBe('malformed');
  });

  it('leaves the raw bytes as they were', () => {
    const raw = frame(lz4Blocks(encodeRecords([text('a'.repeat(200_000))], 1000), 65536, 0x60), { attributes: 3, count: 1 }),
      before = Buffer.from(raw);
    decoded(raw);
    expect(raw.equals(before)).toBe(true);
  });

  it('refuses what is no batch, or another format', () => {
    expect(fails(Buffer.alloc(10)).kind).toBe('malformed');
    const old = frame(encodeRecords([text('x')], 1000), { count: 1 });
    old[16] = 1;
    expect(fails(old).kind).toBe('unsupported');
    expect(fails(seal(frame(Buffer.alloc(30), { count: 1, attributes: 5 }))).message).toMatch(/compression 5/);
    expect(fails(frame(encodeRecords([text('x')], 1000), { count: 1 }).subarray(0, 65)).kind).toBe('malformed');
  });
});
