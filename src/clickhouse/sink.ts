/**
 * Inserts RowBinary bodies and answers when ClickHouse has acknowledged them. It does not give up: whatever may heal is tried again with
 * growing, jittered pauses, as often as it takes, and a body that was applied without an answer is simply applied again (rows are
 * absolute and versioned). What cannot heal is thrown as a TallyError.
 */
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { randomUint32 } from '../clock.ts';
import { makeClient } from './client.ts';
import type { Client } from './client.ts';
import type { Endpoint } from './engine.ts';
import { messageOf, stopFault, verdictOf } from './faults.ts';

const RETRY_MS_FIRST = 50;
const RETRY_MS_MAX = 5_000;
const CONNECTIONS = 4;
const SETTINGS = {
  async_insert: 0,
  insert_deduplicate: 0,
  wait_end_of_query: 1,
  // One block an insert, up to this: a commit's books stay together.
  max_insert_block_size: '1000000',
  input_format_parallel_parsing: 0,
} as const;

export interface SinkOptions {
  readonly requestMs?: number;
  readonly retryMsMax?: number;
}

export class Sink {
  /** Told once when inserts begin to fail, and again after they have worked in between. */
  onTrouble: (sentence: string) => void = () => {};
  private readonly o: SinkOptions;
  private client: Client;
  private readonly old: Promise<void>[] = [];
  private isTroubled = false;
  private isClosed = false;
  private readonly closed = Promise.withResolvers<void>();
  private wake = Promise.withResolvers<void>();

  constructor(endpoint: Endpoint, o: SinkOptions = {}) {
    this.o = o;
    this.client = this.connect(endpoint);
  }

  private connect(endpoint: Endpoint): Client {
    return makeClient(endpoint, { connections: CONNECTIONS, requestMs: this.o.requestMs ?? 60_000 });
  }

  /** The tables are at another place now, or at the same one again: whoever waits tries at once. */
  reconnect(endpoint: Endpoint): void {
    if (this.isClosed) return;
    this.old.push(this.client.close());
    this.client = this.connect(endpoint);
    this.wake.resolve();
    this.wake = Promise.withResolvers();
  }

  /** True when acknowledged; false when the sink was closed before. `target` is "table (columns)". */
  async insert(target: string, body: Uint8Array | readonly Uint8Array[], rows: number): Promise<boolean> {
    const parts = Array.isArray(body) ? (body as Uint8Array[]) : [body as Uint8Array];
    for (let attempt = 0; !this.isClosed; attempt++) {
      try {
        await this.post(target, parts);
        this.isTroubled = false;
        return true;
      } catch (error) {
        if (this.isClosed) return false;
        if (verdictOf(error) === 'stop') throw stopFault(`${rows} rows for ${target.split(' ')[0]}`, error);
        this.tellTrouble(error);
        await this.pause(attempt);
      }
    }
    return false;
  }

  private async post(target: string, parts: readonly Uint8Array[]): Promise<void> {
    const values = Readable.from(parts, { objectMode: false });
    const { stream } = await this.client.exec({ query: `INSERT INTO ${target} FORMAT RowBinary`, values, clickhouse_settings: SETTINGS });
    stream.resume();
    await finished(stream);
  }

  private tellTrouble(error: unknown): void {
    if (this.isTroubled) return;
    this.isTroubled = true;
    this.onTrouble(`ClickHouse does not take rows (${messageOf(error)}): tried again until it does; nothing is lost`);
  }

  private async pause(attempt: number): Promise<void> {
    const most = Math.min(this.o.retryMsMax ?? RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** Math.min(attempt, 10));
    let timer: NodeJS.Timeout | undefined;
    const slept = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, most * (0.5 + randomUint32() / 2 ** 33));
    });
    await Promise.race([slept, this.wake.promise, this.closed.promise]);
    clearTimeout(timer);
  }

  /** What is on its way is given up; a later run sends it again. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.closed.resolve();
    await Promise.all([this.client.close(), ...this.old]);
  }
}
