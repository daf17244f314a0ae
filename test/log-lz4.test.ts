import fc from 'fast-check';
import { compressSync, uncompressSync } from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { Records } from '../topology/consume/records.ts';
import { codecsWith } from '../src/log/codecs.ts';
import { Lz4Blocks, SLACK_BYTES, WINDOW_BYTES } from '../src/log/lz4-block.ts';
import { lz4Deflate } from '../src/log/lz4-frame.ts';

const PLACE = 1 << 20;
const lz4 = new Lz4Blocks(PLACE);
/** Text with much, little, near and far repetition. */
const contents = fc
  .array(
    fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.tuple(fc.string({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 400 })).map(([s, n]) => s.repeat(n)),
      fc.constantFrom('{"event_id":"', '","cost_micros":', 'ads.delivery'),
    ),
    { maxLength: 60 },
  )
  .map((parts) => Buffer.from(parts.join('')));

/** A block by its own bytes, without the size that the library puts in front. */
const packed = (bytes: Buffer<ArrayBuffer>): Buffer => compressSync(bytes).subarray(4);

describe('the LZ4 block decoder', () => {
  it('gives what the native one gives, in place and as a copy, wherever it stands', () => {
    fc.assert(
      fc.property(contents, fc.integer({ min: 0, max: 200 }), (bytes, at) => {
        const block = packed(bytes as Buffer<ArrayBuffer>);
        expect(Buffer.from(uncompressSync(compressSync(bytes)))).toEqual(bytes);
        for (const into of [lz4.arena, new Uint8Array(at + bytes.length + SLACK_BYTES)]) {
          expect(lz4.inflate(block, into, at, bytes.length, at)).toBe(bytes.length);
          expect(Buffer.from(into.subarray(at, at + bytes.length)).equals(bytes)).toBe(true);
        }
        if (bytes.length > 0) expect(lz4.inflate(block, lz4.arena, at, bytes.length - 1, at)).toBe(-2);
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('never writes outside its place, whatever the block says', () => {
    const place = lz4.arena.subarray(1000, 3000);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 1500 }), (block, most) => {
        lz4.arena.fill(7);
        const made = lz4.inflate(block, place, 100, most, 0);
        expect(made).toBeLessThanOrEqual(most);
        expect(made).toBeGreaterThanOrEqual(-2);
        expect(lz4.arena.subarray(0, 1100).every((b) => b === 7)).toBe(true);
        expect(lz4.arena.subarray(1100 + most + SLACK_BYTES, 4000).every((b) => b === 7)).toBe(true);
      }),
      { numRuns: 2000, seed: 2 },
    );
  });

  it('finds a block that is cut, or that reaches back before its window', () => {
    const text = Buffer.from('a repetition, a repetition, a repetition, and an end of some length'),
      block = packed(text);
    for (let cut = 1; cut < block.length; cut++) {
      const made = lz4.inflate(block.subarray(0, cut), lz4.arena, 0, text.length, 0);
      // Cut right behind literals it is a whole block of less.
      expect(made).toBeLessThan(text.length);
    }
    // One literal, then a match from 2 back.
    expect(lz4.inflate(Uint8Array.of(0x10, 65, 2, 0, 0x50, 1, 2, 3, 4, 5), lz4.arena, 10, 100, 10)).toBe(-1);
    expect(lz4.inflate(Uint8Array.of(0x10, 65, 2, 0, 0x50, 1, 2, 3, 4, 5), lz4.arena, 10, 100, 9)).toBe(10);
    expect(lz4.inflate(Uint8Array.of(0x10, 65, 0, 0, 0x50, 1, 2, 3, 4, 5), lz4.arena, 10, 100, 0)).toBe(-1);
    expect(lz4.inflate(new Uint8Array(0), lz4.arena, 10, 100, 0)).toBe(-1);
  });

  it('inflates a linked block in memory of another kind with the window before it', () => {
    const first = Buffer.from('x'.repeat(WINDOW_BYTES) + 'the words that come again'),
      second = Buffer.from('the words that come again, and the words that come again');
    const block = compressSync(second, first.subarray(first.length - WINDOW_BYTES)).subarray(4);
    for (const into of [new Uint8Array(first.length + second.length + SLACK_BYTES), lz4.arena]) {
      into.set(first);
      expect(lz4.inflate(block, into, first.length, second.length, 0)).toBe(second.length);
      expect(Buffer.from(into.subarray(first.length, first.length + second.length)).toString()).toBe(second.toString());
    }
  });

  it('stays in its place until there is no room, then goes on elsewhere', () => {
    const codecs = codecsWith(lz4),
      records = new Records(),
      text = Buffer.from('some words, some words, some words'.repeat(50));
    records.bytes = lz4.arena.subarray(0, 4000);
    const frame = Buffer.concat(lz4Deflate(text));
    for (let n = 1; n <= 5; n++) {
      codecs.inflate(3, frame, records, 1 << 20);
      expect(records.used).toBe(n * text.length);
      expect(Buffer.from(records.bytes.subarray(0, records.used)).toString()).toBe(text.toString().repeat(n));
      expect(records.bytes.buffer === lz4.arena.buffer).toBe(n <= 2);
    }
  });
});
