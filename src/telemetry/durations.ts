/**
 * Times of something that happens again and again, counted into buckets: what a Prometheus histogram is made of. Absolute since the
 * thread began, so that it may be told to another thread at any time, any number of times.
 */

/** Upper bounds in seconds, finest where latencies lie; one more bucket takes what is longer. */
export const BUCKETS_S: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 300, 3600,
];

export interface DurationsSoFar {
  /** A bucket each, not cumulative. */
  readonly counts: readonly number[];
  readonly sumS: number;
}

export class Durations {
  private readonly counts: number[] = Array.from({ length: BUCKETS_S.length + 1 }, () => 0);
  private sumS = 0;

  add(seconds: number): void {
    let bucket = 0;
    while (bucket < BUCKETS_S.length && seconds > BUCKETS_S[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sumS += seconds;
  }

  soFar(): DurationsSoFar {
    return { counts: [...this.counts], sumS: this.sumS };
  }
}
