/**
 * Shards over processes by Kafka's group protocol (classic): one partition of the control topic stands for each shard. It says who ought to
 * run a shard and hands out ownership epochs; it runs none. Assigned is not owned: whoever is assigned a shard waits for its turn, claims
 * an epoch, and only then owns it. After a rebalance only the difference is told, so that a shard that stays goes on. The group's word
 * comes late to a process that hung: what keeps two owners apart is the epoch.
 */
import type { Consumer, Kafka } from 'kafkajs';
import { monotonicMs } from '../../clock.ts';
import { TallyError } from '../../errors.ts';
import { backoffMs, Pause } from '../../pause.ts';
import { openLibrary } from '../library-access.ts';
import type { Security } from '../security.ts';
import { attemptOf, controlTopicOf } from './control-topic-setup.ts';
import type { ControlTopicOptions } from './control-topic-setup.ts';
import { ControlTopic } from './control-topic.ts';
import type { ShardRecord } from './control-topic.ts';
import { lastFault, libraryFault } from './library-fault.ts';
import { shardAssigner } from './member-metadata.ts';

export interface GroupOptions {
  /** kafka://host:port[,...] */
  readonly log: string;
  readonly security: Security;
  /** The consumer group; the names of the control topic and of the transactional ids begin with it. */
  readonly group: string;
  readonly shards: number;
  /** Id of this process's data directory. */
  readonly instance: string;
  readonly sessionMs: number;
  /** How long a new owner waits for the old one's release, or its return, before it takes over. */
  readonly takeoverDelayMs: number;
  /** Newest local state: shard -> version. Asked at each rebalance. */
  readonly states: () => ReadonlyMap<number, number>;
  /** Not for a shard that was ours already. */
  readonly onAssigned: (shard: number) => void;
  /**
   * Not for a shard that stays ours through a rebalance. `onAssigned` follows at once when somebody else has claimed a shard that the group
   * still, or again, gives to us: its owner here is fenced, and a new one waits for its turn.
   */
  readonly onRevoked: (shard: number) => void;
  /** What went wrong and is tried again; for people. */
  readonly onTrouble: (sentence: string) => void;
}

export type Turn = 'free' | 'ours' | 'released' | 'silent' | 'revoked';

export interface ShardGroup {
  /** What the control topic says of a shard now: all that claims and releases which were over before had said. */
  read(shard: number): Promise<ShardRecord>;
  /**
   * 'free': nobody ever owned it; 'ours': this instance owned it last; 'released': its last owner has let go; 'silent': it hasn't, for the
   * whole delay since the shard was assigned; 'revoked': the shard is ours no more, or the signal came.
   */
  waitForTurn(shard: number, signal: AbortSignal): Promise<Turn>;
  /**
   * A new epoch, above all others and `atLeast`: whoever owned the shard before is fenced. Undefined: revoked meanwhile. A shard that is
   * revoked while its claim is written has an epoch all the same: release it.
   */
  claim(shard: number, atLeast: number): Promise<number | undefined>;
  /** False: somebody else has claimed the shard since, and nothing was said. */
  release(shard: number, epoch: number, version: number): Promise<boolean>;
  /** No shard is told of any more. Release them first. */
  leave(): Promise<void>;
}

/** Heartbeats a session; Kafka advises three at least. */
const HEARTBEATS = 6,
  HEARTBEAT_MOST_MS = 1000,
  /** How often is looked whether a heartbeat is due, or a release there. */
  LOOK_MS = 150,
  JOIN_MS = 8000,
  /** A broker's first group takes seconds: its topic of offsets is made for it. */
  TROUBLE_MS = 6000,
  LEAVE_MS = 5000,
  BACKOFF = { firstMs: 200, mostMs: 5000 };

/** Resolves once the group knows of us, or waits for others; throws when it can't be joined. */
export async function joinGroup(o: GroupOptions): Promise<ShardGroup> {
  // An answer may wait for a member that hangs until its session is over.
  const library = await openLibrary(o.log, o.security, o.sessionMs + 3000),
    onClaim: ControlTopicOptions['onClaim'] = (shard, instance, epoch) => member.superseded(shard, instance, epoch),
    member = new Member(o, await ControlTopic.open({ ...o, onClaim }), library);
  try {
    await member.join();
    return member;
  } catch (error) {
    await member.leave();
    throw error;
  }
}

interface Assignment {
  readonly sinceMs: number;
  /** What we claimed under it. */
  epoch?: number;
}

class Member implements ShardGroup {
  readonly #o: GroupOptions;
  readonly #control: ControlTopic;
  readonly #kafka: Kafka;
  readonly #assigned = new Map<number, Assignment>();
  readonly #pause = new Pause();
  #consumer: Consumer | undefined;
  /** When the group last confirmed what we are assigned; -Infinity while it is being dealt out anew. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #joins = 0;
  /** `join` is over. */
  #isIn = false;
  #hasLeft = false;
  readonly #leaving = Promise.withResolvers<void>();
  #ended: Promise<void> = Promise.resolve();

  constructor(o: GroupOptions, control: ControlTopic, kafka: Kafka) {
    this.#o = o;
    this.#control = control;
    this.#kafka = kafka;
  }

  async join(): Promise<void> {
    const first = Promise.withResolvers<void>(),
      onIn = (): void => {
        this.#isIn = true;
        first.resolve();
      },
      timer = setTimeout(() => {
        this.#o.onTrouble(`Group '${this.#o.group}' deals its shards out anew: this process waits for other members`);
        onIn();
      }, JOIN_MS);
    this.#ended = this.#stayIn(onIn, first.reject);
    try {
      await first.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  read(shard: number): Promise<ShardRecord> {
    return this.#control.read(shard);
  }

  async waitForTurn(shard: number, signal: AbortSignal): Promise<Turn> {
    const { instance, takeoverDelayMs } = this.#o,
      assignment = this.#assigned.get(shard);
    for (;;) {
      if (assignment === undefined || signal.aborted || !this.#isOurs(shard, assignment)) return 'revoked';
      const said = await this.#control.read(shard).catch((error: unknown) => {
        if (this.#isOurs(shard, assignment)) throw error;
        return undefined;
      });
      if (said === undefined || signal.aborted || !this.#isOurs(shard, assignment)) return 'revoked';
      if (said.instance === null) return 'free';
      if (said.instance === instance) return 'ours';
      if (said.released?.epoch === said.epoch) return 'released';
      const leftMs = assignment.sinceMs + takeoverDelayMs - monotonicMs();
      if (leftMs <= 0) return 'silent';
      await new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, LOOK_MS)));
    }
  }

  async claim(shard: number, atLeast: number): Promise<number | undefined> {
    const assignment = this.#assigned.get(shard);
    while (assignment !== undefined && this.#isOurs(shard, assignment)) {
      const isWanted = (): boolean => this.#isOurs(shard, assignment) && this.#isConfirmed();
      // Who hung may have lost the shard long ago: the group must have confirmed it since.
      if (!isWanted()) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      else {
        const epoch = await this.#control.claim(shard, this.#o.instance, atLeast, isWanted);
        if (epoch === undefined) continue;
        assignment.epoch = epoch;
        const said = await this.#control.read(shard);
        this.superseded(shard, said.instance, said.epoch);
        return epoch;
      }
    }
    return undefined;
  }

  release(shard: number, epoch: number, version: number): Promise<boolean> {
    return this.#control.release(shard, this.#o.instance, epoch, version);
  }

  /** The group gave a shard of ours to somebody else while we were out of it, and perhaps back: then it is to be taken over anew. */
  superseded(shard: number, instance: string | null, epoch: number): void {
    const own = this.#assigned.get(shard)?.epoch;
    if (own === undefined || own >= epoch || instance === this.#o.instance) return;
    this.#revoke(shard);
    this.#assign(shard);
  }

  async leave(): Promise<void> {
    this.#hasLeft = true;
    this.#assigned.clear();
    this.#leaving.resolve();
    this.#pause.wake();
    const late = Promise.withResolvers<void>(),
      timer = setTimeout(late.resolve, LEAVE_MS);
    await Promise.race([this.#ended, late.promise]);
    clearTimeout(timer);
    await this.#control.close();
  }

  #isOurs(shard: number, assignment: Assignment): boolean {
    return this.#assigned.get(shard) === assignment;
  }

  #isConfirmed(): boolean {
    return monotonicMs() - this.#confirmedMs < this.#o.sessionMs / 2;
  }

  /** Joins again whenever it was thrown out, until it leaves. What keeps it from joining at first, and does not heal, is for `onOut`. */
  async #stayIn(onIn: () => void, onOut: (fault: TallyError) => void): Promise<void> {
    const { group } = this.#o,
      attempt = attemptOf(this.#o, `Joining group '${group}'`),
      patientTo = monotonicMs() + TROUBLE_MS;
    for (let tries = 1; !this.#hasLeft; tries++) {
      const joinsBefore = this.#joins,
        crash = await this.#consume(onIn);
      if (crash === undefined) return;
      this.#confirmedMs = Number.NEGATIVE_INFINITY;
      const trouble = libraryFault(crash, attempt),
        fault = lastFault(trouble, attempt);
      if (!this.#isIn && (trouble instanceof TallyError || monotonicMs() > patientTo)) return onOut(fault);
      if (this.#isIn) this.#o.onTrouble(fault.message);
      if (this.#joins > joinsBefore) tries = 1;
      await this.#pause.sleep(backoffMs(BACKOFF, tries));
    }
  }

  /** Until it leaves (undefined), or crashes. */
  async #consume(onJoined: () => void): Promise<unknown> {
    const { group, shards, sessionMs, instance, states } = this.#o,
      topic = controlTopicOf(this.#o),
      ended = Promise.withResolvers<unknown>();
    const own = (): { instance: string; states: ReadonlyMap<number, number>; assigned: ReadonlySet<number> } => ({
      instance,
      states: states(),
      assigned: new Set(this.#assigned.keys()),
    });
    const consumer = this.#kafka.consumer({
      groupId: group,
      sessionTimeout: sessionMs,
      rebalanceTimeout: sessionMs,
      heartbeatInterval: Math.min(HEARTBEAT_MOST_MS, sessionMs / HEARTBEATS),
      maxWaitTimeInMs: LOOK_MS,
      allowAutoTopicCreation: false,
      partitionAssigners: [shardAssigner(topic, shards, own)],
      // A crash ends here; how to go on is decided in one place.
      retry: { retries: 4, initialRetryTime: 100, maxRetryTime: 500, restartOnFailure: async () => false },
    });
    this.#consumer = consumer;
    const { GROUP_JOIN, REBALANCING, HEARTBEAT, CRASH } = consumer.events;
    consumer.on(GROUP_JOIN, ({ payload }) => {
      // What is in the topic is read elsewhere, and committed: paused, the library fetches nothing and only keeps the membership.
      consumer.pause([{ topic }]);
      const mine = payload.memberAssignment[topic] ?? [];
      onJoined();
      // Later: who joins gets the group before its shards, and a bug in what is called must not look like a crash of the consumer.
      setImmediate(() => {
        if (this.#consumer === consumer && !this.#hasLeft) this.#dealt(mine);
      });
    });
    consumer.on(HEARTBEAT, () => {
      if (this.#consumer === consumer) this.#confirmedMs = monotonicMs();
    });
    consumer.on(REBALANCING, () => {
      this.#confirmedMs = Number.NEGATIVE_INFINITY;
    });
    consumer.on(CRASH, ({ payload }) => ended.resolve(payload.error));
    try {
      await this.#control.checkGroup();
      await consumer.connect();
      await consumer.subscribe({ topics: [topic] });
      consumer.run({ autoCommit: false, eachBatch: async () => {} }).catch(ended.resolve);
      return await Promise.race([ended.promise, this.#leaving.promise]);
    } catch (error) {
      return error;
    } finally {
      this.#consumer = undefined;
      await consumer.disconnect().catch(() => {});
    }
  }

  #dealt(shards: readonly number[]): void {
    const mine = new Set(shards);
    this.#joins++;
    this.#confirmedMs = monotonicMs();
    for (const shard of this.#assigned.keys()) if (!mine.has(shard)) this.#revoke(shard);
    for (const shard of mine) if (!this.#assigned.has(shard)) this.#assign(shard);
  }

  #assign(shard: number): void {
    this.#assigned.set(shard, { sinceMs: monotonicMs() });
    this.#o.onAssigned(shard);
  }

  #revoke(shard: number): void {
    this.#assigned.delete(shard);
    this.#o.onRevoked(shard);
  }
}
