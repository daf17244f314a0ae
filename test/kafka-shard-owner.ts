/**
 * A process that runs shards as the group says, without anything to count: it waits for its turn, claims, and lets go when it is told to. As a
 * program of its own (arguments: JSON) it tells each of its steps in a line.
 */
import { joinGroup } from '../src/kafka/shards/shard-group.ts';
import type { GroupOptions, ShardGroup } from '../src/kafka/shards/shard-group.ts';

export interface OwnerOptions extends Pick<GroupOptions, 'log' | 'group' | 'shards' | 'instance' | 'sessionMs' | 'takeoverDelayMs'> {
  /** Local state from before: shard and version. */
  readonly states?: readonly (readonly [number, number])[];
}
/** `owned 3 released 5`: what, which shard, after which turn, at which epoch. */
export type Step = string;

const STATE_OF_EPOCH = 2 ** 40;

export class Owner {
  readonly steps: Step[] = [];
  readonly troubles: string[] = [];
  /** Shard -> epoch. */
  readonly owned = new Map<number, number>();
  readonly states: Map<number, number>;
  group!: ShardGroup;
  readonly #asked = new Map<number, AbortController>();
  readonly #tell: (step: Step) => void;
  /** One thing at a time for each shard. */
  readonly #queues = new Map<number, Promise<void>>();

  private constructor(o: OwnerOptions, tell: (step: Step) => void) {
    this.states = new Map(o.states);
    this.#tell = tell;
  }

  static async start(o: OwnerOptions, tell: (step: Step) => void = () => {}): Promise<Owner> {
    const owner = new Owner(o, tell);
    owner.group = await joinGroup({
      ...o,
      security: {},
      states: () => owner.states,
      onAssigned: (shard) => owner.#assigned(shard),
      onRevoked: (shard) => owner.#revoked(shard),
      onTrouble: (sentence) => void owner.troubles.push(sentence),
    });
    return owner;
  }

  /** In order: lets go of everything first. */
  async stop(): Promise<void> {
    for (const shard of this.#asked.keys()) this.#revoked(shard);
    await Promise.all(this.#queues.values());
    await this.group.leave();
  }

  #assigned(shard: number): void {
    const asked = new AbortController();
    this.#asked.set(shard, asked);
    this.#step(`assigned ${shard}`);
    this.#next(shard, async () => {
      const turn = await this.group.waitForTurn(shard, asked.signal),
        epoch = turn === 'revoked' ? undefined : await this.group.claim(shard, 0);
      if (epoch === undefined) return this.#step(`gave up ${shard}`);
      this.owned.set(shard, epoch);
      this.states.set(shard, epoch * STATE_OF_EPOCH);
      this.#step(`owned ${shard} ${turn} ${epoch}`);
    });
  }

  #revoked(shard: number): void {
    this.#asked.get(shard)?.abort();
    this.#asked.delete(shard);
    this.#step(`revoked ${shard}`);
    this.#next(shard, async () => {
      const epoch = this.owned.get(shard);
      if (epoch === undefined) return;
      this.owned.delete(shard);
      const isSaid = await this.group.release(shard, epoch, epoch * STATE_OF_EPOCH + 7);
      this.#step(`${isSaid ? 'released' : 'lost'} ${shard} ${epoch}`);
    });
  }

  #next(shard: number, work: () => Promise<void>): void {
    this.#queues.set(shard, (this.#queues.get(shard) ?? Promise.resolve()).then(work));
  }

  #step(step: Step): void {
    this.steps.push(step);
    this.#tell(step);
  }
}

if (import.meta.main) {
  const owner = await Owner.start(JSON.parse(process.argv[2]!) as OwnerOptions, (step) => void process.stdout.write(`${step}\n`));
  process.stdin.on('end', () => void owner.stop());
  process.stdin.resume();
}
