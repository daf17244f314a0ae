/**
 * Whose a shard is, where several processes write to one ClickHouse. Before a state is opened: a lost one comes back from a snapshot, one that
 * was taken over is not used unasked. Before its first row: the epoch is claimed, and what an owner before wrote past our last commit is
 * taken away. Once more after the longest time that an insert of his can be on its way.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { openRocks } from '../../state/rocksdb.ts';
import { epochOf } from '../../state/outbox.ts';
import { decodePosition, POSITION_KEY } from '../../topology/position.ts';
import type { Plan } from '../../topology/plan.ts';
import { EPOCHS } from '../../topology/write/layout.ts';
import { makeClient } from '../clickhouse/client.ts';
import type { Client } from '../clickhouse/client.ts';
import { claimEpoch, readClaims, sweep } from '../clickhouse/epochs.ts';
import type { Claim, WindowName } from '../clickhouse/epochs.ts';
import { progressOf } from '../clickhouse/instance.ts';
import { existingTables } from '../clickhouse/schema.ts';
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { ClickHouseEndpoint, Owned, ShardStatus } from './messages.ts';
import { shardDir } from './places.ts';
import { planRebuild } from './rebuild.ts';
import type { Lost, Rebuild, RebuildFrom, Told } from './rebuild.ts';
import { readMeta } from './shard-meta.ts';
import { listSnapshots, restore } from './snapshots.ts';
import type { Snapshot } from './snapshots.ts';

export interface OwnershipOptions {
  readonly endpoint: ClickHouseEndpoint;
  readonly plan: Plan;
  readonly planDigest: string;
  readonly generation: number;
  readonly shards: number;
  readonly instance: string;
  readonly dataDir: string;
  readonly snapshots: string | undefined;
  /** How a shard whose state is lost is counted again; undefined: it is not, unasked. */
  readonly rebuildFrom: RebuildFrom | undefined;
  readonly warn: (sentence: string) => void;
}
/** On the way of a snapshot, something is said each time so much has come. */
const TELL_BYTES = 256 << 20;

interface Local {
  readonly version: number;
  readonly instance: string;
}
/** A state is of use when no later owner has gone on from before it. */
export const isOnLineage = (version: number, claims: readonly Claim[]): boolean =>
  !claims.some((c) => c.epoch > epochOf(version) && c.fork < version);

export class Ownership {
  private readonly o: OwnershipOptions;
  /** Shards whose state here is not the one that stands in the tables, and which are taken over. */
  readonly takes = new Set<number>();
  /** Shards whose state is lost, and which are counted again from what the log still holds. */
  readonly rebuilds = new Map<number, Rebuild>();
  /** By shard: the claim that this process writes under, and those before it whose owners' rows may still come in. */
  private readonly open = new Map<number, readonly Claim[]>();

  constructor(o: OwnershipOptions) {
    this.o = o;
  }

  /** Sees to it that the shard's state is on disk, if there ever was one. `asked`: somebody wants this process to have it, whoever had it. */
  async prepare(shard: number, asked: boolean): Promise<void> {
    const local = await this.local(shard),
      { instance } = this.o;
    this.rebuilds.delete(shard);
    const known = await this.withClient(async (client) => {
      const tables = await existingTables(client);
      if (!tables.has(EPOCHS.name)) return { claims: [], progress: undefined };
      return {
        claims: await readClaims(client, this.name(shard)),
        progress: (await progressOf(client, this.name(shard))).find((p) => p.shard === shard),
      };
    });
    const { claims } = known,
      told = JSON.parse(known.progress?.offsets ?? '[]') as Told[];
    if (local === undefined) {
      if (known.progress === undefined) return;
      return this.bringBack(shard, { told, claims }, local);
    }
    if (local.instance !== instance || claims.some((c) => c.epoch > epochOf(local.version))) this.takes.add(shard);
    const later = claims.findLast((c) => c.epoch > epochOf(local.version) && c.instance !== instance);
    if (local.instance === instance && later === undefined) return;
    if (local.instance === instance && !asked) {
      throw new TallyError(
        'E_FENCED',
        `shard ${shard} of ${this.o.plan.job} was taken over by another process (data directory ${later!.instance}, epoch ${later!.epoch}): this state counts no more`,
        `Nothing is taken back unasked. If the other one is gone for good, move ${this.dir(shard)} out of the way and start again with --snapshots: the newest snapshot is used.`,
      );
    }
    const newest = (await this.usable(shard, claims))[0];
    if (isOnLineage(local.version, claims) && (newest === undefined || newest.version <= local.version)) return;
    await this.bringBack(shard, { told, claims }, local);
  }

  /** Newest local state: for whoever decides who gets a shard. */
  async local(shard: number): Promise<Local | undefined> {
    const dir = this.dir(shard);
    if (!existsSync(path.join(dir, 'CURRENT'))) return undefined;
    const store = await openRocks(dir);
    try {
      const position = store.get(POSITION_KEY),
        meta = readMeta(store);
      if (position === undefined || meta === undefined) return undefined;
      return { version: decodePosition(position).version, instance: meta.instance };
    } finally {
      await store.close();
    }
  }

  private async usable(shard: number, claims: readonly Claim[]): Promise<Snapshot[]> {
    const { snapshots, plan, planDigest, generation, shards } = this.o;
    if (snapshots === undefined) return [];
    const all = await listSnapshots(snapshots, { job: plan.job, generation, shard, shards });
    return all.filter((s) => s.plan === planDigest && isOnLineage(s.version, claims));
  }

  private async bringBack(shard: number, lost: Lost, local: Local | undefined): Promise<void> {
    const { plan, snapshots, warn, dataDir, rebuildFrom } = this.o,
      [newest] = await this.usable(shard, lost.claims);
    if (newest === undefined) {
      if (rebuildFrom !== undefined) return this.begin(shard, await planRebuild(rebuildFrom, lost), local !== undefined);
      throw new TallyError(
        'E_STATE_LOST',
        `the tables hold shard ${shard} of ${plan.job}, and ${local === undefined ? 'there is no state of it here' : 'the state here is not the one that they were made from'}; ${snapshots === undefined ? 'no --snapshots were given' : `${snapshots} has no snapshot of it that fits`}`,
        `Bring back the data directory ${path.resolve(dataDir)}; or give --snapshots DIR, if there are any; or count the shard again from what the log still holds: --rebuild-frozen (older windows stay as they are).`,
      );
    }
    warn(
      `shard ${shard}: its state comes from the snapshot ${newest.dir}, taken ${new Date(newest.takenAt).toISOString()}, ${size(newest.bytes)}; what came later is read from the log again`,
    );
    this.takes.add(shard);
    const began = monotonicMs();
    let told = 0;
    await restore(newest, this.dir(shard), (bytes) => {
      if (bytes - told < TELL_BYTES) return;
      told = bytes;
      const rate = size((bytes * 1000) / Math.max(1, monotonicMs() - began));
      warn(`shard ${shard}: ${size(bytes)} of ${size(newest.bytes)} are here, ${rate} a second`);
    });
  }

  /** A state that is of no use is kept beside the new one, for whoever wants to know. */
  private async begin(shard: number, rebuild: Rebuild, isThere: boolean): Promise<void> {
    const dir = this.dir(shard),
      { frozenTo, starts } = rebuild;
    if (isThere) {
      await rm(`${dir}.lost`, { recursive: true, force: true });
      await rename(dir, `${dir}.lost`);
    }
    const left =
      frozenTo === 0 ? 'all of it' : `what begins at ${new Date(frozenTo).toISOString()} or later; older windows stay as they are`;
    this.o.warn(
      `shard ${shard}: its state is lost, and it is counted again from ${starts.map(([topic, p, offset]) => `${topic}/${p}@${offset}`).join(', ')}: ${left}`,
    );
    this.rebuilds.set(shard, rebuild);
    this.takes.add(shard);
  }

  /**
   * The state is open, and the tables are there: makes it the shard's only one. `asked`: the epoch that was dealt out for it, and the version
   * with which the owner before has let go.
   */
  async take(s: ShardStatus, asked?: { readonly epoch: number; readonly released: number | undefined }): Promise<Owned> {
    const { instance, plan } = this.o,
      name = this.name(s.shard);
    return this.withClient(async (client) => {
      const claims = await readClaims(client, name),
        last = claims.at(-1),
        own = epochOf(s.version),
        rebuild = this.rebuilds.get(s.shard);
      const isLast = rebuild === undefined && last?.epoch === own && last.instance === instance && s.owner === instance,
        before = claims.filter((c) => c.epoch > Math.max(1, s.settled));
      if (isLast && asked === undefined) {
        this.open.set(s.shard, before);
        return { epoch: own, takesOver: false, isSettled: before.length === 0, windows: await sweep(client, plan, name, before) };
      }
      const isFirst = rebuild === undefined && last === undefined && s.owner === instance && (asked === undefined || asked.epoch === own);
      const epoch = isFirst ? own : Math.max(asked?.epoch ?? 0, (last?.epoch ?? 0) + 1, own + 1);
      const claim: Claim = {
        epoch,
        instance,
        fork: isFirst ? 0 : s.version,
        frozenTo: 0,
        starts: [],
        ...(rebuild && { fork: 0, ...rebuild }),
      };
      await claimEpoch(client, name, claim);
      // Nobody has written anything past this state when it is our own, or was let go as it stands here.
      const isWhole = isFirst || isLast || (rebuild === undefined && asked?.released === s.version),
        open = isWhole ? before : [...before, claim];
      this.open.set(s.shard, open);
      return { epoch, takesOver: !isFirst, isSettled: open.length === 0, windows: await sweep(client, plan, name, open), rebuild };
    });
  }

  /** The highest epoch that the tables know of; 0: none. */
  async highest(shard: number): Promise<number> {
    return this.withClient(async (client) => (await readClaims(client, this.name(shard))).at(-1)?.epoch ?? 0);
  }

  /** What of an owner before has come in since. */
  async sweepAgain(shard: number): Promise<WindowName[]> {
    return this.withClient((client) => sweep(client, this.o.plan, this.name(shard), this.open.get(shard) ?? []));
  }

  private dir(shard: number): string {
    const { dataDir, plan, generation, shards } = this.o;
    return shardDir(dataDir, plan.job, generation, shard, shards);
  }

  private name(shard: number): { job: string; generation: number; shard: number } {
    return { job: this.o.plan.job, generation: this.o.generation, shard };
  }

  private async withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const client = makeClient(this.o.endpoint);
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }
}

const size = (bytes: number): string => (bytes < 1 << 20 ? `${Math.ceil(bytes / 1024)} KiB` : `${Math.round(bytes / (1 << 20))} MiB`);
