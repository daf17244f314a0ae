/**
 * Carries the outbox of one shard to ClickHouse. Commits come in in order, an entry an insert; their keys come out once everything
 * up to a version is acknowledged, for the next commit to delete. Invariant: a progress row (the last entry of a commit) is sent only
 * after every row of that commit and of all before it is acknowledged. Rows among themselves go in parallel, and those of the next commits
 * while a progress row is on its way: they are versioned. Queued commits are sent together, entries of one target in one insert; an entry
 * is never split, so the books of a commit never are.
 */
import { OUTBOX_FROM, OUTBOX_TO, decodeOutbox } from '../../state/outbox.ts';
import type { OutboxEntry } from '../../state/outbox.ts';
import type { Store } from '../../state/store.ts';
import type { Endpoint } from './engine.ts';
import type { Sink } from './sink.ts';

/** Inserts on the way at once. */
const PARALLEL = 3;
/** Whole commits are taken together up to this many bytes; one commit alone may be larger. */
const ROUND_BYTES_MAX = 16 * 1024 * 1024;
/** An insert is closed to further entries at this size. */
const INSERT_BYTES_MAX = 8 * 1024 * 1024;

export interface Written {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}
export interface Acknowledged {
  readonly keys: readonly Uint8Array[];
  /** Everything up to here stands in ClickHouse; 0 when nothing was acknowledged since the last time. */
  readonly version: number;
}
export interface DrainOptions {
  readonly sink: Pick<Sink, 'insert' | 'reconnect' | 'close'> & { onTrouble?: (sentence: string) => void };
  /** What its outbox still holds is sent first. */
  readonly store?: Pick<Store, 'range'>;
  readonly onTrouble?: (sentence: string) => void;
  /** Called once; what does not heal stops the run. `takeAcknowledged`, `push` and `drained` throw it too. */
  readonly onFailed?: (error: unknown) => void;
}
interface Insert {
  readonly target: string;
  readonly bodies: Uint8Array[];
  rows: number;
  bytes: number;
}

export class OutboxDrain {
  /** Pushed and not yet acknowledged. */
  pendingBytes = 0;
  pendingRows = 0;
  private readonly o: DrainOptions;
  private readonly queue: OutboxEntry[][] = [];
  private keys: Uint8Array[] = [];
  private version = 0;
  private working: Promise<void> | undefined;
  /** The last progress rows; false when they were not acknowledged. */
  private telling: Promise<boolean> = Promise.resolve(true);
  private isStopped = false;
  private failure: { readonly error: unknown } | undefined;

  constructor(o: DrainOptions) {
    this.o = o;
    if (o.onTrouble !== undefined) o.sink.onTrouble = o.onTrouble;
    if (o.store !== undefined) this.push(o.store.range(OUTBOX_FROM, OUTBOX_TO).map(([key, value]) => ({ key, value })));
  }

  /** Whole commits in the order of their keys. */
  push(written: readonly Written[]): void {
    this.check();
    for (const { key, value } of written) {
      const entry = decodeOutbox(key, value),
        last = this.queue.at(-1);
      if (last !== undefined && last[0]!.version === entry.version) last.push(entry);
      else this.queue.push([entry]);
      this.pendingBytes += entry.body.length;
      this.pendingRows += entry.rows;
    }
    this.work();
  }

  /** No rows are queued or on their way; the last progress rows may be. */
  get isFree(): boolean {
    return this.working === undefined;
  }

  /** Since the last call. A commit that deletes them and fails is no harm: they are sent again after the restart. */
  takeAcknowledged(): Acknowledged {
    this.check();
    const taken = { keys: this.keys, version: this.version };
    this.keys = [];
    this.version = 0;
    return taken;
  }

  /** Throws the fault that ended it, if one has. */
  check(): void {
    if (this.failure !== undefined) throw this.failure.error;
  }

  /** When everything pushed is acknowledged, or it was stopped. */
  async drained(): Promise<void> {
    let told: Promise<boolean>;
    do {
      while (this.working !== undefined) await this.working;
      await (told = this.telling);
    } while (this.working !== undefined || told !== this.telling);
    this.check();
  }

  reconnect(endpoint: Endpoint): void {
    this.o.sink.reconnect(endpoint);
  }

  /** What is on its way is given up: it stays in the outbox, unless it was acknowledged. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await this.o.sink.close();
    await this.working;
    await this.telling;
  }

  private work(): void {
    if (this.working !== undefined || this.queue.length === 0 || this.isStopped || this.failure !== undefined) return;
    this.working = this.rounds()
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        this.working = undefined;
        this.work();
      });
  }

  private async rounds(): Promise<void> {
    // What is pushed in one turn goes together.
    await Promise.resolve();
    while (this.queue.length > 0 && !this.isStopped) {
      const commits = this.nextRound(),
        isSent = await this.sendAll(merge(commits.map((entries) => entries.slice(0, -1))));
      if (!(await this.telling) || !isSent) return;
      this.telling = this.tell(commits).catch((error: unknown) => this.fail(error));
    }
  }

  /** Progress rows; what they say is acknowledged with them. False: not all of it. */
  private async tell(commits: readonly OutboxEntry[][]): Promise<boolean> {
    const isSent = await this.sendAll(merge(commits.map((entries) => entries.slice(-1))));
    if (isSent) this.acknowledge(commits);
    return isSent;
  }

  private fail(error: unknown): false {
    if (this.failure === undefined) this.o.onFailed?.(error);
    this.failure ??= { error };
    return false;
  }

  private nextRound(): OutboxEntry[][] {
    let n = 0,
      bytes = 0;
    while (n < this.queue.length) {
      for (const entry of this.queue[n]!) bytes += entry.body.length;
      if (n > 0 && bytes > ROUND_BYTES_MAX) break;
      n++;
    }
    return this.queue.splice(0, n);
  }

  /** False when the sink was closed before all were acknowledged. */
  private async sendAll(inserts: readonly Insert[]): Promise<boolean> {
    let next = 0,
      isWhole = true;
    const lane = async (): Promise<void> => {
      while (next < inserts.length && isWhole) {
        const insert = inserts[next++]!;
        if (!(await this.o.sink.insert(insert.target, insert.bodies, insert.rows))) isWhole = false;
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, inserts.length) }, lane));
    return isWhole;
  }

  private acknowledge(commits: readonly OutboxEntry[][]): void {
    for (const entries of commits) {
      for (const entry of entries) {
        this.keys.push(entry.key);
        this.pendingBytes -= entry.body.length;
        this.pendingRows -= entry.rows;
      }
      this.version = entries[0]!.version;
    }
  }
}

function merge(commits: readonly (readonly OutboxEntry[])[]): Insert[] {
  const all: Insert[] = [],
    open = new Map<string, Insert>();
  for (const entries of commits) {
    for (const { target, body, rows } of entries) {
      let insert = open.get(target);
      if (insert === undefined || insert.bytes + body.length > INSERT_BYTES_MAX) {
        insert = { target, bodies: [], rows: 0, bytes: 0 };
        open.set(target, insert);
        all.push(insert);
      }
      insert.bodies.push(body);
      insert.rows += rows;
      insert.bytes += body.length;
    }
  }
  return all;
}
