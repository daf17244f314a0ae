/** The shard's side of its writer thread: starts it, hears of its troubles, and ends it. What it sends comes back over the hop. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { faultOf } from '../run/faults.ts';
import type { Passed } from '../run/source.ts';
import type { FromWriter, ToWriter } from './messages.ts';
import type { WriterOrder } from './writer.ts';

/** A writer that does not end by itself is ended: what it had not sent, the next one sends. */
const CLOSE_MS = 2_000;

export interface OutletTells {
  trouble(sentence: string): void;
  passed(passed: Passed): void;
}

export class Outlet {
  /** Rejects when the source cannot be read or the hop not be written; never resolves. */
  readonly failed: Promise<never>;
  /** Everything that was to be sent has been acknowledged, or it was told to stop. */
  readonly ended: Promise<void>;
  private readonly worker: Worker;
  private isClosing = false;

  constructor(order: WriterOrder, tells: OutletTells) {
    const { promise, reject } = Promise.withResolvers<never>(),
      end = Promise.withResolvers<void>();
    this.failed = promise;
    this.failed.catch(() => {});
    this.ended = end.promise;
    const file = new URL(`./writer${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
    this.worker = new Worker(file, { workerData: order });
    let hasEnded = false;
    this.worker.on('message', (message: FromWriter) => {
      if (message.kind === 'trouble') return tells.trouble(message.sentence);
      if (message.kind === 'passed') return tells.passed(message.passed);
      hasEnded = true;
      if (message.kind === 'ended') end.resolve();
      else reject(faultOf(message));
    });
    this.worker.on('error', reject);
    this.worker.on('exit', () => {
      if (this.isClosing) end.resolve();
      else if (!hasEnded) reject(new Error('a writer ended without a word'));
    });
  }

  async close(): Promise<void> {
    if (this.worker.threadId < 0) return;
    this.isClosing = true;
    const exited = once(this.worker, 'exit');
    this.worker.postMessage({ kind: 'stop' } satisfies ToWriter);
    const late = setTimeout(() => void this.worker.terminate(), CLOSE_MS);
    await exited;
    clearTimeout(late);
  }
}
