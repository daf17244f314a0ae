/**
 * A cluster as ClickHouse's own configuration has it (remote_servers). Which shard a row belongs to follows from the number of shards and
 * their weights: both are recorded in the registry when the tables are made, and a cluster that has changed since is refused, for the
 * versions of a row would then be spread over two shards and both would count. Inserts wait for most replicas of a shard: a reader of
 * one that lags behind may see a window final before all of its rows; with two replicas most is both, and that can't be.
 */
import { TallyError, usage } from '../errors.ts';
import { command, literal, rows } from './client.ts';
import type { Client } from './client.ts';

export interface Cluster {
  readonly name: string;
  /** Replicated engines, made ON CLUSTER by Keeper. False: plain engines, made server by server. */
  readonly replicated: boolean;
  /** By shard. */
  readonly weights: readonly number[];
}

/** The registry's row about the cluster itself. No table can be called so. */
const CLUSTER_ROW = '(cluster)';

export async function readCluster(client: Client, name: string, replicated: boolean): Promise<Cluster> {
  const found = await shardsOf(client, name);
  if (found.length === 0) {
    const known = await rows<{ cluster: string }>(client, 'SELECT DISTINCT cluster FROM system.clusters ORDER BY cluster LIMIT 20');
    throw usage(
      'E_CLUSTER',
      `This ClickHouse knows no cluster ${name}.`,
      known.length === 0
        ? 'It has none: remote_servers in its configuration names them.'
        : `It knows ${known.map((c) => c.cluster).join(', ')}.`,
    );
  }
  const loose = found.find((s) => s.replicas > 1 && s.internal === 0);
  if (loose !== undefined) {
    throw usage(
      'E_CLUSTER',
      `The shard ${loose.shard} of the cluster ${name} has ${loose.replicas} replicas without internal_replication: each row would be sent to each of them.`,
      'Set <internal_replication>true</internal_replication> for its shards in remote_servers.',
    );
  }
  if (!replicated && found.some((s) => s.replicas > 1))
    throw usage('E_CLUSTER', `The cluster ${name} has replicas, and plain tables do not replicate.`, 'Leave --no-replication out.');
  return { name, replicated, weights: found.map((s) => s.weight) };
}

interface FoundShard {
  readonly shard: number;
  readonly weight: number;
  readonly replicas: number;
  readonly internal: number;
}
const shardsOf = (client: Client, name: string): Promise<FoundShard[]> =>
  rows<FoundShard>(
    client,
    'SELECT shard_num AS shard, toUInt32(any(shard_weight)) AS weight, toUInt32(count()) AS replicas, toUInt8(min(internal_replication)) AS internal ' +
      `FROM system.clusters WHERE cluster = ${literal(name)} GROUP BY shard_num ORDER BY shard_num`,
  );

/** What was recorded when the tables were made; undefined when nothing was. */
export async function recordedCluster(client: Client, registry: string): Promise<Cluster | undefined> {
  const found = await rows<{ instance: string }>(
    client,
    `SELECT instance FROM ${registry} FINAL WHERE table_name = ${literal(CLUSTER_ROW)}`,
  );
  return found[0] === undefined ? undefined : (JSON.parse(found[0].instance) as Cluster);
}

export async function recordCluster(client: Client, registry: string, c: Cluster): Promise<void> {
  await command(
    client,
    `INSERT INTO ${registry} (table_name, job, generation, instance, version) VALUES (${literal(CLUSTER_ROW)}, ${literal(CLUSTER_ROW)}, 0, ` +
      `${literal(JSON.stringify({ name: c.name, replicated: c.replicated, weights: c.weights }))}, 0)`,
    { async_insert: 0, insert_deduplicate: 0, distributed_foreground_insert: 1, insert_quorum: 'auto' },
  );
}

export function checkSameCluster(recorded: Cluster, now: Cluster): void {
  const shown = (c: Cluster): string =>
    `${c.weights.length} shard(s) weighing ${c.weights.join(', ')}${c.replicated ? '' : ', without replication'}`;
  if (recorded.name === now.name && shown(recorded) === shown(now)) return;
  throw new TallyError(
    'E_CLUSTER_CHANGED',
    `The tables were made for the cluster ${recorded.name} with ${shown(recorded)}; now it is ${now.name} with ${shown(now)}.`,
    'Rows would go to other shards than their older versions. Put the cluster back as it was, or count anew into another database.',
  );
}
