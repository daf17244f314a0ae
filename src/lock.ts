/**
 * An exclusive lock between processes: flock(2) on a file that is made when missing and never removed (removing it would let two
 * holders stand on two inodes). The kernel frees it when its holder dies, however it dies; the descriptor is close-on-exec,
 * so no child inherits it. Two locks in one process exclude each other as well.
 */
import fs from 'node:fs';
import { monotonicMs } from './clock.ts';
import { TallyError } from './errors.ts';
import { EWOULDBLOCK, libc, openLibc } from './libc.ts';

const LOCK_EX = 2,
  LOCK_NB = 4,
  EINTR = 4;
const POLL_MS = 20;

const sleepCell = new Int32Array(new SharedArrayBuffer(4));

export class FileLock {
  readonly path: string;
  #fd: number;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** The lock, or undefined when another holder has it now. */
  static tryLock(path: string): FileLock | undefined {
    openLibc();
    let fd: number;
    try {
      fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
    } catch (cause) {
      throw new TallyError(
        'E_LOCK',
        `The lock file ${path} cannot be opened: ${(cause as Error).message}.`,
        'Check that its directory exists and that you may write there.',
        undefined,
        cause,
      );
    }
    const errno = flockNow(fd);
    if (errno === 0) return new FileLock(path, fd);
    fs.closeSync(fd);
    if (errno === EWOULDBLOCK) return undefined;
    throw new TallyError(
      'E_LOCK',
      `The file system refuses a lock on ${path} (errno ${errno}).`,
      'Use a local file system; some network file systems have no flock.',
    );
  }

  /** Asks every `pollMs` until it has the lock, or `waitMs` are over (undefined). */
  static async lock(path: string, waitMs: number, pollMs: number = POLL_MS): Promise<FileLock | undefined> {
    const until = monotonicMs() + waitMs;
    for (;;) {
      const lock = FileLock.tryLock(path);
      if (lock !== undefined) return lock;
      const left = until - monotonicMs();
      if (left <= 0) return undefined;
      await new Promise((done) => setTimeout(done, Math.min(pollMs, left)));
    }
  }

  /** The same, holding up the thread. */
  static lockSync(path: string, waitMs: number, pollMs: number = 2): FileLock | undefined {
    const until = monotonicMs() + waitMs;
    for (;;) {
      const lock = FileLock.tryLock(path);
      if (lock !== undefined) return lock;
      const left = until - monotonicMs();
      if (left <= 0) return undefined;
      Atomics.wait(sleepCell, 0, 0, Math.min(pollMs, left));
    }
  }

  get held(): boolean {
    return this.#fd >= 0;
  }

  /** Frees it; a second call does nothing. */
  unlock(): void {
    if (this.#fd < 0) return;
    fs.closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** 0, or the errno. */
function flockNow(fd: number): number {
  for (;;) {
    const errno = libc('flock', fd, LOCK_EX | LOCK_NB);
    if (errno !== EINTR) return errno;
  }
}
