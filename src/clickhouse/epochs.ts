/**
 * Who owns a shard, as the tables know it. An owner claims an epoch before its first row; every insert of an older epoch is turned away from
 * then on (`fence`). What the owner before wrote past the fork, the last commit that the new owner has, is taken away by tombstones; what
 * the new owner has of it, it writes again. Tombstones carry the epoch's version 0: older than anything that the new owner writes.
 */
import type { Plan } from '../../topology/plan.ts';
import { EPOCHS, QUARANTINE, changesLayout, insertTarget, rowsLayout } from '../../topology/write/layout.ts';
import type { TableLayout } from '../../topology/write/layout.ts';
import { EPOCH } from '../../state/outbox.ts';
import { TallyError } from '../errors.ts';
import { command, identifier, literal, rows } from './client.ts';
import type { Client } from './client.ts';
import { TIMEOUT } from './error-codes.ts';
import { closeFrozen } from './frozen.ts';
import { INSERT_S, INSERT_SETTINGS } from './server.ts';

export interface ShardName {
  readonly job: string;
  readonly generation: number;
  readonly shard: number;
}
export interface Claim {
  readonly epoch: number;
  readonly instance: string;
  /** The version of the last commit that the new owner goes on from; 0: from nothing. */
  readonly fork: number;
  /** Windows that begin before it are left as they are: the log does not hold all of them any more. 0: all are counted. */
  readonly frozenTo: number;
  /** With `frozenTo`: where the log began, by topic and partition. */
  readonly starts: readonly (readonly [topic: string, partition: number, offset: number])[];
}
/** A window of one of the plan's tables, by its number and start. */
export interface WindowName {
  readonly table: number;
  readonly start: number;
}

const { async_insert, insert_deduplicate, distributed_foreground_insert, insert_quorum } = INSERT_SETTINGS;
const SETTINGS = { async_insert, insert_deduplicate, distributed_foreground_insert, insert_quorum };

const isOf = ({ job, generation, shard }: ShardName): string => `job = ${literal(job)} AND generation = ${generation} AND shard = ${shard}`;

/**
 * A condition of an insert: it fails when the shard has been claimed for a later epoch. That is asked once, as it begins; so it fails too when
 * its rows come long after that, of an owner that hung in the middle. Measured: no limit on a query's time ends one whose body is awaited.
 */
export const fence = (name: ShardName, epoch: number, lifeS: number = INSERT_S): string =>
  `throwIf(${epoch} < (SELECT max(epoch) FROM ${EPOCHS.name} WHERE ${isOf(name)}), 'the shard was taken over') = 0 ` +
  `AND throwIf(dateDiff('second', now(), nowInBlock()) >= ${lifeS}, 'its rows came too late', ${TIMEOUT}::Int16) = 0`;

/** Every claim of a shard, the first one first. */
export async function readClaims(client: Client, name: ShardName): Promise<Claim[]> {
  const found = await rows<{ epoch: number; instance: string; fork: string; frozen: string; starts: string }>(
    client,
    `SELECT epoch, instance, toString(fork) AS fork, toString(toUnixTimestamp64Milli(frozen_to)) AS frozen, starts FROM ${EPOCHS.name} FINAL WHERE ${isOf(name)} ORDER BY epoch, instance`,
  );
  return found.map((r) => ({
    epoch: r.epoch,
    instance: r.instance,
    fork: Number(r.fork),
    frozenTo: Number(r.frozen),
    starts: JSON.parse(r.starts) as Claim['starts'],
  }));
}

/** Returns when the claim stands and nobody else has claimed the same epoch or a later one. */
export async function claimEpoch(client: Client, name: ShardName, claim: Claim): Promise<void> {
  const { job, generation, shard } = name,
    { epoch, instance, fork, frozenTo, starts } = claim;
  await command(
    client,
    `INSERT INTO ${insertTarget(EPOCHS)} SELECT ${literal(job)}, ${generation}, ${shard}, ${epoch}, ${literal(instance)}, ${fork}, ` +
      `fromUnixTimestamp64Milli(${frozenTo}, 'UTC'), ${literal(JSON.stringify(starts))}, now64(3, 'UTC'), ${epoch}`,
    SETTINGS,
  );
  const others = (await readClaims(client, name)).filter((c) => c.epoch >= epoch && c.instance !== instance);
  if (others.length === 0) return;
  throw new TallyError(
    'E_FENCED',
    `Shard ${shard} of ${job} is claimed by another process at this moment (data directory ${others[0]!.instance}).`,
    'One process runs a shard. If both were meant to, stop the other one and start this one again.',
  );
}

/**
 * Takes away what was written past the fork of each claim under older epochs, and says of which windows: the owner writes its own rows of them
 * again. May be asked any number of times, also while the owner writes.
 */
export async function sweep(client: Client, plan: Plan, name: ShardName, claims: readonly Claim[]): Promise<WindowName[]> {
  const windows: WindowName[] = [];
  if (claims.length === 0) return windows;
  for (const [number, table] of plan.tables.entries()) {
    const layout = rowsLayout(plan, table, name.generation);
    for (const claim of claims) {
      const open = claim.frozenTo === 0 ? '' : ` AND window_start >= fromUnixTimestamp64Milli(${claim.frozenTo}, 'UTC')`;
      await bury(client, changesLayout(plan, table, name.generation), past(name, claim) + open, { epoch: claim.epoch });
      await bury(client, layout, past(name, claim) + open, { version: claim.epoch * EPOCH });
    }
    const found = await rows<{ start: string }>(
      client,
      `SELECT DISTINCT toString(toUnixTimestamp(window_start)) AS start FROM ${layout.name} WHERE shard = ${name.shard} AND version IN (${claims.map((c) => c.epoch * EPOCH).join(', ')})`,
    );
    for (const claim of claims) if (claim.frozenTo !== 0) await closeFrozen(client, plan, table, { ...name, ...claim }, SETTINGS);
    for (const { start } of found) windows.push({ table: number, start: Number(start) * 1000 });
  }
  for (const claim of claims) {
    const read = claim.starts.map(
      ([topic, partition, offset]) => `topic = ${literal(topic)} AND partition = ${partition} AND offset >= ${offset}`,
    );
    const again = claim.frozenTo === 0 ? '' : ` AND (${read.join(' OR ') || '0'})`;
    await bury(client, QUARANTINE, `${isOf(name)} AND ${past(name, claim)}${again}`, { version: claim.epoch * EPOCH });
  }
  return windows;
}

const past = ({ shard }: ShardName, { fork, epoch }: Claim): string =>
  `shard = ${shard} AND version > ${fork} AND version < ${epoch * EPOCH}`;

/** The newest of what the condition finds, once more as it is, but gone. */
function bury(client: Client, layout: TableLayout, condition: string, as: Readonly<Record<string, number>>): Promise<void> {
  const names = layout.columns.map((c) => c.name),
    values = names.map((name) => (name === 'is_deleted' ? '1' : name in as ? String(as[name]) : `r.${identifier(name)}`));
  return command(
    client,
    `INSERT INTO ${layout.name} (${names.map(identifier).join(', ')}) SELECT ${values.join(', ')} FROM ${layout.name} AS r FINAL WHERE ${condition}`,
    SETTINGS,
  );
}
