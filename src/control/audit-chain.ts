/**
 * What an entry of the audit log is, byte by byte, and the reading of a whole log. One entry is one line of JSON; its last member
 * is `hash`, the SHA-256 (hex) of the line as it would stand without that member; `previous` is the hash of the entry before
 * (64 zeros before the first). So no byte can change, no line leave, come between or move, without a hash that no longer fits.
 * Lines are streamed: memory holds one at a time.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

export const FIRST_PREVIOUS: string = '0'.repeat(64);
/** Of one line, in bytes: what is longer was not written by tally. */
export const ENTRY_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
const HASH_NAME = ',"hash":"',
  HASH_MEMBER_LENGTH = HASH_NAME.length + 64 + 2;

export interface AuditHead {
  readonly number: number;
  readonly hash: string;
}
export interface AuditEntry extends AuditHead {
  readonly at: string;
  readonly kind: string;
  readonly job: string;
  readonly previous: string;
  readonly [detail: string]: unknown;
}
/** A line as it stands in the file, from byte `start` to the byte after its newline; `bytes` are valid until the next line. */
export interface AuditLine {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** False: the file ends, or a run of zeros begins, before the line's newline. */
  readonly isWhole: boolean;
}

/** The line, newline included, and its hash. */
export function writeEntry(entry: Omit<AuditEntry, 'hash'>): { readonly line: string; readonly hash: string } {
  const body = JSON.stringify(entry);
  const hash = createHash('sha256').update(body).digest('hex');
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}\n`, hash };
}

/** The entry, or what is wrong with it in words. `before` is the entry that must stand before it. */
export function readEntry(line: Buffer, before: AuditHead | undefined): AuditEntry | string {
  const number = (before?.number ?? 0) + 1;
  const cut = Math.max(0, line.length - HASH_MEMBER_LENGTH);
  // Over the bytes, not the text: text would fold what is not UTF-8 into one and the same character.
  const hash = createHash('sha256').update(line.subarray(0, cut)).update('}').digest('hex');
  if (line.toString('latin1', cut) !== `${HASH_NAME}${hash}"}`) return `entry ${number} has been changed: its hash does not fit its text`;
  let entry: AuditEntry;
  try {
    entry = JSON.parse(line.toString()) as AuditEntry;
  } catch {
    return `entry ${number} is not JSON`;
  }
  if (entry.number !== number) return `entry ${number} is missing or moved: entry ${entry.number} stands in its place`;
  if (entry.previous !== (before?.hash ?? FIRST_PREVIOUS))
    return `entry ${number} does not follow the entry before it: one of them was replaced`;
  return entry;
}

/** The lines of a file from its start. A missing file has none. */
export function* auditLines(file: string): Generator<AuditLine> {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    let held = Buffer.alloc(0),
      heldAt = 0;
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (;;) {
      const n = readSync(fd, chunk, 0, chunk.length, heldAt + held.length);
      if (n === 0) break;
      held = Buffer.concat([held, chunk.subarray(0, n)]);
      let from = 0;
      for (let at = held.indexOf(NEWLINE, from); at >= 0; at = held.indexOf(NEWLINE, from)) {
        yield lineOf(held.subarray(from, at), heldAt + from, heldAt + at + 1);
        from = at + 1;
      }
      held = held.subarray(from);
      heldAt += from;
      if (held.length > ENTRY_BYTES_MAX) break;
    }
    if (held.length > 0) yield { bytes: held, start: heldAt, end: heldAt + held.length, isWhole: false };
  } finally {
    closeSync(fd);
  }
}

function lineOf(bytes: Buffer, start: number, end: number): AuditLine {
  // After a power cut a file may hold zeros where its last write should be; JSON never does.
  return { bytes, start, end, isWhole: !bytes.includes(0) };
}
