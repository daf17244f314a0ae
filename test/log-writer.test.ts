import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileLock } from '../src/lock.ts';
import { murmur2, partitionOf } from '../topology/murmur2.ts';
import { openLog } from '../src/log/segments.ts';
import { makeTopic } from '../src/log/topics.ts';
import { TopicWriter } from '../src/log/writer.ts';
import { readAll } from './log-fixture.ts';

let dir: string;
let children: ChildProcess[] = [];
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-log-'));
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  fs.rmSync(dir, { recursive: true, force: true });
});

const source = (name: string): string => JSON.stringify(path.resolve('src', name));

/** A process that runs `body` with the named modules at hand. */
function start(body: string): ChildProcess {
  const script = `const { TopicWriter } = await import(${source('log/writer.ts')}); const { makeTopic } = await import(${source('log/topics.ts')});
    const fs = await import('node:fs'); const { FileLock } = await import(${source('lock.ts')}); const dir = ${JSON.stringify(dir)}; ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode;
}

function all(topic: string): string[] {
  const log = openLog(dir);
  const found = Array.from({ length: log.partitions(topic) }, (_, p) => {
    const records = readAll(log, topic, p);
    records.forEach((r, i) => expect(r.offset).toBe(i));
    return records.map((r) => r.value!);
  });
  log.close();
  return found.flat();
}

describe('producers of a log', () => {
  it('write side by side into the same partitions, over many files, and lose or mix nothing', async () => {
    const producers = [0, 1, 2].map((id) =>
      start(`
      process.stdout.write('ready');
      while (!fs.existsSync(dir + '/go')) await new Promise((done) => setTimeout(done, 1));
      const writer = new TopicWriter(dir, 't', { partitions: 2, compression: 'none', segmentBytes: 20000, batchBytes: 1000 });
      for (let i = 0; i < 4000; i++) writer.append(i % 2, null, Buffer.from('${id}:' + i + ':'.padEnd(60, '${id}')), 1000 + i);
      writer.close();`),
    );
    await Promise.all(producers.map((child) => once(child.stdout!, 'data')));
    fs.writeFileSync(path.join(dir, 'go'), '');
    for (const child of producers) expect(await ended(child)).toBe(0);
    const values = all('t');
    expect(values).toHaveLength(12_000);
    for (const id of [0, 1, 2]) {
      const mine = values.filter((v) => v.startsWith(`${id}:`)).map((v) => Number(v.split(':')[1]));
      // Two partitions, each in the order in which its producer appended.
      expect(mine).toEqual([
        ...mine.filter((n) => n % 2 === 0).sort((a, b) => a - b),
        ...mine.filter((n) => n % 2 === 1).sort((a, b) => a - b),
      ]);
      expect(new Set(mine).size).toBe(4000);
    }
    const turns = values.map((v) => v[0]).filter((id, i, ids) => id !== ids[i - 1]).length;
    expect(turns).toBeGreaterThan(6);
    expect(fs.readdirSync(path.join(dir, 't-0')).filter((n) => n.endsWith('.log')).length).toBeGreaterThan(5);
  }, 30_000);

  it('leave a whole log behind when they are killed at any moment, and keep all that flush came back from', async () => {
    let sure = 0;
    for (let round = 0; round < 6; round++) {
      const child = start(`
        const writer = new TopicWriter(dir, 't', { compression: 'none', segmentBytes: 4000000 }), body = '.'.repeat(90000);
        for (let i = ${sure}; ; i++) { writer.append(0, null, Buffer.from(i + body), i); if (i % 10 === 9) { writer.flush(); process.stdout.write(i + '\\n'); } }`);
      let said = '';
      child.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
      await once(child.stdout!, 'data');
      await new Promise((done) => setTimeout(done, 20 + round * 17));
      child.kill('SIGKILL');
      await once(child, 'close');
      const numbers = all('t').map((v) => Number.parseInt(v, 10)),
        promised = Number(said.trim().split('\n').at(-1));
      expect(numbers).toEqual(numbers.map((_, i) => i));
      expect(numbers.length).toBeGreaterThan(promised);
      sure = numbers.length;
    }
  }, 30_000);

  it('make a topic once, with one number of partitions, whoever is first and whoever is killed', async () => {
    const makers = [3, 3, 5].map((n) =>
      start(`try { makeTopic(dir, 'once', ${n}); } catch (e) { process.exit(e.code === 'E_PARTITIONS' ? 9 : 1); }`),
    );
    const codes = await Promise.all(makers.map(ended));
    const count = openLog(dir).partitions('once');
    expect(codes).toEqual(count === 3 ? [0, 0, 9] : [9, 9, 0]);
    // As a kill in the middle leaves it: not there for readers, completed by the next producer.
    fs.writeFileSync(path.join(dir, '.making-half'), '');
    fs.mkdirSync(path.join(dir, 'half-0'));
    fs.mkdirSync(path.join(dir, 'half-1'));
    expect(() => openLog(dir).partitions('half')).toThrow(/no topic "half"/);
    expect(makeTopic(dir, 'half', 1)).toBe(1);
    expect(openLog(dir).partitions('half')).toBe(1);
    expect(makeTopic(dir, 'half', undefined)).toBe(1);
    expect(() => makeTopic(dir, 'half', 2)).toThrow(/has 1 partition, not 2/);
    expect(() => makeTopic(dir, 'a/b', 1)).toThrow(/no topic name/);
  }, 30_000);

  it('take a single record of 100 MB, in a batch of its own', () => {
    const writer = new TopicWriter(dir, 'big'),
      value = Buffer.alloc(100_000_000, 'abcdefg');
    writer.append(0, null, Buffer.from('before'), 1);
    writer.append(0, null, value, 2);
    writer.append(0, null, Buffer.from('after'), 3);
    writer.close();
    const log = openLog(dir),
      reader = log.reader('big', 0, 0),
      offsets: number[][] = [];
    for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
      offsets.push([batch.baseOffset, batch.lastOffset]);
      reader.advance();
    }
    expect(offsets).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
    expect(readAll(log, 'big', 0, 1)[0]!.value!.length).toBe(value.length);
    log.close();
    expect(() => new TopicWriter(dir, 'big').append(0, null, Buffer.alloc(1), 0, 0, 200 << 20)).toThrow(/more than/);
  }, 30_000);

  it('keep batches to a MiB of records', () => {
    const writer = new TopicWriter(dir, 't', { compression: 'none' });
    for (let i = 0; i < 30_000; i++) writer.append(0, null, Buffer.alloc(100 + (i % 50), 46), i);
    writer.close();
    const log = openLog(dir),
      reader = log.reader('t', 0, 0);
    for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
      expect(batch.bytes.length).toBeLessThanOrEqual(1024 * 1024 + 200);
      reader.advance();
    }
    reader.close();
    log.close();
  });
});

describe('the partitioner', () => {
  it("agrees with Kafka's own murmur2", () => {
    const known: [string, number][] = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
      ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
      ['abc', 479470107],
    ];
    for (const [key, hash] of known) expect([key, murmur2(Buffer.from(key))]).toEqual([key, hash]);
    expect(partitionOf(Buffer.from('21'), 12)).toBe((-973932308 & 0x7fffffff) % 12);
  });
});

describe('a lock between processes', () => {
  it('excludes others, in this process and in another, until it is given back or its holder dies', async () => {
    const file = path.join(dir, 'lock'),
      mine = FileLock.tryLock(file)!;
    expect(mine.held).toBe(true);
    expect(FileLock.tryLock(file)).toBeUndefined();
    expect(await FileLock.lock(file, 30, 5)).toBeUndefined();
    mine.unlock();
    mine.unlock();
    const child = start(`FileLock.tryLock(dir + '/lock'); process.stdout.write('have'); setInterval(() => {}, 1000);`);
    await once(child.stdout!, 'data');
    expect(FileLock.lockSync(file, 20)).toBeUndefined();
    child.kill('SIGKILL');
    const again = await FileLock.lock(file, 5000, 5);
    expect(again?.held).toBe(true);
    again!.unlock();
    expect(() => FileLock.tryLock(path.join(dir, 'no', 'lock'))).toThrow(/cannot be opened/);
  }, 20_000);
});
