import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readInStep } from '../src/log/in-step.ts';
import type { InStep } from '../src/log/in-step.ts';
import { keyOf } from '../src/log/line-key.ts';
import { partitionOf } from '../topology/murmur2.ts';
import { LineProducer } from '../src/log/produce-lines.ts';
import { openLog } from '../src/log/segments.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { readAll } from './log-fixture.ts';

let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-log-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

const keyText = (line: string, field: string): string | null => keyOf(Buffer.from(line), field)?.toString() ?? null;

interface Ended {
  readonly exit: number | null;
  readonly stderr: string;
}

function tally(words: readonly string[], input?: Buffer): Promise<Ended> {
  const child = spawn(process.execPath, ['src/cli/main.ts', 'produce', '--log', dir, '--topic', 't', ...words], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on('error', () => {});
  const from = new PassThrough();
  from.pipe(child.stdin);
  from.end(input);
  return new Promise((resolve) => child.on('close', (exit) => resolve({ exit, stderr })));
}

describe('lines as records', () => {
  it('are the bytes between newlines, wherever the input is cut into chunks', () => {
    const line = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constant(Uint8Array.from([])),
      fc.constant(Uint8Array.from([255, 0, 13, 65])),
    );
    let topic = 0;
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 30 })),
        fc.boolean(),
        fc.boolean(),
        (lines, cuts, isCrlf, isClosed) => {
          const clean = lines.map((l) => Buffer.from(l.filter((b) => b !== 10))),
            end = isCrlf ? '\r\n' : '\n';
          let input = Buffer.concat(clean.flatMap((l) => [l, Buffer.from(end)]));
          if (!isClosed) input = input.subarray(0, Math.max(0, input.length - end.length));
          const name = `t${topic++}`,
            writer = new TopicWriter(dir, name, { compression: 'none' }),
            producer = new LineProducer(writer);
          let at = 0;
          for (const cut of cuts) {
            producer.push(input.subarray(at, at + cut), 5);
            at = Math.min(input.length, at + cut);
          }
          producer.push(input.subarray(at), 5);
          producer.end(5);
          writer.close();
          const want = input
            .toString('latin1')
            .split('\n')
            .map((l) => (l.endsWith('\r') ? l.slice(0, -1) : l))
            .filter((l) => l !== '');
          const log = openLog(dir);
          expect(readAll(log, name, 0).map((r) => r.value)).toEqual(want);
          log.close();
        },
      ),
      { numRuns: 60, seed: 4 },
    );
  });

  it('have as key the text of a field, when they are JSON and have it', () => {
    expect(keyText('{"id":"A\\u00e9\\n"}', 'id')).toBe('Aé\n');
    expect(keyText('{"id":"550E8400-E29B-41D4-A716-446655440000"}', 'id')).toBe('550e8400-e29b-41d4-a716-446655440000');
    expect(keyText('{"a":{"id":1},"id":1.50e3,"b":[{"id":2}]}', 'id')).toBe('1.50e3');
    expect(keyText('{"id":12345678901234567890}', 'id')).toBe('12345678901234567890');
    expect(keyText('{"id":true}', 'id')).toBe('true');
    for (const line of [
      '{"id":null}',
      '{"id":[1]}',
      '{"id":{}}',
      '{"x":{"id":"n"}}',
      '[1]',
      '"id"',
      '{"id":"a"',
      'x',
      '{"id":"\\ud800"}',
      '{}',
    ])
      expect([line, keyText(line, 'id')]).toEqual([line, null]);
    expect(keyText('{"a":1}', 'toString')).toBeNull();
    expect(keyText('{"":7}', '')).toBe('7');
    expect(keyOf(Buffer.from([0x7b, 0x22, 0x69, 0x64, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]), 'id')).toBeNull();
  });

  it('go to the partition of their key, or are spread', () => {
    const writer = new TopicWriter(dir, 't', { partitions: 4 }),
      producer = new LineProducer(writer, 'id');
    for (let i = 0; i < 200; i++) producer.push(Buffer.from(i % 2 === 0 ? `{"id":"k${i % 20}"}\n` : 'no key\n'), 9);
    writer.close();
    const log = openLog(dir);
    for (let p = 0; p < 4; p++) {
      const records = readAll(log, 't', p);
      expect(records.filter((r) => r.key === null)).toHaveLength(25);
      for (const r of records) if (r.key !== null) expect(partitionOf(Buffer.from(r.key), 4)).toBe(p);
    }
    log.close();
  });
});

describe('tally produce', () => {
  it('appends files and stdin, refuses another number of partitions and a missing file, and goes on where a pipe ended', async () => {
    const file = path.join(dir, 'lines');
    fs.writeFileSync(file, 'one\r\n\ntwo\n\nthree');
    expect(await tally(['--partitions', '2', file])).toEqual({
      exit: 0,
      stderr: '3 records appended to t (2 partitions), 2 empty lines skipped\n',
    });
    expect((await tally(['-'], Buffer.from('four\n'))).exit).toBe(0);
    const more = await tally(['--partitions', '3', file]);
    expect([more.exit, more.stderr.split('\n')[0]]).toEqual([2, 'tally: E_PARTITIONS: Topic "t" has 2 partitions, not 3.']);
    const missing = await tally([path.join(dir, 'nowhere')]);
    expect(missing.exit).toBe(3);
    expect(missing.stderr).toMatch(/^tally: E_INPUT: There is no file .*\nhint: /);
    expect((await tally(['--compression', 'brotli', file])).stderr).toMatch(/E_COMPRESSION/);
    const log = openLog(dir);
    expect([...readAll(log, 't', 0), ...readAll(log, 't', 1)].map((r) => r.value).sort()).toEqual(['four', 'one', 'three', 'two']);
    log.close();
  }, 30_000);
});

describe('partitions in step', () => {
  const fill = (times: readonly (readonly number[])[]): void => {
    const writer = new TopicWriter(dir, 't', { partitions: times.length });
    times.forEach((list, p) => {
      for (const ms of list) {
        writer.append(p, null, Buffer.from(`${p}@${ms}`), ms);
        writer.send();
      }
    });
    writer.close();
  };
  const places = (n: number): { topic: string; partition: number; offset: number }[] =>
    Array.from({ length: n }, (_, partition) => ({ topic: 't', partition, offset: 0 }));
  const take = (source: InStep, most: number = 1000): string[] => {
    const seen: string[] = [];
    for (let step = source.next(); step !== undefined && seen.length < most; step = source.next()) {
      expect(source.next()).toBe(step);
      seen.push(`${step.partition}@${step.batch.firstTimestamp}`);
      source.advance(step);
    }
    return seen;
  };

  it('come in the order of their time, ties in the order of the partitions', () => {
    const lists = fc.array(
      fc.array(
        fc.integer({ min: 0, max: 30 }).map((n) => n * 10),
        { maxLength: 8 },
      ),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(lists, (times) => {
        fs.rmSync(dir, { recursive: true, force: true });
        const sorted = times.map((list) => [...list].sort((a, b) => a - b));
        fill(sorted);
        const log = openLog(dir),
          source = readInStep(log, places(times.length), { untilEnd: true });
        const want = sorted
          .flatMap((list, p) => list.map((ms) => ({ p, ms })))
          .sort((a, b) => a.ms - b.ms || a.p - b.p)
          .map(({ p, ms }) => `${p}@${ms}`);
        expect(take(source)).toEqual(want);
        expect(source.caughtUp()).toEqual(times.map(() => true));
        source.close();
        log.close();
      }),
      { numRuns: 25, seed: 5 },
    );
  });

  it('end where the log ended when asked for, else go on with what comes', () => {
    fill([[10, 30], [20]]);
    const log = openLog(dir),
      bounded = readInStep(log, places(2), { untilEnd: true }),
      live = readInStep(log, places(2));
    expect(bounded.ends).toEqual([2, 1]);
    expect(take(bounded, 1)).toEqual(['0@10']);
    expect(bounded.caughtUp()).toEqual([false, false]);
    expect(take(live)).toEqual(['0@10', '1@20', '0@30']);
    expect(live.caughtUp()).toEqual([true, true]);
    fill([[40], [35]]);
    expect(take(bounded)).toEqual(['1@20', '0@30']);
    expect(bounded.caughtUp()).toEqual([true, true]);
    expect(live.caughtUp()).toEqual([false, false]);
    expect(take(live)).toEqual(['1@35', '0@40']);
    const again = readInStep(log, [
      { topic: 't', partition: 0, offset: 2 },
      { topic: 't', partition: 1, offset: 1 },
    ]);
    expect(take(again)).toEqual(['1@35', '0@40']);
    for (const source of [bounded, live, again]) source.close();
    log.close();
  });
});
