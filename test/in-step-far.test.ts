import { describe, expect, it } from 'vitest';
import { InStep } from '../src/log/in-step.ts';
import type { PartitionReader, RawBatch } from '../src/log/port.ts';

const HOUR = 3_600_000,
  SKEW = 6 * HOUR;

/** A partition far away: what `arrive` brings can be read; `high` is the high watermark that its last answer told. */
class Remote implements PartitionReader {
  readonly topic = 't';
  readonly partition: number;
  readonly far = this;
  isKnown = true;
  position = 0;
  high = Infinity;
  private readonly held: RawBatch[] = [];
  constructor(partition: number) {
    this.partition = partition;
  }
  arrive(...times: number[]): this {
    for (const ms of times) {
      const baseOffset = this.position + this.held.length;
      this.held.push({ bytes: new Uint8Array(0), baseOffset, lastOffset: baseOffset, firstTimestamp: ms, maxTimestamp: ms });
    }
    return this;
  }
  get atEnd(): boolean {
    return this.isKnown && this.held.length === 0 && this.position >= this.high;
  }
  peek(): RawBatch | undefined {
    return this.held[0];
  }
  advance(): void {
    this.held.shift();
    this.position++;
  }
  close(): void {}
}

let now = 1000;
function read(source: InStep): string[] {
  const seen: string[] = [];
  for (let step = source.next(); step !== undefined; step = source.next()) {
    seen.push(`${step.partition}@${step.batch.firstTimestamp / HOUR}`);
    source.advance(step);
  }
  return seen;
}
function make(ends?: readonly number[]): { a: Remote; b: Remote; source: InStep } {
  const a = new Remote(0),
    b = new Remote(1);
  return { a, b, source: new InStep([a, b], ends, SKEW, () => now) };
}

describe('partitions of a log that is far away', () => {
  it('wait for a moment for one whose next batch is on its way, and then are in order', () => {
    const { a, b, source } = make();
    a.arrive(HOUR, 3 * HOUR);
    expect(read(source)).toEqual([]);
    expect(source.caughtUp()).toEqual([false, false]);
    b.arrive(2 * HOUR);
    expect(read(source)).toEqual(['0@1', '1@2']);
    now += 499;
    expect(read(source)).toEqual([]);
    b.arrive(4 * HOUR);
    expect(read(source)).toEqual(['0@3']);
  });

  it('read on without it after that, no further than the skew, and say who is waited for', () => {
    const { a, b, source } = make();
    b.arrive(HOUR);
    a.arrive(HOUR, 2 * HOUR, 7 * HOUR, 8 * HOUR);
    expect(read(source)).toEqual(['0@1', '1@1']);
    now += 501;
    expect(read(source)).toEqual(['0@2', '0@7']);
    now += 60_000;
    expect(read(source)).toEqual([]);
    expect(source.held()).toMatchObject({ topic: 't', partition: 1 });
    expect(source.caughtUp()).toEqual([false, false]);
    b.arrive(2 * HOUR);
    expect(read(source)).toEqual(['1@2']);
    now += 501;
    expect(read(source)).toEqual(['0@8']);
  });

  it('never read on without one that has given nothing yet', () => {
    const { a, source } = make();
    a.arrive(HOUR);
    expect(read(source)).toEqual([]);
    now += 3_600_000;
    expect(read(source)).toEqual([]);
  });

  it('do not wait for one that is at its end', () => {
    const { a, b, source } = make();
    b.high = 0;
    a.arrive(HOUR, 20 * HOUR);
    expect(read(source)).toEqual(['0@1', '0@20']);
    expect(source.caughtUp()).toEqual([false, true]);
    a.high = 2;
    expect(source.caughtUp()).toEqual([true, true]);
    expect(source.held()).toBeUndefined();
  });

  it('end at the given ends, once the log has answered that it is still the one that was read', () => {
    const { a, b, source } = make([1, 0]);
    b.isKnown = false;
    a.arrive(HOUR, 2 * HOUR);
    expect(read(source)).toEqual([]);
    expect(source.caughtUp()).toEqual([false, false]);
    b.isKnown = true;
    expect(read(source)).toEqual(['0@1']);
    expect(source.caughtUp()).toEqual([true, true]);
  });

  it('go on with another reader in the place of one that cannot', () => {
    const { a, b, source } = make();
    b.arrive(HOUR);
    a.arrive(HOUR);
    read(source);
    const other = new Remote(1).arrive(5 * HOUR);
    other.high = 1;
    a.high = 1;
    source.replace(1, other);
    expect(read(source)).toEqual(['1@5']);
  });
});
