/**
 * Inserts RowBinary bodies and answers when ClickHouse has acknowledged them. It does not give up: whatever may heal is tried again with
 * growing, jittered pauses, as often as it takes, and a body that was applied without an answer is simply applied again (rows are
 * absolute and versioned). What cannot heal is thrown as a TallyError.
 */
import { TallyError } from '../errors.ts';
import { backoffMs } from '../pause.ts';
import { literal, makeClient, rows as askRows } from './client.ts';
import type { Endpoint } from './engine.ts';
import { isAuthentication, stopFault, troubleOf, verdictOf } from './faults.ts';
import { INSERT_S, INSERT_SETTINGS } from './server.ts';
import { currentPassword } from './secrets.ts';
import { Wire } from './wire.ts';

const RETRY_MS_FIRST = 50;
const RETRY_MS_MAX = 5_000;
const CONNECTIONS = 4;
/** An insert that is answered with another number of rows this often in a row will not be answered with the right one. */
const MISCOUNTS_MAX = 4;
const SETTINGS = Object.entries(INSERT_SETTINGS)
  .map(([name, value]) => `&${name}=${value}`)
  .join('');

export interface SinkOptions {
  /** A condition that each insert carries: where other processes may have taken over what this one writes. */
  readonly fence?: string;
  readonly requestMs?: number;
  readonly retryMsMax?: number;
}

export class Sink {
  /** Told once when inserts begin to fail, and again after they have worked in between. */
  onTrouble: (sentence: string) => void = () => {};
  private readonly o: SinkOptions;
  private endpoint: Endpoint;
  private wire: Wire;
  /** Tables that spread their rows over a cluster; undefined: not asked yet. */
  private readonly distributed = new Map<string, boolean>();
  private isTroubled = false;
  private isClosed = false;
  private readonly closed = Promise.withResolvers<void>();
  private wake = Promise.withResolvers<void>();

  constructor(endpoint: Endpoint, o: SinkOptions = {}) {
    this.o = o;
    this.endpoint = endpoint;
    this.wire = this.connect(endpoint);
  }

  private connect(endpoint: Endpoint): Wire {
    return new Wire(endpoint, { connections: CONNECTIONS, requestMs: this.o.requestMs ?? INSERT_S * 1000 });
  }

  /** The tables are at another place now, or at the same one again: whoever waits tries at once. */
  reconnect(endpoint: Endpoint): void {
    if (this.isClosed) return;
    this.wire.close();
    this.endpoint = endpoint;
    this.wire = this.connect(endpoint);
    this.wake.resolve();
    this.wake = Promise.withResolvers();
  }

  /** True when acknowledged; false when the sink was closed before. `target` is "table (columns)". */
  async insert(target: string, body: Uint8Array | readonly Uint8Array[], rows: number): Promise<boolean> {
    const parts = Array.isArray(body) ? (body as Uint8Array[]) : [body as Uint8Array];
    let miscounts = 0;
    for (let attempt = 0; !this.isClosed; attempt++) {
      const password = currentPassword(this.endpoint);
      try {
        await this.post(target, parts, rows);
        this.isTroubled = false;
        return true;
      } catch (error) {
        if (this.isClosed) return false;
        if (error instanceof Miscount && ++miscounts === MISCOUNTS_MAX) throw miscountFault(target, error);
        // The password was changed on the server first, or in the file while the insert was on its way.
        const isRotated = isAuthentication(error) && currentPassword(this.endpoint) !== password;
        if (verdictOf(error) === 'stop' && !isRotated) throw stopFault(`${rows} rows for ${tableOf(target)}`, error);
        this.tellTrouble(error);
        await this.pause(attempt);
      }
    }
    return false;
  }

  /** Acknowledged is: it says that it wrote as many rows as were sent. */
  private async post(target: string, parts: readonly Uint8Array[], rows: number): Promise<void> {
    const { fence } = this.o;
    const { writtenRows } = await this.wire.insert(
      `INSERT INTO ${target} ${fence === undefined ? '' : `SELECT * FROM input() WHERE ${fence} `}FORMAT RowBinary`,
      `${SETTINGS}&log_comment=tally%20${rows}%20rows`,
      parts,
    );
    if (writtenRows === rows) return;
    // A table over a cluster counts a row once as it is handed on, and once more where it is written on this very server.
    if (writtenRows > rows && writtenRows <= 2 * rows && (await this.isDistributed(tableOf(target)))) return;
    throw new Miscount(rows, writtenRows);
  }

  private async isDistributed(table: string): Promise<boolean> {
    const known = this.distributed.get(table);
    if (known !== undefined) return known;
    const client = makeClient(this.endpoint, { connections: 1 });
    try {
      const found = await askRows<{ engine: string }>(
        client,
        `SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = ${literal(table)}`,
      );
      const is = found[0]?.engine === 'Distributed';
      this.distributed.set(table, is);
      return is;
    } finally {
      await client.close();
    }
  }

  private tellTrouble(error: unknown): void {
    if (this.isTroubled) return;
    this.isTroubled = true;
    this.onTrouble(`ClickHouse does not take rows (${troubleOf(error)}): tried again until it does; nothing is lost`);
  }

  private async pause(attempt: number): Promise<void> {
    const ms = backoffMs({ firstMs: RETRY_MS_FIRST, mostMs: this.o.retryMsMax ?? RETRY_MS_MAX }, attempt + 1);
    let timer: NodeJS.Timeout | undefined;
    const slept = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([slept, this.wake.promise, this.closed.promise]);
    clearTimeout(timer);
  }

  /** What is on its way is given up; a later run sends it again. */
  close(): Promise<void> {
    this.isClosed = true;
    this.closed.resolve();
    this.wire.close();
    return Promise.resolve();
  }
}

const tableOf = (target: string): string => target.split(' ')[0]!;

class Miscount extends Error {
  constructor(sent: number, written: number) {
    super(written < 0 ? `it does not say how many of ${sent} rows it wrote` : `it says that it wrote ${written} rows of ${sent}`);
  }
}

function miscountFault(target: string, error: Miscount): TallyError {
  return new TallyError(
    'E_CLICKHOUSE_ROWS',
    `ClickHouse answers an insert into ${tableOf(target)} with another number of rows, again and again: ${error.message}.`,
    'Nothing counts as written. A materialized view on the table, or a proxy that drops X-ClickHouse-Summary, does this: take it away, then run again.',
    undefined,
    error,
  );
}
