/** The ClickHouse of a run: the embedded engine, or a server elsewhere; its tables made and found to belong to this state. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Plan } from '../../topology/plan.ts';
import { makeClient, parseEndpoint } from '../clickhouse/client.ts';
import { checkInstance } from '../clickhouse/instance.ts';
import { migrate } from '../clickhouse/schema.ts';
import { superviseEngine } from '../clickhouse/supervise.ts';
import { unwrittenFiles } from '../clickhouse/unwritten.ts';
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { ClickHouseEndpoint, ShardStatus } from './messages.ts';
import { engineDir } from './places.ts';

export interface Connected {
  /** What ClickHouse was told to make and could not write, though it said so; the embedded one's files are here to be looked at. */
  unwritten(): string[];
  readonly endpoint: ClickHouseEndpoint;
  readonly isEmbedded: boolean;
  onEndpoint(callback: (endpoint: ClickHouseEndpoint) => void): void;
  /** Rejects when there is no ClickHouse any more; never resolves. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** `url` undefined: the embedded engine of the data directory. */
export async function connect(
  url: string | undefined,
  dataDir: string,
  warn: (sentence: string) => void,
  onSignal: () => void = () => {},
): Promise<Connected> {
  if (url !== undefined) {
    const endpoint = parseEndpoint(url);
    return {
      endpoint,
      isEmbedded: false,
      unwritten: () => [],
      onEndpoint: () => {},
      failed: new Promise<never>(() => {}),
      close: async () => {},
    };
  }
  const engine = await superviseEngine({ dir: engineDir(dataDir), publish: true, onTrouble: warn, onSignal });
  return {
    get endpoint() {
      return engine.admin;
    },
    isEmbedded: true,
    unwritten: () => unwrittenFiles(engineDir(dataDir)),
    onEndpoint: (callback) => engine.onRestart(callback),
    failed: engine.failed,
    close: () => engine.stop(),
  };
}

export interface Belonging {
  readonly plan: Plan;
  readonly generation: number;
  readonly shards: number;
  readonly instance: string;
}

/** The engine may be killed at any moment, also at this one: it is started again, and asked again. */
const ASK_MS_MAX = 15_000,
  ASK_AGAIN_MS = 200;

/** Refuses tables that do not belong to this state, then makes and migrates what is missing. */
export async function fitTables(tables: Connected, b: Belonging, opened: readonly ShardStatus[]): Promise<void> {
  for (const end = monotonicMs() + ASK_MS_MAX; ; await sleep(ASK_AGAIN_MS)) {
    try {
      await fitOnce(tables.endpoint, b, opened);
      break;
    } catch (error) {
      if (!tables.isEmbedded || !(error instanceof TallyError) || error.code !== 'E_CLICKHOUSE_DOWN' || monotonicMs() > end) throw error;
    }
  }
  const [file] = tables.unwritten();
  if (file !== undefined)
    throw new TallyError(
      'E_DISK_FULL',
      `no space is left on the disk: ClickHouse could not write ${file}.`,
      'make room and start again: nothing that was committed is lost.',
    );
}

async function fitOnce(endpoint: ClickHouseEndpoint, b: Belonging, opened: readonly ShardStatus[]): Promise<void> {
  const client = makeClient(endpoint);
  try {
    await checkInstance(client, {
      job: b.plan.job,
      generation: b.generation,
      instance: b.instance,
      shards: b.shards,
      states: opened,
    });
    await migrate(client, { plan: b.plan, generation: b.generation, shards: b.shards, instance: b.instance });
  } finally {
    await client.close();
  }
}
