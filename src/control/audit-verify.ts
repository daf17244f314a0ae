/**
 * Holds a log of the audit against its anchor, the number and hash of its last entry as kept apart from the file. Entries after
 * the anchored one are fine when they chain (a kill between the file and the anchor leaves one, and a run may be writing);
 * a last line without its end is no entry yet. Anything else is found: a changed, removed, moved or cut entry.
 */
import { type AuditHead, type AuditLine, ENTRY_BYTES_MAX, auditLines, readEntry } from './audit-chain.ts';

export interface AuditVerdict {
  readonly ok: boolean;
  /** Whole entries that chain, from the first. */
  readonly entries: number;
  readonly problem?: string;
  /** Bytes of a last line that was never finished, after the last whole entry. */
  readonly tornBytes: number;
  /** Where the last whole entry ends. */
  readonly bytes: number;
  readonly head?: AuditHead;
}

export function verifyAudit(file: string, anchor: AuditHead | undefined): AuditVerdict {
  let head: AuditHead | undefined,
    bytes = 0,
    torn: AuditLine | undefined;
  const verdict = (problem?: string): AuditVerdict => ({
    ok: problem === undefined,
    entries: head?.number ?? 0,
    bytes,
    tornBytes: torn === undefined ? 0 : torn.end - torn.start,
    ...(problem === undefined ? {} : { problem }),
    ...(head === undefined ? {} : { head }),
  });
  for (const line of auditLines(file)) {
    if (torn !== undefined) return verdict(`entry ${(head?.number ?? 0) + 1} is damaged, and others stand after it`);
    if (!line.isWhole) {
      if (line.bytes.length > ENTRY_BYTES_MAX)
        return verdict(`what stands after entry ${head?.number ?? 0} is no entry: it is longer than any`);
      torn = line;
      continue;
    }
    const entry = readEntry(line.bytes, head);
    if (typeof entry === 'string') return verdict(entry);
    head = { number: entry.number, hash: entry.hash };
    bytes = line.end;
    if (anchor?.number === head.number && anchor.hash !== head.hash) {
      return verdict(`entry ${head.number} is not the one that the state knows: it, or one before it, was replaced`);
    }
  }
  const there = head?.number ?? 0;
  if (anchor !== undefined && there < anchor.number) {
    return verdict(
      there + 1 === anchor.number
        ? `the last entry (${anchor.number}) has been cut off`
        : `the entries ${there + 1} to ${anchor.number} have been cut off`,
    );
  }
  // The first entry may stand before its anchor does; a second one is only written once it is anchored.
  if (anchor === undefined && there > 1)
    return verdict(`the state knows no entry, and the file has ${there}: they are not of one data directory`);
  return verdict();
}
