/**
 * The statements that make tables and views, from a layout alone. On one server a layout is one table. Over a cluster it is two: NAME_local
 * on every shard, and NAME, which spreads rows over the shards by what a row is, never by its version: all versions of a row meet on one
 * shard, where the newest wins.
 */
import { createHash } from 'node:crypto';
import { BOOKS, EPOCHS, PROGRESS } from '../../topology/write/layout.ts';
import type { TableLayout } from '../../topology/write/layout.ts';
import { identifier, literal } from './client.ts';
import type { Cluster } from './cluster.ts';
import type { View } from './views.ts';

/** Tables and views carry it as their comment: what does not is somebody else's. */
const MARK = 'tally';
export const isOurs = (comment: string): boolean => comment === MARK || comment.startsWith(`${MARK} `);

export const partitionKey = (layout: TableLayout): string => (layout.partitionBy === null ? '' : `toYYYYMM(${layout.partitionBy})`);
export const localName = (name: string): string => `${name}_local`;

const columnsOf = (layout: TableLayout): string =>
  layout.columns.map((c) => `${identifier(c.name)} ${c.type}${c.default === undefined ? '' : ` DEFAULT ${c.default}`}`).join(', ');
const onCluster = (cluster: Cluster | undefined): string => (cluster?.replicated === true ? ` ON CLUSTER ${identifier(cluster.name)}` : '');

/**
 * fsync: what is acknowledged leaves the outbox, so it must outlive the machine's power. One block of rows in a month is one part.
 */
export function tableDdl(layout: TableLayout, cluster?: Cluster): string {
  const partition = layout.partitionBy === null ? '' : ` PARTITION BY ${partitionKey(layout)}`,
    isReplicated = cluster?.replicated === true;
  return (
    `CREATE TABLE IF NOT EXISTS ${cluster === undefined ? layout.name : localName(layout.name)}${onCluster(cluster)} (${columnsOf(layout)}) ` +
    `ENGINE = ${isReplicated ? 'Replicated' : ''}ReplacingMergeTree(${layout.newest})${partition} ` +
    `ORDER BY (${layout.orderBy.map(identifier).join(', ')}) ` +
    `SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ` +
    `${isReplicated ? 'replicated' : 'non_replicated'}_deduplication_window = 0 COMMENT '${MARK}'`
  );
}

export function distributedDdl(layout: TableLayout, cluster: Cluster): string {
  return (
    `CREATE TABLE IF NOT EXISTS ${layout.name}${onCluster(cluster)} (${columnsOf(layout)}) ` +
    `ENGINE = Distributed(${literal(cluster.name)}, currentDatabase(), ${literal(localName(layout.name))}, ${shardingKey(layout)}) COMMENT '${MARK}'`
  );
}

/** Books and progress of one of the job's shards stay together: one block, so that no reader sees half a page. */
export function shardingKey(layout: TableLayout): string {
  const columns =
    layout.name === BOOKS.name || layout.name === PROGRESS.name || layout.name === EPOCHS.name
      ? ['job', 'generation', 'shard']
      : layout.orderBy.filter((name) => name !== 'version' && name !== 'op');
  return `cityHash64(${columns.map(identifier).join(', ')})`;
}

/** The digest tells whether a view that exists is this one: how ClickHouse prints it differs from version to version. */
export const viewMark = (view: View): string => `${MARK} ${createHash('sha256').update(view.select).digest('hex').slice(0, 16)}`;

export const viewDdl = (view: View, cluster?: Cluster): string =>
  `CREATE VIEW IF NOT EXISTS ${identifier(view.name)}${onCluster(cluster)} ${asSelect(view)}`;
/** Readers see the one or the other at any moment. */
export const replaceViewDdl = (view: View, cluster?: Cluster): string =>
  `CREATE OR REPLACE VIEW ${identifier(view.name)}${onCluster(cluster)} ${asSelect(view)}`;
export const dropViewDdl = (view: View, cluster?: Cluster): string =>
  `DROP VIEW IF EXISTS ${identifier(view.name)}${onCluster(cluster)} SYNC`;
const asSelect = (view: View): string => `AS ${view.select} COMMENT '${viewMark(view)}'`;
