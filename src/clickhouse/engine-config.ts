/**
 * What the embedded engine is told: one XML file (YAML is not compiled in) that is the server's and the users' configuration at
 * once. Three users, all on loopback: `default`, which the engine's own session logs in as without a password and which may do
 * nothing but open the listener; the writer, for Tally; the reader, for people, who may read Tally's tables and nothing else.
 */
import { createHash } from 'node:crypto';
import { DATABASE, READER } from './connection.ts';

export const WRITER = 'writer';

export interface EngineConfig {
  readonly file: string;
  readonly port: number;
  readonly nonce: string;
  readonly writerPassword: string;
  readonly readerPassword: string;
  readonly memoryBytesMax: number;
}

type Xml = string | number | { readonly [tag: string]: Xml | readonly Xml[] };

const escape = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
const toXml = (x: Xml): string =>
  typeof x !== 'object'
    ? escape(String(x))
    : Object.entries(x)
        .map(([tag, value]) =>
          [value]
            .flat()
            .map((v) => `<${tag}>${toXml(v as Xml)}</${tag}>`)
            .join(''),
        )
        .join('');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** What tools ask before they show a table. Everything else under `system` stays closed. */
const READABLE = ['tables', 'columns', 'databases', 'functions', 'formats', 'settings', 'parts', 'data_type_families', 'one', 'numbers'];

export function engineConfig(o: EngineConfig): string {
  const here = { networks: { ip: '127.0.0.1' }, quota: 'default' };
  return toXml({
    clickhouse: {
      users_config: o.file,
      http_port: o.port,
      listen_host: '127.0.0.1',
      macros: { start: o.nonce },
      keep_alive_timeout: 30,
      max_connections: 256,
      max_server_memory_usage: o.memoryBytesMax,
      mark_cache_size: 32 << 20,
      uncompressed_cache_size: 0,
      index_mark_cache_size: 8 << 20,
      max_thread_pool_size: 256,
      max_thread_pool_free_size: 4,
      background_pool_size: 2,
      background_merges_mutations_concurrency_ratio: 2,
      background_schedule_pool_size: 4,
      background_common_pool_size: 2,
      background_fetches_pool_size: 1,
      background_move_pool_size: 1,
      background_message_broker_schedule_pool_size: 1,
      background_distributed_schedule_pool_size: 1,
      background_buffer_flush_schedule_pool_size: 1,
      merge_tree: {
        // They are checked against the size of the pool, which is small here.
        number_of_free_entries_in_pool_to_execute_mutation: 1,
        number_of_free_entries_in_pool_to_lower_max_size_of_merge: 1,
        number_of_free_entries_in_pool_to_execute_optimize_entire_partition: 1,
      },
      profiles: {
        default: { max_threads: 2 },
        boot: { max_sessions_for_user: 1 },
        // 2: settings may be chosen (formats, limits), data may not be changed.
        reader: { readonly: 2, max_threads: 2, max_concurrent_queries_for_user: 32 },
      },
      quotas: { default: {} },
      users: {
        default: { ...here, password: '', profile: 'boot', grants: { query: 'GRANT SYSTEM LISTEN ON *.*' } },
        [WRITER]: { ...here, password_sha256_hex: sha256(o.writerPassword), profile: 'default', access_management: 0 },
        [READER]: {
          ...here,
          password_sha256_hex: sha256(o.readerPassword),
          profile: 'reader',
          grants: { query: [`GRANT SHOW, SELECT ON ${DATABASE}.*`, ...READABLE.map((name) => `GRANT SELECT ON system.${name}`)] },
        },
      },
    },
  });
}
