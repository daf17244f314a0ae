/** Waiting: a pause that can be ended early, and how long to wait before the n-th try (twice as long each time, with jitter, bounded). */
import { randomUint32 } from './clock.ts';

export interface Backoff {
  readonly firstMs: number;
  readonly mostMs: number;
}

/** Between half and the whole of what the n-th try (from 1) is due. */
export function backoffMs({ firstMs, mostMs }: Backoff, tries: number): number {
  const due = Math.min(mostMs, firstMs * 2 ** Math.min(30, tries - 1));
  return due * (0.5 + (0.5 * randomUint32()) / 2 ** 32);
}

/** One sleeper at a time; a wake-up that comes while nobody sleeps ends the next sleep at once. */
export class Pause {
  #isDue = false;
  #end: (() => void) | undefined;

  wake(): void {
    if (this.#end === undefined) this.#isDue = true;
    else this.#end();
  }

  /** Until `wake`, or for `ms`. */
  async sleep(ms: number): Promise<void> {
    if (!this.#isDue) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(resolve, ms);
      this.#end = resolve;
      await promise;
      clearTimeout(timer);
      this.#end = undefined;
    }
    this.#isDue = false;
  }
}
