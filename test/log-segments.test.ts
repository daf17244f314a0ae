import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLog } from '../src/log/segments.ts';
import { indexPath } from '../src/log/segment-index.ts';
import { makeTopic } from '../src/log/topics.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { encodeRecords, frame, readAll, text } from './log-fixture.ts';

let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-log-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

const FIRST = '00000000000000000000.log';
const file = (name: string = FIRST): string => path.join(dir, 't-0', name);

/** Batches of three records each: r0, r1, ... */
function write(batches: number, options: { from?: number; size?: number; segmentBytes?: number } = {}): void {
  const writer = new TopicWriter(dir, 't', {
    compression: 'none',
    ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
  });
  for (let b = 0; b < batches; b++) {
    for (let i = 0; i < 3; i++) {
      const n = (options.from ?? 0) + b * 3 + i;
      writer.append(0, null, Buffer.from(`r${n}${'.'.repeat(options.size ?? 0)}`), 1000 + n);
    }
    writer.send();
  }
  writer.close();
}

function values(offset?: number): (string | null)[] {
  const log = openLog(dir);
  try {
    return readAll(log, 't', 0, offset).map((r) => r.value!.replaceAll('.', ''));
  } finally {
    log.close();
  }
}
const numbered = (n: number, from: number = 0): string[] => Array.from({ length: n - from }, (_, i) => `r${i + from}`);

function fault(work: () => unknown): { code: string; message: string; hint: string; exit: number } {
  try {
    work();
  } catch (error) {
    return error as { code: string; message: string; hint: string; exit: number };
  }
  throw new Error('nothing was wrong');
}

/** Puts batches into a partition as another program would. */
function place(batches: readonly Buffer[], name: string = FIRST): void {
  makeTopic(dir, 't', undefined);
  fs.writeFileSync(file(name), Buffer.concat(batches));
}
const one = (base: number, attributes: number = 0, producer: number = -1): Buffer =>
  frame(encodeRecords([text(`r${base}`)], 1000), { base, count: 1, attributes, producer });
const marker = (base: number, type: number, producer: number): Buffer =>
  frame(encodeRecords([{ key: Buffer.from([0, 0, 0, type]), value: Buffer.alloc(6), timestamp: 1000 }], 1000), {
    base,
    count: 1,
    attributes: 0x30,
    producer,
  });

describe('a log on disk', () => {
  it('ends before a last batch that is cut at any byte, and the next producer cuts it off', () => {
    write(3);
    const whole = fs.readFileSync(file()),
      second = (whole.length / 3) * 2;
    for (let cut = second; cut < whole.length; cut++) {
      fs.writeFileSync(file(), whole.subarray(0, cut));
      const log = openLog(dir);
      expect([cut, log.endOffset('t', 0)]).toEqual([cut, 6]);
      expect(readAll(log, 't', 0)).toHaveLength(6);
      log.close();
      if (cut % 7 !== 0) continue;
      write(1, { from: 6 });
      expect(fs.readFileSync(file()).length).toBe(whole.length);
      expect(values()).toEqual(numbered(9));
    }
  });

  it('ends before zeros, be it that they begin in the middle of a header or fill the file', () => {
    write(2);
    const whole = fs.readFileSync(file()),
      second = whole.length / 2;
    for (const keep of [0, 3, 8, 12, 15]) {
      fs.writeFileSync(file(), Buffer.concat([whole.subarray(0, second + keep), Buffer.alloc(3_000_000)]));
      expect(values()).toEqual(numbered(3));
    }
    write(1, { from: 3 });
    expect(fs.statSync(file()).size).toBe(whole.length);
    expect(values()).toEqual(numbered(6));
  });

  it('never takes a changed byte for records or for an end, wherever it is: it names topic, partition and offset', () => {
    write(3);
    const whole = fs.readFileSync(file()),
      each = whole.length / 3;
    for (let at = 0; at < whole.length; at++) {
      const inBatch = at % each,
        batch = Math.floor(at / each);
      // The leader epoch is no part of what a batch says.
      if (inBatch >= 12 && inBatch < 16) continue;
      for (const flip of [1, 0x80]) {
        const hurt = Buffer.from(whole);
        hurt[at]! ^= flip;
        fs.writeFileSync(file(), hurt);
        const error = fault(() => values());
        expect([at, error.code]).toEqual([at, 'E_CORRUPT_BATCH']);
        expect(error.message).toContain(`t, partition 0, offset ${batch * 3}:`);
      }
    }
  });

  it('gives what stands before the damage first, and a producer does not append behind it', () => {
    write(3);
    const whole = fs.readFileSync(file());
    whole[whole.length - 2]! ^= 1;
    fs.writeFileSync(file(), whole);
    const log = openLog(dir),
      reader = log.reader('t', 0, 0);
    expect(log.endOffset('t', 0)).toBe(9);
    for (let i = 0; i < 2; i++) {
      expect(reader.peek()!.baseOffset).toBe(i * 3);
      reader.advance();
    }
    expect(reader.peek()!.baseOffset).toBe(6);
    log.close();
    expect(fault(() => write(1)).code).toBe('E_CORRUPT_BATCH');
    fs.appendFileSync(file(), 'this is no batch, and long enough to be seen as garbage by anyone');
    expect(fault(() => values()).code).toBe('E_CORRUPT_BATCH');
  });

  it('tells garbage, a gap and another format from an end', () => {
    place([one(0), Buffer.from('garbage')]);
    expect(fault(() => values()).code).toBe('E_CORRUPT_BATCH');
    place([one(0), one(2)]);
    expect(fault(() => values()).message).toMatch(/offset 1:.*offset 2/);
    const old = one(1);
    old[16] = 1;
    place([one(0), old]);
    expect(fault(() => values()).code).toBe('E_CORRUPT_BATCH');
    place([one(0), Buffer.alloc(100), one(1)]);
    expect(fault(() => values()).code).toBe('E_CORRUPT_BATCH');
    const log = openLog(dir);
    expect(log.endOffset('t', 0)).toBe(2);
    log.close();
  });

  it('goes from file to file, and misses none', () => {
    write(40, { size: 100, segmentBytes: 2000 });
    const files = fs
      .readdirSync(path.join(dir, 't-0'))
      .filter((n) => n.endsWith('.log'))
      .sort();
    expect(files.length).toBeGreaterThan(4);
    expect(values()).toEqual(numbered(120));
    for (const from of [1, 29, 60, 119, 120]) expect(values(from)).toEqual(numbered(120, from));
    fs.renameSync(file(files[2]), path.join(dir, 'aside'));
    expect(fault(() => values()).message).toMatch(/records are missing/);
    fs.renameSync(path.join(dir, 'aside'), file(files[2]));
    fs.truncateSync(file(files[2]), fs.statSync(file(files[2])).size - 1);
    expect(fault(() => values()).code).toBe('E_CORRUPT_BATCH');
  });

  it('begins where its first file begins', () => {
    place([one(500), one(501)], '00000000000000000500.log');
    expect(values()).toEqual(['r500', 'r501']);
    const log = openLog(dir);
    expect(fault(() => log.reader('t', 0, 3)).code).toBe('E_LOG_TRUNCATED');
    expect(fault(() => log.reader('t', 0, 503)).code).toBe('E_LOG_TRUNCATED');
    expect(log.reader('t', 0, 502).peek()).toBeUndefined();
    log.close();
    write(1, { from: 502 });
    expect(values()).toEqual(['r500', 'r501', 'r502', 'r503', 'r504']);
  });

  it('shows a reader that waits at the end what comes, also in new files and after a torn end was cut', () => {
    makeTopic(dir, 't', 1);
    const log = openLog(dir),
      reader = log.reader('t', 0, 0),
      seen: number[] = [];
    const drain = (): void => {
      for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
        seen.push(batch.baseOffset);
        reader.advance();
      }
    };
    drain();
    for (let i = 0; i < 8; i++) {
      write(2, { from: i * 6, size: 50, segmentBytes: 700 });
      if (i % 2 === 0) {
        const last = fs
            .readdirSync(path.join(dir, 't-0'))
            .filter((n) => n.endsWith('.log'))
            .sort()
            .at(-1)!,
          tail = Buffer.alloc(90, 1);
        tail.writeBigInt64BE(BigInt((i + 1) * 6), 0);
        tail.writeInt32BE(5000, 8);
        tail[16] = 2;
        fs.appendFileSync(file(last), tail);
      }
      drain();
      expect(seen).toHaveLength((i + 1) * 2);
      expect(log.endOffset('t', 0)).toBe((i + 1) * 6);
    }
    reader.close();
    log.close();
    expect(values()).toEqual(numbered(48));
  });

  it('reads batches larger than its buffer, and keeps no large one', () => {
    const writer = new TopicWriter(dir, 't', { compression: 'none' }),
      big = Buffer.alloc(5 << 20, 97);
    for (let i = 0; i < 4; i++) writer.append(0, null, i % 2 === 0 ? Buffer.from('small') : big, i);
    writer.close();
    const log = openLog(dir, { chunkBytes: 200 });
    expect(readAll(log, 't', 0).map((r) => r.value!.length)).toEqual([5, big.length, 5, big.length]);
    log.close();
  });

  it('finds offsets and times the same with an index, without, and with one that lies', () => {
    const writer = new TopicWriter(dir, 't', { compression: 'none', segmentBytes: 6 << 20 }),
      body = Buffer.alloc(100_000, 98);
    for (let i = 0; i < 150; i++) {
      writer.append(0, null, body, 1_000_000 + i * 10);
      if (i % 4 === 3) writer.send();
    }
    writer.close();
    const index = indexPath(path.join(dir, 't-0'), 0),
      good = fs.readFileSync(index);
    expect(good.length).toBeGreaterThan(8 + 3 * 32);
    const check = (): void => {
      const log = openLog(dir);
      expect(log.endOffset('t', 0)).toBe(150);
      for (const n of [0, 1, 26, 37, 59, 60, 149]) {
        expect(log.offsetForTime('t', 0, 1_000_000 + n * 10)).toBe(n);
        expect(log.offsetForTime('t', 0, 1_000_000 + n * 10 - 9)).toBe(n);
        const reader = log.reader('t', 0, n);
        expect(reader.peek()!.baseOffset).toBeLessThanOrEqual(n);
        expect(reader.peek()!.lastOffset).toBeGreaterThanOrEqual(n);
        reader.close();
      }
      expect(log.offsetForTime('t', 0, 9e12)).toBe(150);
      log.close();
    };
    check();
    const shifted = Buffer.from(good),
      garbage = Buffer.from(good);
    good.copy(shifted, 8 + 32, 8 + 64, 8 + 96);
    garbage.fill(7, 20);
    // Whole by its own checksum, but the log has another batch there.
    const lying = Buffer.from(good);
    lying.writeDoubleLE(lying.readDoubleLE(8 + 64) + 1, 8 + 64);
    lying.writeUInt32LE(crc32c(lying.subarray(8 + 64, 8 + 88)), 8 + 88);
    for (const bytes of [lying, shifted, garbage, good.subarray(0, 50), Buffer.from('a broker has its own index here'), Buffer.alloc(0)]) {
      fs.writeFileSync(index, bytes);
      check();
    }
    for (const name of fs.readdirSync(path.join(dir, 't-0'))) if (name.endsWith('.idx')) fs.rmSync(file(name));
    check();
    write(1, { from: 150 });
    expect(fs.existsSync(index)).toBe(false);
    const log = openLog(dir);
    expect(log.endOffset('t', 0)).toBe(153);
    log.close();
  });

  it('is committed to what was read: an offset beyond the end is refused', () => {
    write(2);
    const log = openLog(dir),
      error = fault(() => log.reader('t', 0, 7));
    expect([error.code, error.exit]).toEqual(['E_LOG_TRUNCATED', 3]);
    expect(error.message).toMatch(/t, partition 0: offset 7 .* 6/);
    log.close();
  });

  it('shows committed transactions only, and waits for the marker of an open one', () => {
    const T = 16;
    place([one(0), one(1, T, 7), one(2, T, 8), marker(3, 0, 7), one(4, T, 7), marker(5, 1, 8), marker(6, 1, 7), one(7, T, 9)]);
    expect(values()).toEqual(['r0', 'r2', 'r4']);
    const log = openLog(dir),
      reader = log.reader('t', 0, 5);
    const bases = (): number[] => {
      const seen: number[] = [];
      for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
        seen.push(batch.baseOffset);
        reader.advance();
      }
      return seen;
    };
    expect(bases()).toEqual([5, 6]);
    fs.appendFileSync(file(), Buffer.concat([one(8), marker(9, 1, 9)]));
    expect(bases()).toEqual([7, 8, 9]);
    reader.close();
    log.close();
  });

  it('says what is missing', () => {
    expect(fault(() => openLog(path.join(dir, 'nowhere'))).code).toBe('E_LOG_MISSING');
    fs.writeFileSync(path.join(dir, 'file'), '');
    expect(fault(() => openLog(path.join(dir, 'file'))).code).toBe('E_LOG_MISSING');
    const kafka = fault(() => openLog('kafka://broker:9092'));
    expect([kafka.code, kafka.exit]).toEqual(['E_LOG_ADDRESS', 2]);
    makeTopic(dir, 'ads.click', 2);
    makeTopic(dir, 'ads.delivery', 1);
    const log = openLog(dir),
      missing = fault(() => log.partitions('ads.clicks'));
    expect(missing.code).toBe('E_TOPIC_MISSING');
    expect(missing.message).toContain('did you mean "ads.click"?');
    expect(missing.hint).toContain('ads.click, ads.delivery');
    expect(log.partitions('ads.click')).toBe(2);
    expect(fault(() => log.endOffset('ads.click', 2)).code).toBe('E_PARTITION_MISSING');
    fs.mkdirSync(path.join(dir, 'ads.click-3'));
    expect(fault(() => openLog(dir).partitions('ads.click')).code).toBe('E_TOPIC_BROKEN');
    expect(fault(() => log.partitions('../x')).code).toBe('E_TOPIC_NAME');
    log.close();
  });
});
