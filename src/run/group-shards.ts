/**
 * The shards of a process as the group deals them out. One that is assigned waits for its turn, gets its state, is claimed, and runs in a
 * thread of its own; one that is revoked is brought to its end, copied and let go. One thing at a time a shard, all shards side by side. An
 * owner that was fenced stops; what the group says of the shard then goes for it as for any other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { EPOCH, epochOf } from '../../state/outbox.ts';
import { TallyError } from '../errors.ts';
import type { ShardGroup } from '../kafka/shards/shard-group.ts';
import type { Crew, Team } from './crew.ts';
import type { ClickHouseEndpoint, Owned, ShardStatus } from './messages.ts';
import type { Ownership } from './ownership.ts';

const TRY_AGAIN_MS = 1_000,
  LOOK_AGAIN_MS = 15_000;

export interface GroupShardsOptions {
  readonly shards: number;
  readonly crew: Crew;
  readonly ownership: Ownership;
  readonly endpoint: ClickHouseEndpoint;
  readonly warn: (sentence: string) => void;
  /** A shard begins here: as its state was, and under which epoch it is written from now on. */
  readonly onTaken: (state: ShardStatus, owned: Owned) => void;
  readonly onReleased: (state: ShardStatus) => void;
  /** Shards that were given to this process and stand still, for nothing of their state is to be had. */
  readonly onLost: (shards: readonly number[]) => void;
  /** An earlier owner's inserts may still come in. */
  readonly settle: (shard: number) => void;
}
interface Served {
  readonly team: Team;
  readonly epoch: number;
}

export class GroupShards {
  /** Rejects with the first fault that waiting does not heal; never resolves. */
  readonly failed: Promise<never>;
  private readonly failure = Promise.withResolvers<never>();
  private readonly o: GroupShardsOptions;
  private readonly asked = new Map<number, AbortController>();
  private readonly served = new Map<number, Served>();
  /** Shard -> version of the newest state here. */
  private readonly known = new Map<number, number>();
  private readonly queues = new Map<number, Promise<void>>();
  private readonly lost = new Set<number>();
  private group!: ShardGroup;

  constructor(o: GroupShardsOptions) {
    this.o = o;
    this.failed = this.failure.promise;
    this.failed.catch(() => {});
  }

  /** What lies on the disk already. */
  async look(): Promise<void> {
    for (let shard = 0; shard < this.o.shards; shard++) {
      const local = await this.o.ownership.local(shard);
      if (local !== undefined) this.known.set(shard, local.version);
    }
  }

  joined(group: ShardGroup): void {
    this.group = group;
  }

  states(): ReadonlyMap<number, number> {
    for (const { shard, version } of this.o.crew.latest) if (this.served.has(shard)) this.known.set(shard, version);
    return this.known;
  }

  assigned(shard: number): void {
    const asked = new AbortController();
    this.asked.set(shard, asked);
    this.next(shard, () => this.take(shard, asked.signal));
  }

  revoked(shard: number): void {
    this.asked.get(shard)?.abort();
    this.asked.delete(shard);
    this.served.get(shard)?.team.tell({ kind: 'stop' });
    this.next(shard, () => this.letGo(shard));
  }

  /** Lets go of everything, in order. */
  async stop(): Promise<void> {
    for (const shard of this.asked.keys()) this.revoked(shard);
    await Promise.all(this.queues.values());
    await this.group.leave();
  }

  private next(shard: number, work: () => Promise<void>): void {
    const done = (this.queues.get(shard) ?? Promise.resolve()).then(work);
    this.queues.set(
      shard,
      done.catch((error: unknown) => this.failure.reject(error)),
    );
  }

  private async take(shard: number, signal: AbortSignal): Promise<void> {
    const { ownership, crew, endpoint, onTaken } = this.o;
    const turn = await this.patiently(signal, () => this.group.waitForTurn(shard, signal));
    if (turn === undefined || turn === 'revoked') return;
    if (turn === 'silent') this.o.warn(`shard ${shard}: its owner has not let go of it in time; it is taken over`);
    await this.prepare(shard, signal);
    if (signal.aborted) return;
    const team = crew.open([shard], ownership.rebuilds),
      [state] = await team.opened,
      highest = Math.max(epochOf(state!.version), await ownership.highest(shard));
    const epoch = await this.patiently(signal, () => this.group.claim(shard, highest));
    if (epoch === undefined) return this.close(team);
    const said = await this.patiently(signal, () => this.group.read(shard)),
      released = said?.released?.version;
    const owned = await ownership.take(state!, { epoch, released });
    this.known.set(shard, epoch * EPOCH);
    this.served.set(shard, { team, epoch });
    onTaken(state!, owned);
    team.tell({ kind: 'go', clickhouse: endpoint, owned: new Map([[shard, owned]]) });
    if (!owned.isSettled) this.o.settle(shard);
    if (signal.aborted) team.tell({ kind: 'stop' });
    team.ended.catch((error: unknown) => {
      if (!(error instanceof TallyError) || error.code !== 'E_FENCED') return this.failure.reject(error);
      this.o.warn(`${error.message} This process goes on without shard ${shard}.`);
    });
  }

  /** A shard of which nothing is left stands still, and nobody else does: its directory or a snapshot may come back. */
  private async prepare(shard: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.o.ownership.prepare(shard, true);
        break;
      } catch (error) {
        if (!(error instanceof TallyError) || error.code !== 'E_STATE_LOST') throw error;
        if (!this.lost.has(shard))
          this.o.warn(
            `${error.message}. The others go on; what this shard counts stands still, and with it what is final. It is looked for again. ${error.hint}`,
          );
        this.tellLost(shard, true);
        await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {});
      }
    }
    this.tellLost(shard, false);
  }

  private tellLost(shard: number, isLost: boolean): void {
    if (isLost === this.lost.has(shard)) return;
    if (isLost) this.lost.add(shard);
    else this.lost.delete(shard);
    this.o.onLost([...this.lost]);
  }

  private async letGo(shard: number): Promise<void> {
    const served = this.served.get(shard);
    if (served === undefined) return;
    this.served.delete(shard);
    try {
      const [state] = await served.team.ended;
      this.known.set(shard, state!.version);
      this.o.onReleased(state!);
      await this.group.release(shard, served.epoch, state!.version);
    } catch (error) {
      // Whoever takes it over waits for nothing then, and finds the epoch of a later owner where we were fenced.
      this.o.warn(`shard ${shard} was not handed over in order: ${(error as Error).message}`);
    } finally {
      await this.close(served.team);
      this.o.crew.forget(shard);
    }
  }

  private async close(team: Team): Promise<void> {
    team.tell({ kind: 'stop' });
    await team.exited;
  }

  /** A broker that is away is waited for, as long as the shard is ours; undefined: it is not. */
  private async patiently<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      if (signal.aborted) return undefined;
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof TallyError) || error.code !== 'E_KAFKA_UNREACHABLE') throw error;
        this.o.warn(`${error.message} Tried again.`);
        await sleep(TRY_AGAIN_MS);
      }
    }
  }
}
