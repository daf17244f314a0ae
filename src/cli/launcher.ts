/**
 * The pipe to the launcher (bin/launch.mjs): its end-of-file means that the launcher is gone, and then this process may not go
 * on. A command that has children of its own hands in what ends them too.
 */
import { Socket } from 'node:net';

const EXIT_KILLED = 137;
let gone: () => void = () => process.exit(EXIT_KILLED);

/** What happens when the launcher is gone, in place of an exit at once. */
export function onLauncherGone(callback: () => void): void {
  gone = callback;
}

/** Called once, at the start. Without a launcher (started by hand) nothing is watched. */
export function watchLauncher(): void {
  const fd = Number(process.env['TALLY_LAUNCHER_FD']);
  // Taken out, so that no process started from here takes the number for its own.
  delete process.env['TALLY_LAUNCHER_FD'];
  if (!(fd > 2)) return;
  const pipe = new Socket({ fd, readable: true, writable: false });
  pipe.on('close', () => gone());
  pipe.on('error', () => {});
  pipe.resume();
  pipe.unref();
}
