/**
 * Fetches from one broker, for the partitions that it leads: one fetch on the way at a time, over a connection of its own. Which partitions
 * are asked for follows from what each has buffered and what memory is left. Every answer goes to the partition it was asked for,
 * if that still waits for it; a lost answer is asked for again, so a cut connection neither skips nor repeats.
 */
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { BrokerLink } from './broker-link.ts';
import type { Cluster } from './cluster.ts';
import { BrokerTrouble } from './faults.ts';
import { Chunk } from './fetch-memory.ts';
import type { FetchMemory } from './fetch-memory.ts';
import type { PartitionQueue } from './partition-queue.ts';
import { backoffMs, Pause } from '../pause.ts';
import { FETCH } from './protocol/fetch.ts';
import type { FetchAnswer, FetchedPartition, FetchTopic } from './protocol/fetch.ts';

/** A partition that is fetched, and what its fetching is at. */
export interface Fetching {
  readonly queue: PartitionQueue;
  /** -1: nobody leads it now. */
  node: number;
  leaderEpoch: number;
  /** Grows with each request: only the answer to the newest is taken. */
  ticket: number;
  /** Not asked for before this moment. */
  notBeforeMs: number;
  tries: number;
  /** When it last got records: who waited longest is asked for first, for only the first gets a batch larger than its share. */
  served: number;
  isLookedInto: boolean;
}

export interface LoopHost {
  readonly cluster: Cluster;
  readonly memory: FetchMemory;
  /** How long a broker may hold a fetch for which it has nothing. */
  readonly maxWaitMs: number;
  readonly requestTimeoutMs: number;
  ledBy(node: number): Iterable<Fetching>;
  /** Memory is full: what little is left of large answers is put into buffers of its own size. */
  compact(): void;
  /** One partition's part of an answer. */
  taken(fetching: Fetching, part: FetchedPartition, chunk: Chunk): void;
  /** An answer was taken whole. */
  settled(node: number): void;
  /** The broker cannot be reached, or was lost; `tries` in a row. */
  lost(node: number, error: Error, tries: number): Promise<void>;
}

/** While some partitions have enough, a fetch for the others may not be held long: those will want more soon. */
const SHORT_WAIT_MS = 5,
  SHORT_WAIT_MAX_MS = 80;
/** How soon we look again for a partition whose time has not come. */
const LOOK_AGAIN_MS = 100;

const HALVINGS_MAX = 8;

interface Asked {
  readonly fetching: Fetching;
  readonly ticket: number;
}
interface Choice {
  readonly chosen: Fetching[];
  readonly isShort: boolean;
  readonly answerBytes: number;
  readonly partitionBytes: number;
}

export class LeaderLoop {
  readonly node: number;
  readonly #host: LoopHost;
  readonly #pause = new Pause();
  #link: BrokerLink | undefined;
  #isClosed = false;
  #shortWaitMs = SHORT_WAIT_MS;
  /** Answers that are lost on the way are asked for in halves: over a bad line, a part gets through where the whole does not. */
  #halvings = 0;
  #clock = 0;
  readonly ended: Promise<void>;

  constructor(node: number, host: LoopHost) {
    this.node = node;
    this.#host = host;
    this.ended = this.#run();
  }

  /** Something may be asked for that was not before. */
  wake(): void {
    this.#pause.wake();
  }

  close(): void {
    this.#isClosed = true;
    this.#link?.close();
    this.#pause.wake();
  }

  async #run(): Promise<void> {
    let tries = 0;
    while (!this.#isClosed) {
      const choice = this.#choose();
      if (choice.chosen.length === 0) {
        await this.#pause.sleep(LOOK_AGAIN_MS);
        continue;
      }
      try {
        await this.#fetch(choice);
        tries = 0;
        this.#halvings = Math.max(0, this.#halvings - 1);
      } catch (error) {
        this.#link?.close();
        this.#link = undefined;
        if (this.#isClosed) return;
        if (!(error instanceof BrokerTrouble || error instanceof TallyError)) throw error;
        tries++;
        this.#halvings = Math.min(HALVINGS_MAX, this.#halvings + 1);
        await this.#host.lost(this.node, error, tries);
        await this.#rest(backoffMs(this.#host.cluster.options.backoff, tries));
      }
    }
  }

  #choose(): Choice {
    const { memory } = this.#host,
      { bounds } = memory;
    if (!memory.hasRoom()) this.#host.compact();
    const isRoomy = memory.hasRoom(),
      nowMs = monotonicMs(),
      chosen: Fetching[] = [];
    let isShort = false;
    for (const fetching of this.#host.ledBy(this.node)) {
      const { queue } = fetching;
      if (queue.fault !== undefined || fetching.isLookedInto) continue;
      if (fetching.notBeforeMs > nowMs || queue.bufferedBytes >= bounds.partitionBytes || (!isRoomy && queue.bufferedBytes > 0))
        isShort = true;
      else chosen.push(fetching);
    }
    chosen.sort((a, b) => a.served - b.served);
    const part = 2 ** -this.#halvings;
    return isRoomy
      ? { chosen, isShort, answerBytes: Math.ceil(bounds.answerBytes * part), partitionBytes: Math.ceil(bounds.partitionBytes * part) }
      : { chosen, isShort, answerBytes: bounds.starvedBytes, partitionBytes: bounds.starvedBytes };
  }

  async #fetch({ chosen, isShort, answerBytes, partitionBytes }: Choice): Promise<void> {
    const { memory, cluster, maxWaitMs, requestTimeoutMs } = this.#host;
    const asked = new Map<string, Asked>();
    const topics = new Map<string, FetchTopic & { partitions: FetchTopic['partitions'][number][] }>();
    // Reserved before the first await: another broker's loop must not count on the same room.
    memory.reservedBytes += answerBytes;
    let answer: FetchAnswer;
    try {
      if (this.#link === undefined || this.#link.ended !== undefined) this.#link = await cluster.dial(this.node, memory);
      if (this.#isClosed) throw new BrokerTrouble('closed while connecting');
      for (const fetching of chosen) {
        const { topic, topicId, partition, fetchOffset, fetchEpoch } = fetching.queue;
        if (fetching.queue.isClosed || fetching.node !== this.node) continue;
        let ofTopic = topics.get(topicId);
        if (ofTopic === undefined) topics.set(topicId, (ofTopic = { topic, topicId, partitions: [] }));
        ofTopic.partitions.push({
          partition,
          currentLeaderEpoch: fetching.leaderEpoch,
          offset: fetchOffset,
          lastFetchedEpoch: fetchEpoch,
          maxBytes: partitionBytes,
        });
        asked
          .set(`${topic}/${partition}`, { fetching, ticket: ++fetching.ticket })
          .set(`${topicId}/${partition}`, { fetching, ticket: fetching.ticket });
      }
      if (asked.size === 0) return;
      const waitMs = isShort ? this.#shortWaitMs : maxWaitMs;
      const request = { maxWaitMs: waitMs, minBytes: 1, maxBytes: answerBytes, topics: [...topics.values()] };
      answer = await this.#link.send(FETCH, request, waitMs + requestTimeoutMs);
    } finally {
      memory.reservedBytes -= answerBytes;
    }
    this.#take(answer, asked);
    if (answer.throttleMs > 0) await this.#rest(answer.throttleMs);
  }

  #take(answer: FetchAnswer, asked: ReadonlyMap<string, Asked>): void {
    const chunk = new Chunk(answer.bytes);
    // Held by us until every part is taken.
    chunk.readers++;
    let bytes = 0;
    try {
      if (answer.error !== 0) throw new BrokerTrouble(`${this.#link!.address} refused a fetch (error ${answer.error})`);
      for (const part of answer.partitions) {
        const ask = asked.get(`${part.topic === '' ? part.topicId : part.topic}/${part.partition}`);
        if (ask === undefined || ask.fetching.ticket !== ask.ticket || ask.fetching.queue.isClosed) continue;
        if (part.to > part.from) ask.fetching.served = ++this.#clock;
        bytes += part.to - part.from;
        this.#host.taken(ask.fetching, part, chunk);
      }
    } finally {
      this.#host.memory.release(chunk);
    }
    this.#shortWaitMs = bytes > 0 ? SHORT_WAIT_MS : Math.min(SHORT_WAIT_MAX_MS, this.#shortWaitMs * 2);
    this.#host.settled(this.node);
  }

  /** A pause that only closing cuts short. */
  async #rest(ms: number): Promise<void> {
    const untilMs = monotonicMs() + ms;
    for (let leftMs = ms; leftMs > 0 && !this.#isClosed; leftMs = untilMs - monotonicMs()) await this.#pause.sleep(leftMs);
  }
}
