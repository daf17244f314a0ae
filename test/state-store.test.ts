import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { StoreError, StoreLockedError } from '../state/errors.ts';
import { MemoryStore } from '../state/memory.ts';
import { openRocks } from '../state/rocksdb.ts';
import type { Store } from '../state/store.ts';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-state-'));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

let dirs = 0;
const kinds: [string, () => Promise<Store>][] = [
  ['rocksdb', () => openRocks(path.join(root, `s${dirs++}`))],
  ['memory', () => Promise.resolve(new MemoryStore())],
];
const k = (...bytes: number[]) => Uint8Array.from(bytes);
const ALL: [Uint8Array, Uint8Array] = [k(0), k(255, 255)];
const bytes = (rows: readonly (Uint8Array | undefined)[]) => rows.map((r) => (r === undefined ? undefined : [...r]));

describe.each(kinds)('the %s store', (_name, open) => {
  it('gives back what was committed, in the order of unsigned bytes', async () => {
    const store = await open();
    const batch = store.batch();
    for (const key of [k(200), k(3), k(3, 0), k(127, 255), k(128)]) batch.put(key, key);
    batch.put(k(9), new Uint8Array(0));
    expect(store.get(k(3))).toBeUndefined();
    store.commit(batch);
    expect(bytes(store.keys(...ALL))).toEqual([[3], [3, 0], [9], [127, 255], [128], [200]]);
    expect(bytes(store.keys(k(3, 0), k(128)))).toEqual([[3, 0], [9], [127, 255]]);
    expect(bytes(store.keys(k(3, 0), k(128), 2))).toEqual([[3, 0], [9]]);
    expect(store.range(k(128), k(255)).map(([a, b]) => [[...a], [...b]])).toEqual([
      [[128], [128]],
      [[200], [200]],
    ]);
    expect([...store.get(k(9))!]).toEqual([]);
    expect(store.keys(k(128), k(3))).toEqual([]);
    await store.close();
  });

  it('applies the operations of a batch in their order, and forgets a batch that is not committed', async () => {
    const store = await open();
    const first = store.batch();
    first.put(k(1), k(1));
    first.del(k(1));
    first.put(k(2), k(2));
    first.put(k(2), k(3));
    first.del(k(7));
    store.commit(first);
    const lost = store.batch();
    lost.put(k(5), k(5));
    const second = store.batch();
    second.put(k(6), k(6));
    store.commit(second);
    expect(bytes(store.keys(...ALL))).toEqual([[2], [6]]);
    expect([...store.get(k(2))!]).toEqual([3]);
    const third = store.batch();
    store.commit(third);
    expect(store.keys(...ALL).length).toBe(2);
    await store.close();
  });

  it('copies what it is handed and hands out copies', async () => {
    const store = await open();
    const value = new Uint8Array(16).fill(7),
      key = new Uint8Array([9, 1]);
    const batch = store.batch();
    batch.put(key.subarray(0, 1), value.subarray(4, 8));
    value.fill(1);
    key.fill(1);
    store.commit(batch);
    expect([...store.get(k(9))!]).toEqual([7, 7, 7, 7]);
    store.get(k(9))!.fill(0);
    expect([...store.get(k(9))!]).toEqual([7, 7, 7, 7]);
    await store.close();
  });

  it('says that it is closed', async () => {
    const store = await open();
    const batch = store.batch();
    await store.close();
    for (const call of [
      () => store.get(k(1)),
      () => store.keys(...ALL),
      () => store.range(...ALL),
      () => store.batch(),
      () => store.commit(batch),
    ]) {
      expect(call).toThrow(StoreError);
    }
    await store.close();
  });

  it('refuses a batch of another store, and one that was committed before', async () => {
    const store = await open(),
      other = await open();
    expect(() => store.commit(other.batch())).toThrow('another store');
    const batch = store.batch();
    store.commit(batch);
    expect(() => store.commit(batch)).toThrow('committed once');
    await store.close();
    await other.close();
  });
});

describe('the memory store', () => {
  it('fails a commit when told to, with nothing or everything applied, and then wants to be opened again', () => {
    for (const when of ['before', 'after'] as const) {
      const store = new MemoryStore();
      store.failNextCommit(when);
      const batch = store.batch();
      batch.put(k(1), k(1));
      expect(() => store.commit(batch)).toThrow(StoreError);
      expect(() => store.get(k(1))).toThrow(StoreError);
      expect(store.fork().keys(...ALL).length).toBe(when === 'after' ? 1 : 0);
    }
  });

  it('forks: neither sees what the other does later', () => {
    const store = new MemoryStore();
    const image = store.snapshot(),
      fork = store.fork();
    const batch = store.batch();
    batch.put(k(1), k(1));
    store.commit(batch);
    expect(fork.keys(...ALL)).toEqual([]);
    expect(new MemoryStore(image).keys(...ALL)).toEqual([]);
    expect(store.fork().keys(...ALL).length).toBe(1);
  });
});

describe('the rocksdb store', () => {
  it('is there again after it was closed, and can be opened once at a time', async () => {
    const dir = path.join(root, 'again/and/again');
    const store = await openRocks(dir);
    await expect(openRocks(dir)).rejects.toThrow(StoreLockedError);
    const batch = store.batch();
    batch.put(k(1), k(2));
    store.commit(batch);
    await store.close();
    const next = await openRocks(dir);
    expect([...next.get(k(1))!]).toEqual([2]);
    await next.close();
  });

  it('names the directory when it cannot be made or is damaged', async () => {
    const file = path.join(root, 'file');
    fs.writeFileSync(file, 'x');
    await expect(openRocks(path.join(file, 'db'))).rejects.toMatchObject({ fault: 'IO' });
    const dir = path.join(root, 'damaged');
    await (await openRocks(dir)).close();
    fs.writeFileSync(path.join(dir, 'CURRENT'), 'nonsense');
    await expect(openRocks(dir)).rejects.toMatchObject({ fault: 'CORRUPT', message: expect.stringContaining(dir) });
  });

  it('holds whole commits only, and all that were answered, after kill -9', async () => {
    const dir = path.join(root, 'killed');
    const program = `
      import { openRocks } from ${JSON.stringify(new URL('../state/rocksdb.ts', import.meta.url).href)};
      const store = await openRocks(${JSON.stringify(dir)});
      const from = store.keys(Buffer.alloc(1), Buffer.from([255])).length / 8;
      const value = Buffer.alloc(1 << 20, 'abcdefgh');
      for (let n = from; ; n++) {
        const batch = store.batch();
        for (let i = 0; i < 8; i++) { const key = Buffer.alloc(5); key.writeUInt32BE(n + 1); key[4] = i; batch.put(key, value); }
        store.commit(batch);
        process.stdout.write(String.fromCharCode(10) + n);
      }`;
    for (let round = 0; round < 2; round++) {
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      await new Promise<void>((done) => {
        child.on('exit', () => done());
        child.stdout.on('data', (d: Buffer) => {
          said += d.toString();
          if (said.split('\n').length > 4 + round) child.kill('SIGKILL');
        });
      });
      const store = await openRocks(dir);
      const keys = store.keys(k(0), k(255)).length;
      expect(keys % 8).toBe(0);
      expect(keys / 8).toBeGreaterThan(Number(said.split('\n').at(-1)));
      await store.close();
    }
  }, 20_000);
});
