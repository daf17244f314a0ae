/**
 * The pipe to the launcher (bin/launch.mjs): its end-of-file means that the launcher is gone, however it died, and then this
 * process may not go on.
 */
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { libc } from '../libc.ts';

/** Not process.exit: it would wait for worker threads and close their state in order. What may be killed at any moment may be killed at this one. */
const dieAtOnce = (): boolean => process.kill(process.pid, 'SIGKILL');

/** The kernel tells, also while this thread is too busy to read the pipe. */
const PR_SET_PDEATHSIG = 1;

/** Called once, at the start. Without a launcher (started by hand) nothing is watched. */
export function watchLauncher(): void {
  const fd = Number(process.env['TALLY_LAUNCHER_FD']);
  // Taken out, so that no process started from here takes the number for its own.
  delete process.env['TALLY_LAUNCHER_FD'];
  if (!(fd > 2)) return;
  // A kernel or C library that cannot: the pipe is enough, only slower.
  if (process.platform === 'linux') attempt(() => libc('prctl', PR_SET_PDEATHSIG, constants.signals.SIGKILL));
  const pipe = new Socket({ fd, readable: true, writable: false });
  pipe.on('close', dieAtOnce);
  pipe.on('error', () => {});
  pipe.resume();
  pipe.unref();
}

function attempt(call: () => void): void {
  try {
    call();
  } catch {
    // told above
  }
}
