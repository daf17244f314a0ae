/**
 * How fresh a shard's tables are: the record time up to which each partition was read, and how long after its record time the oldest record
 * of a commit stood in ClickHouse. Only commits that write open windows' rows count, for only by them does SQL see their records. A look
 * at every batch, none at a record.
 */
import type { Parcel } from '../../topology/parcel.ts';
import { Durations } from '../telemetry/durations.ts';

/** While ClickHouse is down commits go on: beyond this many the last takes the next in. */
const WAITING_MAX = 64;

interface Waiting {
  version: number;
  oldestMs: number;
}

export class Freshness {
  /** By place; -1 before the first record. */
  readonly recordTimes: Float64Array;
  readonly visible: Durations = new Durations();
  private oldestMs = Infinity;
  private readonly waiting: Waiting[] = [];

  constructor(places: number) {
    this.recordTimes = new Float64Array(places).fill(-1);
  }

  took({ pieces, records: { timestamp } }: Parcel): void {
    for (const { place, from, to } of pieces) {
      if (to === from) continue;
      this.recordTimes[place] = timestamp[to - 1]!;
      if (timestamp[from]! < this.oldestMs) this.oldestMs = timestamp[from]!;
    }
  }

  /** Everything taken up to now is in this version, open windows' rows too. */
  committed(version: number): void {
    if (this.oldestMs === Infinity) return;
    const last = this.waiting.at(-1);
    if (this.waiting.length < WAITING_MAX) this.waiting.push({ version, oldestMs: this.oldestMs });
    else {
      last!.version = version;
      last!.oldestMs = Math.min(last!.oldestMs, this.oldestMs);
    }
    this.oldestMs = Infinity;
  }

  /** Rows up to this version stand in ClickHouse. */
  acknowledged(version: number, nowMs: number): void {
    while (this.waiting.length > 0 && this.waiting[0]!.version <= version) {
      const { oldestMs } = this.waiting.shift()!;
      this.visible.add(Math.max(0, nowMs - oldestMs) / 1000);
    }
  }
}
