/** A data directory, taken for this process alone: the lock, the instance id, the audit log and its anchor. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { AuditLog } from '../control/audit.ts';
import { ControlStore } from '../control/control-store.ts';
import { nowMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { FileLock } from '../lock.ts';
import { lockFile } from './places.ts';
import { makeDirs } from '../make-dirs.ts';

/** Whoever was stopped a moment ago needs some time to end. */
const LOCK_WAIT_MS = 3_000;

export interface DataDir {
  readonly dir: string;
  readonly instance: string;
  readonly audit: AuditLog;
  readonly control: ControlStore;
  close(): Promise<void>;
}

export async function openData(dir: string): Promise<DataDir> {
  makeWritable(dir);
  const lock = await FileLock.lock(lockFile(dir), LOCK_WAIT_MS);
  if (lock === undefined) {
    throw new TallyError(
      'E_LOCKED',
      `another run works on ${path.resolve(dir)}`,
      'one run at a time on a data directory: stop the other one, or give --data another directory',
    );
  }
  let control: ControlStore | undefined;
  try {
    control = await ControlStore.open(dir);
    const open = control,
      audit = AuditLog.open(dir, control.anchor, nowMs);
    return {
      dir,
      instance: control.instance,
      audit,
      control: open,
      async close() {
        audit.close();
        await open.close();
        lock.unlock();
      },
    };
  } catch (error) {
    await control?.close();
    lock.unlock();
    throw error;
  }
}

function makeWritable(dir: string): void {
  try {
    makeDirs(dir);
    accessSync(dir, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new TallyError(
      'E_NOT_WRITABLE',
      `the data directory ${dir} cannot be written: ${(cause as Error).message}`,
      'give --data a directory of yours, or mend its permissions',
      3,
      cause,
    );
  }
}
