/**
 * The cluster as we know it: its brokers, and of the topics that are read their ids, partitions and leaders. Any broker can be asked
 * for that; what is known is learned anew when a request shows that it is old. Opening fails with one sentence in bounded time;
 * afterwards trouble with a broker is the asker's to try again.
 */
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import { showAddress } from './address.ts';
import type { Address } from './address.ts';
import { BrokerLink } from './broker-link.ts';
import type { LinkOptions } from './broker-link.ts';
import type { AnswerBuffers } from './connection.ts';
import { INVALID_TOPIC, LEADER_NOT_AVAILABLE, meaningOf, NO_ERROR, UNKNOWN_TOPIC } from './error-codes.ts';
import { BrokerTrouble, refused, topicMissing, unreachable } from './faults.ts';
import { backoffMs } from '../pause.ts';
import type { Backoff } from '../pause.ts';
import type { Api } from './protocol/api.ts';
import { METADATA } from './protocol/metadata.ts';
import type { MetadataAnswer, TopicMetadata } from './protocol/metadata.ts';
import { TlsTrouble } from './socket-trouble.ts';

export interface ClusterOptions extends LinkOptions {
  readonly bootstrap: readonly Address[];
  readonly backoff: Backoff;
  /** How long `patiently` goes on. */
  readonly patienceMs: number;
}
export interface Leader {
  readonly node: number;
  readonly epoch: number;
}

export class Cluster {
  clusterId: string | null = null;
  readonly options: ClusterOptions;
  readonly #topics = new Map<string, TopicMetadata>();
  readonly #brokers = new Map<number, Address>();
  readonly #links = new Map<string, Promise<BrokerLink>>();
  #refreshing: Promise<void> | undefined;
  #answered: string | undefined;
  #isClosed = false;

  constructor(options: ClusterOptions) {
    this.options = options;
  }

  /** Where it was tried, for sentences. */
  get name(): string {
    return this.options.bootstrap.map(showAddress).join(', ');
  }

  /** Learns these topics; each must be there, with a leader for every partition. */
  async learn(topics: readonly string[]): Promise<void> {
    for (const topic of topics)
      if (!/^[A-Za-z0-9._-]{1,249}$/.test(topic)) throw refused(INVALID_TOPIC, `topic '${topic}' at ${this.name}`);
    await this.patiently(async () => {
      const answer = await this.#ask(topics);
      for (const topic of answer.topics) {
        if (topic.error === UNKNOWN_TOPIC) throw topicMissing(topic.topic, this.name);
        if (topic.error !== NO_ERROR && meaningOf(topic.error).remedy === 'stop')
          throw refused(topic.error, `Reading topic '${topic.topic}' at ${this.name}`);
        const isLed =
          topic.error === NO_ERROR && topic.partitions.length > 0 && topic.partitions.every((p) => p.error !== LEADER_NOT_AVAILABLE);
        if (!isLed) throw new BrokerTrouble(`topic '${topic.topic}' has partitions without a leader`);
      }
    });
  }

  /** What is known of all topics, learned anew; those who ask meanwhile share one question. Trouble is thrown. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#ask([...this.#topics.keys()])
      .then(() => {})
      .finally(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  /** Undefined: the topic is not there (any more). */
  topic(name: string): TopicMetadata | undefined {
    return this.#topics.get(name);
  }

  leader(topic: string, partition: number): Leader | undefined {
    const found = this.#topics.get(topic)?.partitions.find((p) => p.partition === partition);
    return found === undefined || found.leader < 0 || !this.#brokers.has(found.leader)
      ? undefined
      : { node: found.leader, epoch: found.leaderEpoch };
  }

  /** A connection of the caller's own to a broker. */
  async dial(node: number, buffers?: AnswerBuffers): Promise<BrokerLink> {
    const at = this.#brokers.get(node);
    if (at === undefined) throw new BrokerTrouble(`broker ${node} is not in the cluster now`);
    return this.#open(at, buffers);
  }

  /** Asks a broker over the connection that all such questions share. */
  async ask<Q, A>(node: number, api: Api<Q, A>, request: Q): Promise<A> {
    const at = this.#brokers.get(node);
    if (at === undefined) throw new BrokerTrouble(`broker ${node} is not in the cluster now`);
    return (await this.#link(at)).send(api, request);
  }

  /** Asks whichever broker answers. */
  async askAny<Q, A>(api: Api<Q, A>, request: Q): Promise<A> {
    let trouble: BrokerTrouble | undefined;
    const untilMs = monotonicMs() + this.options.patienceMs;
    const places = new Map([...this.#brokers.values(), ...this.options.bootstrap].map((at) => [showAddress(at), at]));
    // Who answered last is asked first: a broker that hangs must not be waited for each time.
    const last = this.#answered === undefined ? undefined : places.get(this.#answered);
    for (const at of last === undefined ? places.values() : new Set([last, ...places.values()])) {
      if (trouble !== undefined && monotonicMs() > untilMs) break;
      this.#answered = undefined;
      try {
        const answer = await (await this.#link(at)).send(api, request, this.options.connectTimeoutMs);
        this.#answered = showAddress(at);
        return answer;
      } catch (error) {
        if (!(error instanceof BrokerTrouble)) throw error;
        // Of several, the one that will not heal says most.
        if (!(trouble instanceof TlsTrouble)) trouble = error;
      }
    }
    throw trouble ?? new BrokerTrouble('no broker is known');
  }

  /** Tries again what may heal, for a bounded time; then says who could not be reached. */
  async patiently<T>(work: () => Promise<T>): Promise<T> {
    const untilMs = monotonicMs() + this.options.patienceMs;
    for (let tries = 1; ; tries++) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof BrokerTrouble)) throw error;
        const waitMs = backoffMs(this.options.backoff, tries);
        if (error instanceof TlsTrouble || this.#isClosed || monotonicMs() + waitMs >= untilMs) throw unreachable(this.name, error);
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        // An old picture of the cluster may be the cause; if it cannot be learned now, the next try says so.
        if (this.#topics.size > 0) await this.refresh().catch(() => {});
      }
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.then((l) => l.close()).catch(() => {});
    this.#links.clear();
  }

  async #ask(topics: readonly string[]): Promise<MetadataAnswer> {
    const answer = await this.askAny(METADATA, { topics });
    this.clusterId = answer.clusterId;
    this.#brokers.clear();
    for (const { node, host, port } of answer.brokers) this.#brokers.set(node, { host, port });
    for (const topic of answer.topics) {
      if (topic.error === NO_ERROR) this.#topics.set(topic.topic, keepEpochs(topic, this.#topics.get(topic.topic)));
      else if (topic.error === UNKNOWN_TOPIC) this.#topics.set(topic.topic, { ...topic, partitions: [] });
    }
    return answer;
  }

  async #open(at: Address, buffers?: AnswerBuffers): Promise<BrokerLink> {
    try {
      return await BrokerLink.open(at.host, at.port, this.options, buffers);
    } catch (error) {
      const isNamed = this.options.bootstrap.some((b) => showAddress(b) === showAddress(at));
      if (isNamed || !(error instanceof BrokerTrouble) || error instanceof TlsTrouble || error.hint !== '') throw error;
      throw new BrokerTrouble(
        error.message,
        'The brokers tell their clients to connect there (advertised.listeners): it must be reachable from here.',
        error,
      );
    }
  }

  async #link(at: Address): Promise<BrokerLink> {
    if (this.#isClosed) throw new TallyError('E_KAFKA_CLOSED', 'The connection to Kafka was closed.', '');
    const key = showAddress(at),
      known = this.#links.get(key);
    if (known !== undefined) {
      const link = await known.catch(() => undefined);
      if (link !== undefined && link.ended === undefined) return link;
      if (this.#links.get(key) === known) this.#links.delete(key);
    }
    let opening = this.#links.get(key);
    if (opening === undefined) {
      opening = this.#open(at);
      this.#links.set(key, opening);
    }
    try {
      return await opening;
    } catch (error) {
      if (this.#links.get(key) === opening) this.#links.delete(key);
      throw error;
    }
  }
}

/** A broker that lags behind may tell of a leader before the one that is known: an older epoch of the same topic is not believed. */
function keepEpochs(topic: TopicMetadata, known: TopicMetadata | undefined): TopicMetadata {
  if (known === undefined || known.topicId !== topic.topicId) return topic;
  const partitions = topic.partitions.map((p) => {
    const before = known.partitions.find((k) => k.partition === p.partition);
    return before !== undefined && before.leaderEpoch > p.leaderEpoch ? before : p;
  });
  return { ...topic, partitions };
}
