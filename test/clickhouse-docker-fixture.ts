/**
 * Two real ClickHouse servers in Docker, replicas of the one shard of a cluster `ads`, with a Keeper of its own. Only where Docker is: the
 * embedded engine has neither Keeper nor replicated tables.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Endpoint } from '../src/clickhouse/engine.ts';

const IMAGE = 'clickhouse/clickhouse-server:26.3';
const READY_S = 90;

export const hasDocker = (): boolean => spawnSync('docker', ['info']).status === 0;

export interface Replicas {
  readonly endpoints: readonly Endpoint[];
  stop(i: number): void;
  start(i: number): void;
  remove(): void;
}

const KEEPER = `<clickhouse><keeper_server><tcp_port>9181</tcp_port><server_id>1</server_id>
<log_storage_path>/var/lib/clickhouse/coordination/log</log_storage_path><snapshot_storage_path>/var/lib/clickhouse/coordination/snapshots</snapshot_storage_path>
<raft_configuration><server><id>1</id><hostname>keeper</hostname><port>9234</port></server></raft_configuration></keeper_server><listen_host>0.0.0.0</listen_host></clickhouse>`;
const server = (
  name: string,
): string => `<clickhouse><listen_host>0.0.0.0</listen_host><zookeeper><node><host>keeper</host><port>9181</port></node></zookeeper>
<macros><shard>1</shard><replica>${name}</replica></macros><interserver_http_host>${name}</interserver_http_host><distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
<remote_servers><ads replace="true"><secret>test</secret><shard><internal_replication>true</internal_replication>
<replica><host>one</host><port>9000</port></replica><replica><host>two</host><port>9000</port></replica></shard></ads></remote_servers></clickhouse>`;

export async function startReplicas(): Promise<Replicas> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-replicas-')),
    net = path.basename(dir);
  const docker = (...words: string[]): string => execFileSync('docker', words, { encoding: 'utf8' }).trim();
  const remove = (): void => {
    for (const name of ['one', 'two', 'keeper']) spawnSync('docker', ['rm', '-fv', `${net}-${name}`]);
    spawnSync('docker', ['network', 'rm', net]);
    fs.rmSync(dir, { recursive: true, force: true });
  };
  fs.chmodSync(dir, 0o755);
  const begin = (name: string, xml: string, ...more: string[]): void => {
    const file = path.join(dir, `${name}.xml`);
    fs.writeFileSync(file, xml);
    docker(
      'run',
      '-d',
      '--name',
      `${net}-${name}`,
      '--network',
      net,
      '--network-alias',
      name,
      '--hostname',
      name,
      ...more,
      '-v',
      `${file}:/etc/clickhouse-server/config.d/test.xml:ro`,
      IMAGE,
    );
  };
  try {
    docker('network', 'create', net);
    begin('keeper', KEEPER);
    const user = ['-e', 'CLICKHOUSE_USER=writer', '-e', 'CLICKHOUSE_PASSWORD=w', '-p', '127.0.0.1::8123'];
    for (const name of ['one', 'two']) begin(name, server(name), ...user);
    const endpoints = ['one', 'two'].map((name) => ({
      url: `http://${docker('port', `${net}-${name}`, '8123/tcp').split('\n')[0]!}`,
      username: 'writer',
      password: 'w',
      database: 'tally',
    }));
    for (const { url } of endpoints) await untilReady(url);
    return {
      endpoints,
      stop: (i) => void docker('pause', `${net}-${['one', 'two'][i]!}`),
      start: (i) => void docker('unpause', `${net}-${['one', 'two'][i]!}`),
      remove,
    };
  } catch (error) {
    remove();
    throw error;
  }
}

async function untilReady(url: string): Promise<void> {
  for (let waited = 0; waited < READY_S; waited++) {
    const answer = await fetch(`${url}/ping`).catch(() => undefined);
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error(`no server at ${url} after ${READY_S} s`);
}
