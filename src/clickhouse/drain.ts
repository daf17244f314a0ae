/**
 * Carries the outbox of one shard to ClickHouse. Commits come in in order, an entry an insert; their keys come out once everything
 * up to a version is acknowledged, for the next commit to delete. Rows that SQL shows live go first and at once. The account of them (changes,
 * quarantine, books, at last the progress row) follows once a second, of all commits since together: many small inserts would delay
 * the rows. Invariant: a progress row is sent only after every row of its commit and of all before is acknowledged. Rows among themselves
 * go in parallel: they are versioned. Entries of one target go in one insert; an entry is never split, so the books of a commit never are.
 */
import { OUTBOX_FROM, OUTBOX_TO, decodeOutbox } from '../../state/outbox.ts';
import type { OutboxEntry } from '../../state/outbox.ts';
import type { Store } from '../../state/store.ts';
import { monotonicMs } from '../clock.ts';
import type { Endpoint } from './engine.ts';
import type { Sink } from './sink.ts';

/** Inserts on the way at once, of rows and of accounts each. */
const PARALLEL = 2;
/** From one account to the next, unless somebody waits for it. */
const ACCOUNT_MS = 1_000;
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
  /** Targets of the rows that SQL shows live. */
  readonly live: ReadonlySet<string>;
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
  /** SQL shows the live rows of all commits up to here. */
  shown = 0;
  private readonly o: DrainOptions;
  private readonly queue: OutboxEntry[][] = [];
  /** Their rows are shown, and they are not accounted for. */
  private readonly behind: OutboxEntry[][] = [];
  private keys: Uint8Array[] = [];
  private version = 0;
  private showing: Promise<void> | undefined;
  private accounting: Promise<void> | undefined;
  private accountedAt = -Infinity;
  /** Until the next account. */
  private timer: NodeJS.Timeout | undefined;
  /** Somebody waits until everything is acknowledged. */
  private isHurried = false;
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
    this.show();
  }

  /** No live rows are queued or on their way; accounts may be. */
  get isFree(): boolean {
    return this.showing === undefined;
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
    this.isHurried = true;
    for (this.account(); this.showing !== undefined || this.accounting !== undefined;) await Promise.all([this.showing, this.accounting]);
    this.isHurried = false;
    this.check();
  }

  reconnect(endpoint: Endpoint): void {
    this.o.sink.reconnect(endpoint);
  }

  /** What is on its way is given up: it stays in the outbox, unless it was acknowledged. */
  async stop(): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    await this.o.sink.close();
    await Promise.all([this.showing, this.accounting]);
  }

  private show(): void {
    if (this.showing !== undefined || this.queue.length === 0 || this.isOver) return;
    this.showing = this.showAll()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.showing = undefined;
        this.show();
      });
  }

  private async showAll(): Promise<void> {
    // What is pushed in one turn goes together.
    await Promise.resolve();
    while (this.queue.length > 0 && !this.isOver) {
      const commits = takeRound(this.queue);
      if (!(await this.sendAll(commits, (e) => this.isLive(e)))) return;
      this.shown = commits.at(-1)![0]!.version;
      this.behind.push(...commits);
      this.account();
    }
  }

  private account(): void {
    if (this.accounting !== undefined || this.behind.length === 0 || this.isOver) return;
    const waitMs = this.isHurried ? 0 : this.accountedAt + ACCOUNT_MS - monotonicMs();
    clearTimeout(this.timer);
    if (waitMs > 0) {
      this.timer = setTimeout(() => this.account(), waitMs);
      return;
    }
    this.accountedAt = monotonicMs();
    this.accounting = this.accountAll()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.accounting = undefined;
        this.account();
      });
  }

  private async accountAll(): Promise<void> {
    for (const due = this.behind.splice(0); due.length > 0 && !this.isOver;) {
      const commits = takeRound(due);
      if (!(await this.sendAll(commits, (e, isProgress) => !isProgress && !this.isLive(e)))) return;
      if (!(await this.sendAll(commits, (_, isProgress) => isProgress))) return;
      this.acknowledge(commits);
    }
  }

  private isLive(e: OutboxEntry): boolean {
    return this.o.live.has(e.target);
  }

  private get isOver(): boolean {
    return this.isStopped || this.failure !== undefined;
  }

  private fail(error: unknown): void {
    if (this.failure === undefined) this.o.onFailed?.(error);
    this.failure ??= { error };
  }

  /** False when the sink was closed before all were acknowledged. */
  private async sendAll(commits: readonly OutboxEntry[][], goes: (e: OutboxEntry, isProgress: boolean) => boolean): Promise<boolean> {
    const inserts = merge(commits.map((entries) => entries.filter((e, i) => goes(e, i === entries.length - 1))));
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

function takeRound(queue: OutboxEntry[][]): OutboxEntry[][] {
  let n = 0,
    bytes = 0;
  while (n < queue.length) {
    for (const entry of queue[n]!) bytes += entry.body.length;
    if (n > 0 && bytes > ROUND_BYTES_MAX) break;
    n++;
  }
  return queue.splice(0, n);
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
