/**
 * A Prometheus histogram of times that other threads have counted into buckets (`Durations`): set as a whole, not observed one by one. The
 * library's own can only observe; its gauge lets us say what stands on the page.
 */
import { Gauge } from 'prom-client';
import type { MetricObjectWithValues, MetricValueWithName, Registry } from 'prom-client';
import { BUCKETS_S } from './durations.ts';
import type { DurationsSoFar } from './durations.ts';

type Labels = Readonly<Record<string, string>>;

export class CountedHistogram extends Gauge {
  private readonly metric: string;
  private readonly children = new Map<string, { readonly labels: Labels; readonly soFar: DurationsSoFar }>();

  constructor(name: string, help: string, labelNames: readonly string[], registry: Registry) {
    super({ name, help, labelNames: [...labelNames], registers: [registry] });
    this.metric = name;
  }

  hold(labels: Labels, soFar: DurationsSoFar): void {
    this.children.set(JSON.stringify(labels), { labels, soFar });
  }

  override async get(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    const described = await super.get();
    return {
      ...described,
      type: 'histogram' as never,
      values: [...this.children.values()].flatMap(({ labels, soFar }) => this.values(labels, soFar)),
    };
  }

  private values(labels: Labels, { counts, sumS }: DurationsSoFar): MetricValueWithName<string>[] {
    const out: MetricValueWithName<string>[] = [];
    let below = 0;
    for (const [i, n] of counts.entries()) {
      below += n;
      out.push({ metricName: `${this.metric}_bucket`, labels: { ...labels, le: BUCKETS_S[i] ?? '+Inf' }, value: below });
    }
    out.push({ metricName: `${this.metric}_sum`, labels: { ...labels }, value: sumS });
    out.push({ metricName: `${this.metric}_count`, labels: { ...labels }, value: below });
    return out;
  }
}
