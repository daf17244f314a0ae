/**
 * What was thrown, as it is told to a person on stderr: `tally: E_CODE: sentence`, `hint: ...`, and the exit code. The faults
 * of the operating system get their codes here and nowhere else. What is none of this is a bug, and says so.
 */
import { EXIT_BUG, EXIT_FAULT, TallyError } from '../errors.ts';

export interface Told {
  readonly text: string;
  readonly code: string;
  readonly sentence: string;
  readonly hint: string;
  readonly exit: number;
}

export function tell(thrown: unknown, isDebug: boolean): Told {
  const fault = thrown instanceof TallyError ? thrown : operatingFault(thrown);
  if (fault !== undefined) {
    const text = `tally: ${fault.code}: ${fault.message}\n${fault.hint === '' ? '' : `hint: ${fault.hint}\n`}`;
    const { code, message: sentence, hint, exit } = fault;
    return { text: isDebug ? `${text}${stackOf(thrown)}\n` : text, code, sentence, hint, exit };
  }
  const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  const sentence = oneLine(what),
    hint = 'this is a fault of tally itself: please report it with the command and, set TALLY_DEBUG=1, its stack.';
  const text = `tally: E_BUG: ${sentence}\nhint: ${hint}\n`;
  return { text: isDebug ? `${text}${stackOf(thrown)}\n` : text, code: 'E_BUG', sentence, hint, exit: EXIT_BUG };
}

/** A fault of the disk, of rights or of the network, wherever it came up; else undefined. */
export function operatingFault(thrown: unknown): TallyError | undefined {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 8; error = error.cause, depth++) {
    if (error instanceof TallyError) return error;
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    const where = path ?? 'a file';
    const words = error.message;
    if (code === 'ENOSPC' || code === 'EDQUOT' || /No space left on device|Disk quota exceeded/.test(words)) {
      return new TallyError(
        'E_DISK_FULL',
        `no space is left on the disk: ${oneLine(words)}.`,
        'make room and start again: nothing that was committed is lost.',
        EXIT_FAULT,
        error,
      );
    }
    if (code === 'EROFS' || /Read-only file system/.test(words)) {
      return new TallyError(
        'E_NOT_WRITABLE',
        `${where} lies on a read-only file system.`,
        'give a place that may be written to.',
        EXIT_FAULT,
        error,
      );
    }
    if (code === 'EACCES' || code === 'EPERM' || /Permission denied/.test(words)) {
      return new TallyError(
        'E_NOT_WRITABLE',
        `${where} may not be read or written: ${oneLine(words)}.`,
        'give this user the right to, or another place.',
        EXIT_FAULT,
        error,
      );
    }
    if (syscall !== undefined && code !== undefined) {
      return new TallyError(
        'E_IO',
        `the operating system refused: ${oneLine(words)}.`,
        'check the path, the disk and the limits of this user (ulimit -a).',
        EXIT_FAULT,
        error,
      );
    }
  }
  return undefined;
}

const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().replace(/\.$/, '');

const stackOf = (thrown: unknown): string => (thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
