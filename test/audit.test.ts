import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import { type AuditHead, writeEntry } from '../src/control/audit-chain.ts';
import { type AuditAnchor, AuditLog, auditFile, auditHeadFile, encodeAuditRows, entriesAfter, readHeadFile } from '../src/control/audit.ts';
import { verifyAudit } from '../src/control/audit-verify.ts';
import { ControlStore, knownAnchor } from '../src/control/control-store.ts';

let dir: string, file: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-audit-'));
  file = auditFile(dir);
});
afterEach(() => fs.rmSync(dir, { recursive: true }));

const AT = Date.UTC(2025, 0, 2, 3, 4, 5, 678);
const now = (): number => AT;

class Anchor implements AuditAnchor {
  head: AuditHead | undefined;
  writes = 0;
  /** Throws in place of the n-th write from now on: the process that is killed before it. */
  dieIn = Number.POSITIVE_INFINITY;
  read(): AuditHead | undefined {
    return this.head;
  }
  write(number: number, hash: string): void {
    if (--this.dieIn < 0) throw new Error('killed');
    this.writes++;
    this.head = { number, hash };
  }
}

function record(anchor: Anchor, n: number): void {
  const log = AuditLog.open(dir, anchor, now);
  for (let i = 0; i < n; i++) log.append('run.started', 'ads', { config: { shards: i }, note: 'ä€ \ufffd "quoted"\n' });
  log.close();
}

const lines = (): string[] => fs.readFileSync(file, 'utf8').split('\n').slice(0, -1);
const write = (all: readonly string[]): void => fs.writeFileSync(file, all.map((l) => `${l}\n`).join(''));

describe('the audit log', () => {
  test('keeps what it is told, in order and with its time, across openings', () => {
    const anchor = new Anchor();
    record(anchor, 2);
    record(anchor, 1);
    const all = [...entriesAfter(file, 0)].map(({ entry }) => entry);
    expect(all.map((e) => [e.number, e.kind, e.job, e.at])).toEqual(
      [1, 2, 3].map((n) => [n, 'run.started', 'ads', '2025-01-02T03:04:05.678Z']),
    );
    expect(all[1]!.previous).toBe(all[0]!.hash);
    expect(all[0]!['note']).toBe('ä€ \ufffd "quoted"\n');
    expect(anchor.head).toEqual({ number: 3, hash: all[2]!.hash });
    expect(readHeadFile(auditHeadFile(dir))).toEqual(anchor.head);
    expect(verifyAudit(file, anchor.head)).toMatchObject({ ok: true, entries: 3, tornBytes: 0 });
  });

  test('has the entry in the file before it anchors it', () => {
    const anchor = new Anchor();
    let seen = 0;
    const log = AuditLog.open(dir, { read: () => undefined, write: (n, hash) => ((seen = lines().length), anchor.write(n, hash)) }, now);
    log.append('run.started', 'ads', {});
    log.close();
    expect(seen).toBe(1);
  });

  test('takes no detail under a name of its own', () => {
    const log = AuditLog.open(dir, new Anchor(), now);
    expect(() => log.append('run.started', 'ads', { hash: 'x' })).toThrow(/may not be named hash/);
    expect(() => log.append('run.started', 'ads', { x: 'y'.repeat(1024 * 1024) })).toThrow(/longer than/);
    expect(log.head).toBeUndefined();
    log.close();
  });

  test('gives ClickHouse what it has not acknowledged, once', () => {
    record(new Anchor(), 4);
    const rest = [...entriesAfter(file, 2)];
    expect(rest.map(({ entry }) => entry.number)).toEqual([3, 4]);
    expect([...entriesAfter(file, 0, 2)].map(({ entry }) => entry.number)).toEqual([1, 2]);
    const { target, rows, body } = encodeAuditRows('i1', rest);
    expect(target).toBe('tally_audit_rows (`instance`, `number`, `at`, `kind`, `job`, `entry`, `hash`, `version`)');
    expect(rows).toBe(2);
    const bytes = Buffer.from(body);
    expect(bytes.subarray(0, 3).toString('latin1')).toBe('\u0002i1');
    expect(bytes.readBigUInt64LE(3)).toBe(3n);
    expect(bytes.readBigInt64LE(11)).toBe(BigInt(AT));
    expect(bytes.toString()).toContain(lines()[3]!);
  });
});

describe('after a kill', () => {
  test('at any byte of an entry, the next start goes on, notes what it cut, and verify is content all along', () => {
    const before = new Anchor();
    record(before, 2);
    const kept = fs.readFileSync(file);
    const { line } = writeEntry({
      number: 3,
      at: new Date(AT).toISOString(),
      kind: 'run.ended',
      job: 'ads',
      books: { read: 7 },
      previous: before.head!.hash,
    });
    for (let cut = 0; cut <= line.length; cut++) {
      fs.writeFileSync(file, Buffer.concat([kept, Buffer.from(line.slice(0, cut))]));
      const anchor = new Anchor();
      anchor.head = before.head;
      expect(verifyAudit(file, anchor.head)).toMatchObject({ ok: true, tornBytes: cut === line.length ? 0 : cut });
      AuditLog.open(dir, anchor, now).close();
      const kinds = lines()
        .slice(2)
        .map((l) => (JSON.parse(l) as { kind: string }).kind);
      expect(kinds).toEqual(cut === 0 ? [] : cut === line.length ? ['run.ended'] : ['audit.repaired']);
      expect(anchor.head!.number).toBe(lines().length);
      expect(verifyAudit(file, anchor.head)).toMatchObject({ ok: true, tornBytes: 0 });
    }
  });

  test('between file and anchor, the entry is taken over, the first one too', () => {
    const anchor = new Anchor();
    for (let n = 1; n <= 3; n++) {
      const log = AuditLog.open(dir, anchor, now);
      anchor.dieIn = 0;
      expect(() => log.append('run.started', 'ads', {})).toThrow('killed');
      log.close();
      expect(anchor.head?.number ?? 0).toBe(n - 1);
      expect(verifyAudit(file, anchor.head)).toMatchObject({ ok: true, entries: n });
      anchor.dieIn = Number.POSITIVE_INFINITY;
      AuditLog.open(dir, anchor, now).close();
      expect(anchor.head!.number).toBe(n);
    }
  });

  test('while it repairs, it repairs again', () => {
    const anchor = new Anchor();
    record(anchor, 1);
    fs.appendFileSync(file, '{"number":2,');
    anchor.dieIn = 1;
    expect(() => AuditLog.open(dir, anchor, now)).toThrow('killed');
    anchor.dieIn = Number.POSITIVE_INFINITY;
    AuditLog.open(dir, anchor, now).close();
    expect(lines().map((l) => (JSON.parse(l) as { kind: string }).kind)).toEqual(['run.started', 'audit.repaired']);
    expect(anchor.head!.number).toBe(2);
  });

  test('zeros that a power cut left in place of the last entry are cut', () => {
    const anchor = new Anchor();
    record(anchor, 1);
    fs.appendFileSync(file, Buffer.concat([Buffer.alloc(100), Buffer.from('"}\n')]));
    expect(verifyAudit(file, anchor.head).ok).toBe(true);
    AuditLog.open(dir, anchor, now).close();
    expect(lines()).toHaveLength(2);
  });
});

describe('tampering', () => {
  let anchor: Anchor;
  beforeEach(() => {
    anchor = new Anchor();
    record(anchor, 5);
  });
  function found(expected: RegExp): void {
    const verdict = verifyAudit(file, anchor.head);
    expect(verdict.ok).toBe(false);
    expect(verdict.problem).toMatch(expected);
    const bytes = fs.existsSync(file) ? fs.readFileSync(file) : undefined;
    expect(() => AuditLog.open(dir, anchor, now)).toThrow(/is not what was written/);
    expect(fs.existsSync(file) ? fs.readFileSync(file) : undefined).toEqual(bytes);
  }

  test('of any byte of any entry is found', () => {
    const good = fs.readFileSync(file);
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1;
      fs.writeFileSync(file, bad);
      expect(verifyAudit(file, anchor.head).ok, `byte ${at}`).toBe(false);
    }
  });

  test('an entry that was changed, its hash made to fit', () => {
    const all = lines();
    for (const at of [0, 2, 4]) {
      const entry = JSON.parse(all[at]!) as Record<string, unknown>;
      delete entry['hash'];
      const forged = writeEntry({ ...entry, job: 'another' } as never).line.trimEnd();
      write(all.with(at, forged));
      found(at === 4 ? /entry 5 is not the one/ : /does not follow/);
    }
  });

  test('a whole chain made anew', () => {
    const other = new Anchor();
    fs.rmSync(path.join(dir, 'audit'), { recursive: true });
    const log = AuditLog.open(dir, other, now);
    for (let i = 0; i < 6; i++) log.append('run.started', 'forged', {});
    log.close();
    found(/entry 5 is not the one that the state knows/);
  });

  test('an entry that was removed', () => {
    for (const at of [0, 1, 3]) {
      write(lines().toSpliced(at, 1));
      found(/missing or moved/);
      fs.rmSync(path.join(dir, 'audit'), { recursive: true });
      anchor = new Anchor();
      record(anchor, 5);
    }
  });

  test('entries that changed places', () => {
    const all = lines();
    write(all.with(1, all[2]!).with(2, all[1]!));
    found(/entry 2 is missing or moved/);
  });

  test('an entry that stands twice', () => {
    write([...lines(), lines()[4]!]);
    found(/entry 6 is missing or moved/);
  });

  test('an end that was cut off, at any byte', () => {
    const all = fs.readFileSync(file);
    const from = all.lastIndexOf('\n', all.length - 2) + 1;
    for (let size = from; size < all.length; size++) {
      fs.writeFileSync(file, all.subarray(0, size));
      expect(verifyAudit(file, anchor.head)).toMatchObject({ ok: false, problem: 'the last entry (5) has been cut off' });
    }
    write(lines().slice(0, 2));
    found(/entries 3 to 5 have been cut off/);
  });

  test('a file that is gone or empty', () => {
    fs.writeFileSync(file, '');
    found(/entries 1 to 5/);
    fs.rmSync(file);
    found(/entries 1 to 5/);
  });

  test('a file beside a state that never knew it', () => {
    anchor.head = undefined;
    found(/not of one data directory/);
  });

  test('what stands after a torn line', () => {
    fs.appendFileSync(file, '\0\0\n{}\n');
    found(/entry 6 is damaged, and others stand after it/);
  });
});

describe('the control store', () => {
  test('names the data directory once, and keeps anchor and acknowledgement', () => {
    const store = new MemoryStore();
    const first = ControlStore.over(store, 'x');
    expect(first.isNew).toBe(true);
    first.anchor.write(3, 'ab');
    first.acknowledge(2);
    const again = ControlStore.over(store, 'x');
    expect(again.isNew).toBe(false);
    expect(again.instance).toBe(first.instance);
    expect(again.instance).toMatch(/^[0-9a-f]{16}$/);
    expect(again.anchor.read()).toEqual({ number: 3, hash: 'ab' });
    expect(again.acknowledged()).toBe(2);
  });

  test('of a newer tally is refused', () => {
    const store = new MemoryStore();
    const batch = store.batch();
    batch.put(Buffer.from('format'), Buffer.from('2'));
    store.commit(batch);
    expect(() => ControlStore.over(store, 'x')).toThrow(/format 2, and this tally knows format 1/);
  });

  test('on disk: the anchor comes from the state, and from head.json while someone holds it', async () => {
    expect(await knownAnchor(dir)).toEqual({ head: undefined, from: 'nothing' });
    expect(fs.readdirSync(dir)).toEqual([]);
    const control = await ControlStore.open(dir);
    const log = AuditLog.open(dir, control.anchor, now);
    log.append('run.started', 'ads', {});
    expect(await knownAnchor(dir)).toEqual({ head: log.head, from: 'head.json' });
    log.close();
    await control.close();
    fs.rmSync(auditHeadFile(dir));
    expect(await knownAnchor(dir)).toEqual({ head: log.head, from: 'state' });
    const again = await ControlStore.open(dir);
    AuditLog.open(dir, again.anchor, now).close();
    await again.close();
    expect(readHeadFile(auditHeadFile(dir))).toEqual(log.head);
  });
});
