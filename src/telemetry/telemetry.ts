/**
 * A run as it is seen from outside: log lines always, HTTP where it is configured. Watches through the run's observer and changes nothing;
 * without an address neither a port is opened nor a metric kept.
 */
import { monotonicMs, nowMs } from '../clock.ts';
import { version } from '../cli/version.ts';
import type { Listen } from '../config/values.ts';
import type { ShardStatus } from '../run/messages.ts';
import type { RunObserver } from '../run/observer.ts';
import { behind } from '../run/shard-status.ts';
import { bytesUnder } from '../run/sizes.ts';
import { Health } from './health.ts';
import { serveHttp } from './http-server.ts';
import type { HttpServer } from './http-server.ts';
import type { LogLines } from './log-lines.ts';
import type { Metrics } from './metrics.ts';

/** How often a run that goes well says so. */
const NEWS_MS = 60_000;

export interface TelemetryOptions {
  readonly listen: Listen | undefined;
  readonly stuckAfterMs: number;
  readonly lines: LogLines;
}

export async function startTelemetry(o: TelemetryOptions): Promise<Telemetry> {
  const telemetry = new Telemetry(o);
  if (o.listen !== undefined) await telemetry.serve(o.listen);
  return telemetry;
}

class Telemetry implements RunObserver {
  private readonly lines: LogLines;
  private readonly health: Health;
  private metrics: Metrics | undefined;
  private server: HttpServer | undefined;
  private stateDir: string | undefined;
  private job = '';
  private newsAt = monotonicMs();
  private readAtNews = 0;
  private readonly paused = new Set<number>();

  constructor({ stuckAfterMs, lines }: TelemetryOptions) {
    this.lines = lines;
    this.health = new Health(stuckAfterMs, monotonicMs);
  }

  async serve(listen: Listen): Promise<void> {
    const { Metrics } = await import('./metrics.ts');
    const stateBytes = (): number => (this.stateDir === undefined ? 0 : bytesUnder(this.stateDir));
    const metrics = new Metrics({ version: version(), nowMs, stateBytes });
    this.metrics = metrics;
    this.server = await serveHttp(listen, {
      contentType: metrics.contentType,
      metrics: () => metrics.page(),
      alive: () => this.health.alive(),
      ready: () => this.health.ready(),
    });
    this.lines.info(`/metrics, /healthz and /readyz are at ${this.server.address}`, { http: this.server.address });
  }

  /** A sentence for people that a run tells while it goes on. */
  warn(sentence: string): void {
    this.lines.warn(sentence, this.job === '' ? {} : { job: this.job });
  }

  begins(job: string, stateDir: string): void {
    this.job = job;
    this.stateDir = stateDir;
    this.metrics?.begin(job);
    this.lines.info(`${job} begins`, { job, event: 'begins' });
  }

  opened(shards: readonly ShardStatus[]): void {
    this.health.opened(shards);
    this.metrics?.set(shards);
    this.readAtNews = read(shards);
    this.lines.info(`the state of ${shards.length} shard(s) is open`, { job: this.job, event: 'opened', shards: shards.length });
  }

  fits(): void {
    this.health.fits();
    this.lines.info('the tables belong to the state: counting begins', { job: this.job, event: 'fits' });
    this.newsAt = monotonicMs();
  }

  status(shards: readonly ShardStatus[]): void {
    this.health.status(shards);
    this.metrics?.set(shards);
    for (const s of shards) this.tellPause(s);
    const now = monotonicMs();
    if (now - this.newsAt < NEWS_MS) return;
    this.tellNews(shards, (now - this.newsAt) / 1000);
    this.newsAt = now;
  }

  ended(shards: readonly ShardStatus[]): void {
    this.health.ended(shards);
  }

  lost(shards: readonly number[]): void {
    this.health.lost(shards);
    this.metrics?.lose(shards);
  }

  stops(): void {
    this.health.stops();
    this.lines.info('told to stop: what is at hand is committed and sent', { job: this.job, event: 'stops' });
  }

  async close(): Promise<void> {
    await this.server?.close();
  }

  private tellPause({ shard, paused, outboxRows, outboxBytes }: ShardStatus): void {
    if (paused === this.paused.has(shard)) return;
    const fields = { job: this.job, event: paused ? 'paused' : 'resumed', shard, outbox_rows: outboxRows, outbox_bytes: outboxBytes };
    if (paused) {
      this.paused.add(shard);
      this.lines.info(`shard ${shard} reads no further until ClickHouse has taken rows: ${outboxRows} wait`, fields);
    } else {
      this.paused.delete(shard);
      this.lines.info(`shard ${shard} reads on`, fields);
    }
  }

  private tellNews(shards: readonly ShardStatus[], seconds: number): void {
    const done = read(shards),
      rate = Math.round((done - this.readAtNews) / seconds),
      lag = behind(shards);
    const watermark = Math.min(...shards.map((s) => s.watermark));
    this.readAtNews = done;
    this.lines.info(`${rate} records/s, ${lag} behind`, {
      job: this.job,
      event: 'news',
      records_per_second: rate,
      behind: lag,
      watermark: watermark > 0 ? new Date(watermark).toISOString() : null,
      outbox_rows: shards.reduce((sum, s) => sum + s.outboxRows, 0),
    });
  }
}

const read = (shards: readonly ShardStatus[]): number => shards.flatMap((s) => s.partitions).reduce((sum, p) => sum + p.page[0]!, 0);
