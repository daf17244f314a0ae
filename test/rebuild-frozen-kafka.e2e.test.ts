/** The same loss as in rebuild-frozen.e2e.test.ts, of a shard that reads Kafka: the broker has deleted the oldest records. */
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEngine } from '../src/clickhouse/engine.ts';
import type { Engine } from '../src/clickhouse/engine.ts';
import { openLog } from '../src/log/segments.ts';
import { Place, sales, told, urlOf } from './end-to-end-fixture.ts';
import type { Done } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { copyPartition, RawProducer } from './kafka-produce.ts';

const GONE = 1500;

describe.skipIf(kafkaMissing !== undefined)('a lost shard of a job on Kafka', { timeout: 240_000 }, () => {
  let kafka: KafkaCluster, engine: Engine, place: Place;
  beforeAll(async () => {
    place = new Place();
    [kafka, engine] = await Promise.all([startKafka(), startEngine({ dir: place.path('engine') })]);
    await kafka.createTopic('sales', 2);
  }, 120_000);
  afterAll(async () => {
    await engine?.stop();
    await kafka?.stop();
    await place?.remove();
  });

  it('is counted again from what the broker still holds; what began before that is frozen', async () => {
    place.append(sales(0, 7200), 2, 2048);
    const producer = await RawProducer.open(kafka.brokers[0]!.plainPort),
      log = openLog(place.log);
    for (const partition of [0, 1]) await copyPartition(log, producer, 'sales', partition, 0);
    log.close();
    producer.close();
    const url = urlOf(engine, 'ads'),
      words = [place.job, '--contracts', place.contracts, '--log', kafka.url(), '--data', 'k', '--clickhouse', url],
      settings = ['--config', place.path('tally.json')];
    place.write('tally.json', JSON.stringify({ takeover: { settle: '1s' } }));
    const run = (...more: string[]): Promise<Done> =>
      place.tally('run', ...words, ...settings, '--from', 'latest', '--until-end', '--json', ...more);

    const first = await place.tally('run', ...words, '--until-end', '--json');
    expect(first.status, first.stderr).toBe(0);
    await kafka.admin(async (admin) => {
      await admin.fetchTopicOffsets('sales');
      await admin.deleteTopicRecords({ topic: 'sales', partitions: [{ partition: 1, offset: `${GONE / 2}` }] });
    });
    rmSync(place.path('k'), { recursive: true });
    expect((await run()).stderr).toMatch(told('E_STATE_LOST'));
    // Where the first start began says nothing here.
    const rebuilt = await run('--rebuild-frozen');
    expect(rebuilt.status, rebuilt.stderr).toBe(0);
    expect(rebuilt.stderr).toMatch(/sales\/0@0, sales\/1@750: what begins at/);
    expect(JSON.parse(rebuilt.stdout)).toMatchObject({ records: sales(0, 7200).length - GONE / 2 });
    const verified = await place.tally('verify', ...words, '--json');
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({
      records: sales(0, 7200).length - GONE / 2,
      frozen: [{ shard: 0, before: expect.stringMatching(/^2026-03-(29|30)T22:00:00Z$/) as string }],
    });
    expect((await run()).status).toBe(0);
  });
});
