import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RowBinary } from '../topology/write/row-binary.ts';

test("64-bit integers stand as little-endian two's complement, whether they come as halves or as a safe integer", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.maxSafeInteger(), (wide, safe) => {
      const out = new RowBinary();
      out.i64(Number(BigInt.asUintN(32, wide)), Number(wide >> 32n));
      out.int(safe);
      const bytes = Buffer.from(out.take());
      expect([bytes.readBigInt64LE(0), bytes.readBigInt64LE(8), bytes.length]).toEqual([wide, BigInt(safe), 16]);
    }),
  );
});

test('a string is its length in UTF-8 bytes as a varint, then those bytes', () => {
  for (const length of [0, 1, 127, 128, 16_383, 16_384, 70_000]) {
    const out = new RowBinary(),
      text = 'é'.repeat(length >> 1) + 'x'.repeat(length & 1);
    out.u8(7);
    out.string(text);
    const bytes = Buffer.from(out.take());
    let n = 0,
      at = 1;
    for (let scale = 1; ; scale *= 128) {
      n += (bytes[at]! % 128) * scale;
      if (bytes[at++]! < 128) break;
    }
    expect([bytes[0], n, bytes.length, bytes.toString('utf8', at)]).toEqual([7, length, at + length, text]);
  }
});

test('the buffer grows wherever the border falls, and what was taken is not written over', () => {
  const out = new RowBinary(),
    numbers = 30_000;
  const fill = (first: number): void => {
    for (let n = 0; n < numbers; n++) {
      out.u8(n & 255);
      out.u16(n & 65535);
      out.u32(first + n);
      out.i32(-n);
      out.f64(n / 3);
      out.raw(Uint8Array.of(9, 8, 7), 1, 3);
    }
  };
  const check = (bytes: Buffer, first: number): void => {
    expect(bytes.length).toBe(numbers * 21);
    for (let n = 0; n < numbers; n += 7) {
      const b = bytes.subarray(n * 21);
      const got = [b[0], b.readUInt16LE(1), b.readUInt32LE(3), b.readInt32LE(7) + n, b.readDoubleLE(11), b[19], b[20]];
      const want = [n & 255, n & 65535, first + n, 0, n / 3, 8, 7];
      if (got.some((v, i) => v !== want[i])) expect(got).toEqual(want);
    }
  };
  fill(0);
  const taken = out.take();
  expect(out.length).toBe(0);
  fill(4_000_000_000);
  check(Buffer.from(taken.buffer), 0);
  check(Buffer.from(out.take().buffer), 4_000_000_000);
});
