/**
 * The audit log of a data directory, DATA/audit/audit.jsonl: append-only, hash-chained (audit-chain.ts has the format). An entry is
 * fsync'd in the file first, then its number and hash are anchored in the state, then it is sent to ClickHouse. Opening finishes
 * what a kill left between two of these, and refuses anything that a kill cannot have left (E_AUDIT).
 *
 * DATA/audit/head.json repeats the anchor for readers that cannot open the state while a run holds it. Nothing trusts it more
 * than the state.
 */
import fs from 'node:fs';
import path from 'node:path';
import { AUDIT, insertTarget } from '../../topology/write/layout.ts';
import { RowBinary } from '../../topology/write/row-binary.ts';
import { TallyError } from '../errors.ts';
import { type AuditEntry, type AuditHead, ENTRY_BYTES_MAX, FIRST_PREVIOUS, auditLines, writeEntry } from './audit-chain.ts';
import { verifyAudit } from './audit-verify.ts';

export type AuditKind =
  | 'run.started'
  | 'shard.taken'
  | 'shard.released'
  | 'shard.rebuilt'
  | 'log.gap'
  | 'run.ended'
  | 'run.killed'
  | 'job.dropped'
  | 'audit.repaired';
export interface AuditAnchor {
  read(): AuditHead | undefined;
  /** Durable when it returns. */
  write(number: number, hash: string): void;
}
const RESERVED = ['number', 'at', 'kind', 'job', 'previous', 'hash'] as const;

export const auditFile = (dataDir: string): string => path.join(dataDir, 'audit', 'audit.jsonl');
export const auditHeadFile = (dataDir: string): string => path.join(dataDir, 'audit', 'head.json');

export class AuditLog {
  readonly file: string;
  #head: AuditHead | undefined;
  #fd: number;
  #bytes: number;
  readonly #anchor: AuditAnchor;
  readonly #now: () => number;
  readonly #headFile: string;

  private constructor(dataDir: string, anchor: AuditAnchor, now: () => number, head: AuditHead | undefined, bytes: number) {
    this.file = auditFile(dataDir);
    this.#headFile = auditHeadFile(dataDir);
    this.#anchor = anchor;
    this.#now = now;
    this.#head = head;
    this.#bytes = bytes;
    this.#fd = fs.openSync(this.file, 'a', 0o644);
  }

  /** `now` gives epoch milliseconds. Only one process at a time may have it open: it stands under the data directory's lock. */
  static open(dataDir: string, anchor: AuditAnchor, now: () => number): AuditLog {
    const file = auditFile(dataDir);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const anchored = anchor.read();
    const found = verifyAudit(file, anchored);
    if (!found.ok) {
      throw new TallyError(
        'E_AUDIT',
        `the audit log ${file} is not what was written: ${found.problem}.`,
        'nothing is recorded on top of it: keep this file as evidence and restore audit/ from a good copy (tally audit verify says when it holds).',
      );
    }
    const log = new AuditLog(dataDir, anchor, now, found.head, found.bytes);
    try {
      log.#recover(anchored, found.tornBytes);
    } catch (error) {
      log.close();
      throw error;
    }
    return log;
  }

  get head(): AuditHead | undefined {
    return this.#head;
  }

  append(kind: AuditKind, job: string, detail: Readonly<Record<string, unknown>>): AuditEntry {
    for (const name of RESERVED) if (name in detail) throw new Error(`an audit entry's detail may not be named ${name}`);
    const before = this.#head;
    const entry = {
      number: (before?.number ?? 0) + 1,
      at: new Date(this.#now()).toISOString(),
      kind,
      job,
      ...detail,
      previous: before?.hash ?? FIRST_PREVIOUS,
    };
    const { line, hash } = writeEntry(entry);
    const bytes = Buffer.from(line);
    if (bytes.length > ENTRY_BYTES_MAX) throw new Error(`an audit entry of ${bytes.length} bytes is longer than ${ENTRY_BYTES_MAX}`);
    this.#write(bytes);
    this.#head = { number: entry.number, hash };
    this.#setAnchor();
    return { ...entry, hash };
  }

  close(): void {
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
  }

  #recover(anchored: AuditHead | undefined, tornBytes: number): void {
    if (tornBytes > 0) {
      fs.ftruncateSync(this.#fd, this.#bytes);
      fs.fsyncSync(this.#fd);
    }
    if (this.#head !== undefined && (this.#head.number !== anchored?.number || tornBytes > 0 || !isHead(this.#headFile, this.#head)))
      this.#setAnchor();
    if (tornBytes > 0)
      this.append('audit.repaired', '', { cut_bytes: tornBytes, reason: 'the last line was not finished: its writer was killed' });
  }

  /** Whole and fsync'd, or not at all: a disk that fills up in the middle leaves no half line. */
  #write(bytes: Buffer): void {
    try {
      for (let done = 0; done < bytes.length;) done += fs.writeSync(this.#fd, bytes, done);
      fs.fsyncSync(this.#fd);
      if (this.#bytes === 0) syncFolder(path.dirname(this.file));
    } catch (error) {
      fs.ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += bytes.length;
  }

  #setAnchor(): void {
    const { number, hash } = this.#head!;
    this.#anchor.write(number, hash);
    const draft = `${this.#headFile}.new`;
    fs.writeFileSync(draft, `${JSON.stringify({ number, hash })}\n`);
    fs.renameSync(draft, this.#headFile);
  }
}

/** What head.json says; undefined when it is not there. */
export function readHeadFile(file: string): AuditHead | undefined {
  try {
    const { number, hash } = JSON.parse(fs.readFileSync(file, 'utf8')) as AuditHead;
    return Number.isSafeInteger(number) && typeof hash === 'string' ? { number, hash } : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isHead(file: string, head: AuditHead): boolean {
  const said = readHeadFile(file);
  return said?.number === head.number && said.hash === head.hash;
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, 'r');
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}

/** Lines of whole entries with a number above `after`, as they stand; at most `limit`. */
export function* entriesAfter(
  file: string,
  after: number,
  limit: number = Number.POSITIVE_INFINITY,
): Generator<{ readonly entry: AuditEntry; readonly text: string }> {
  let given = 0;
  for (const line of auditLines(file)) {
    if (!line.isWhole || given >= limit) return;
    const text = line.bytes.toString();
    const entry = JSON.parse(text) as AuditEntry;
    if (entry.number <= after) continue;
    given++;
    yield { entry, text };
  }
}

/** The insert of entries into ClickHouse: sent again it changes nothing, for an entry never changes. */
export function encodeAuditRows(
  instance: string,
  entries: Iterable<{ readonly entry: AuditEntry; readonly text: string }>,
): { target: string; rows: number; body: Uint8Array } {
  const out = new RowBinary();
  let rows = 0;
  for (const { entry, text } of entries) {
    out.string(instance);
    out.int(entry.number);
    out.int(Date.parse(entry.at));
    out.string(entry.kind);
    out.string(entry.job);
    out.string(text);
    out.string(entry.hash);
    out.int(entry.number);
    rows++;
  }
  return { target: insertTarget(AUDIT), rows, body: out.take() };
}
