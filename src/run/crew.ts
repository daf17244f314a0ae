/**
 * The threads of a run: each is a team that owns whole shards. A team is opened, told to go once its tables fit, and ends by itself or when
 * it is told to; what it says of its shards is kept here. The first fault of any team is the run's.
 */
import { Worker } from 'node:worker_threads';
import { TallyError } from '../errors.ts';
import { faultOf } from './faults.ts';
import type { FromWorker, ShardStatus, ToWorker, WorkerOrder } from './messages.ts';
import type { Rebuild } from './rebuild.ts';
import type { Passed } from './source.ts';

/** Who has been told to stop and doesn't is ended after this time. */
const END_MS = 10_000;

export interface CrewTells {
  warn(sentence: string): void;
  /** Somebody has said something new; the others are as they were. */
  status(shards: readonly ShardStatus[]): void;
  passed(shard: number, passed: Passed): void;
  ended(shards: readonly ShardStatus[]): void;
}

export class Crew {
  /** Rejects when an orderly stop took too long; never resolves. */
  readonly late: Promise<never>;
  private readonly lateness = Promise.withResolvers<never>();
  private endMs = END_MS;
  private isStopped = false;
  private readonly order: Omit<WorkerOrder, 'owned' | 'rebuilds'>;
  private readonly tells: CrewTells;
  private readonly teams = new Set<Team>();
  private readonly byShard = new Map<number, ShardStatus>();
  private readonly lastEnds: number[] = [];

  constructor(order: Omit<WorkerOrder, 'owned' | 'rebuilds'>, tells: CrewTells) {
    this.order = order;
    this.tells = tells;
    this.late = this.lateness.promise;
    this.late.catch(() => {});
  }

  /** A thread of its own for these shards. */
  open(owned: readonly number[], rebuilds: WorkerOrder['rebuilds'] = new Map<number, Rebuild>()): Team {
    const team: Team = new Team({ ...this.order, owned, rebuilds }, (message) => this.hear(team, message));
    this.teams.add(team);
    if (this.isStopped) team.tell({ kind: 'stop' });
    void team.exited.then(() => this.teams.delete(team));
    return team;
  }

  private hear(team: Team, message: FromWorker): void {
    switch (message.kind) {
      case 'failed':
        return team.fail(faultOf(message));
      case 'trouble':
        return this.tells.warn(message.sentence);
      case 'passed':
        return this.tells.passed(message.shard, message.passed);
      case 'read':
        return this.finish(message.lastEnd);
      case 'opened':
        this.keep(message.shards);
        return team.begun.resolve(message.shards);
      case 'status':
        this.keep(message.shards);
        return this.tells.status(this.latest);
      case 'ended':
        this.keep(message.shards);
        this.tells.ended(message.shards);
        return team.done.resolve(message.shards);
    }
  }

  private keep(shards: readonly ShardStatus[]): void {
    for (const shard of shards) this.byShard.set(shard.shard, shard);
  }

  get latest(): ShardStatus[] {
    return [...this.byShard.values()].sort((a, b) => a.shard - b.shard);
  }

  /** A shard that is another process's now. */
  forget(shard: number): void {
    this.byShard.delete(shard);
  }

  tell(message: ToWorker): void {
    for (const team of this.teams) team.tell(message);
  }

  /** A team has read everything; the last to say so lets all of them finish. */
  private finish(lastEnd: number): void {
    if (this.lastEnds.push(lastEnd) === this.teams.size) this.tell({ kind: 'finish', at: Math.max(...this.lastEnds) });
  }

  /** An orderly stop, of all at once or as others tell them; when it is not done in time, `late` says so and nobody is waited for any more. */
  stop(withinMs: number, isAtOnce: boolean): void {
    if (isAtOnce) {
      // Those that are still to be opened, too.
      this.isStopped = true;
      this.tell({ kind: 'stop' });
    }
    const timer = setTimeout(() => {
      this.endMs = 0;
      this.lateness.reject(
        new TallyError(
          'E_STOP_LATE',
          `the run did not come to its end within ${withinMs / 1000} s of being told to stop, and was cut short`,
          'nothing that was committed is lost: the next run goes on from there',
        ),
      );
    }, withinMs);
    timer.unref();
  }

  /** Tells all to stop and waits; who does not come to an end in time is ended. */
  async end(): Promise<void> {
    this.tell({ kind: 'stop' });
    const teams = [...this.teams],
      late = setTimeout(() => teams.forEach((team) => team.kill()), this.endMs);
    await Promise.all(teams.map((team) => team.exited));
    clearTimeout(late);
  }
}

export class Team {
  readonly owned: readonly number[];
  readonly begun = Promise.withResolvers<readonly ShardStatus[]>();
  readonly done = Promise.withResolvers<readonly ShardStatus[]>();
  readonly exited: Promise<void>;
  private readonly worker: Worker;

  constructor(order: WorkerOrder, hear: (message: FromWorker) => void) {
    this.owned = order.owned;
    const file = new URL(`./worker${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
    this.worker = new Worker(file, { workerData: order });
    this.exited = new Promise((resolve) => this.worker.once('exit', () => resolve()));
    this.begun.promise.catch(() => {});
    this.done.promise.catch(() => {});
    this.worker.on('error', (error: Error) => this.fail(error));
    this.worker.on('exit', () => this.fail(new Error('a worker ended without a word')));
    this.worker.on('message', hear);
  }

  /** Every state is open. */
  get opened(): Promise<readonly ShardStatus[]> {
    return this.begun.promise;
  }

  /** All shards have come to their end. */
  get ended(): Promise<readonly ShardStatus[]> {
    return this.done.promise;
  }

  tell(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  fail(error: Error): void {
    this.begun.reject(error);
    this.done.reject(error);
  }

  kill(): void {
    void this.worker.terminate();
  }
}
