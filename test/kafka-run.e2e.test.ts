/**
 * The job on a real broker: what stands in a log on disk is copied batch for batch into Kafka, so that offsets are the same and the oracle can
 * recount from the disk what was counted from Kafka.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Place, sales, statusOf, told, until } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { Copy } from './kafka-produce.ts';
import { CuttingProxy } from './kafka-proxy.ts';

const PARTITIONS = 3;

/** The embedded engine of a data directory, by SIGKILL; its run starts it again. */
function killEngine(data: string): void {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      if (words.includes('engine-child') && words.includes(data)) process.kill(Number(name), 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
}

describe.skipIf(kafkaMissing !== undefined)('a job on Kafka', { timeout: 180_000 }, () => {
  let kafka: KafkaCluster, proxy: CuttingProxy;
  const places: Place[] = [];
  beforeAll(async () => {
    proxy = await CuttingProxy.open();
    kafka = await startKafka({ advertised: [proxy.port] });
    proxy.target = kafka.brokers[0]!.ports[0]!;
  }, 120_000);
  afterAll(async () => {
    for (const place of places) await place.remove();
    await kafka?.stop();
    await proxy?.close();
  });

  /** A place with sales on disk, and the same in a topic that is new. */
  async function begin(lines: ReturnType<typeof sales>): Promise<{ place: Place; copy: Copy }> {
    const place = new Place(),
      copy = new Copy(place.log, kafka.brokers[0]!.plainPort, PARTITIONS);
    places.push(place);
    await kafka.admin((admin) => admin.deleteTopics({ topics: ['sales'] })).catch(() => {});
    await until(
      async () => !(await kafka.admin((admin) => admin.listTopics())).includes('sales'),
      () => 'the topic is still there',
    );
    await kafka.createTopic('sales', PARTITIONS);
    place.append(lines, PARTITIONS);
    await copy.go();
    return { place, copy };
  }
  const fromKafka = (place: Place, ...more: string[]): string[] => [
    'run',
    place.job,
    '--contracts',
    place.contracts,
    '--log',
    kafka.url(),
    '--data',
    'k',
    ...more,
  ];

  it('gives the tables that the same log on disk gives, goes on where it was, and starts where it is told', async () => {
    const { place, copy } = await begin(sales(0, 3000));
    const first = await place.tally(...fromKafka(place, '--until-end', '--json'));
    expect(first.status, first.stderr).toBe(0);
    const summary = JSON.parse(first.stdout) as { records: number };
    const onDisk = await place.count('d');
    expect(summary).toMatchObject({ records: onDisk.records, classes: onDisk.classes, codes: onDisk.codes });
    expect(await place.rows('k')).toBe(await place.rows('d'));
    await place.verified('k');

    place.append(sales(2800, 4000), PARTITIONS);
    await copy.go();
    const second = await place.tally(...fromKafka(place, '--until-end', '--finish', '--json'));
    expect(second.status, second.stderr).toBe(0);
    expect((JSON.parse(second.stdout) as { records: number }).records).toBe(sales(2800, 4000).length);
    await place.verified('k');

    const recount = await place.tally('verify', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--data', 'k', '--json');
    expect(recount.status, recount.stdout + recount.stderr).toBe(0);
    expect(JSON.parse(recount.stdout)).toMatchObject({ ok: true, records: sales(0, 3000).length + sales(2800, 4000).length });

    const latest = await place.tally(...fromKafka(place, '--until-end', '--json').map((w) => (w === 'k' ? 'late' : w)), '--from', 'latest');
    expect(latest.status, latest.stderr).toBe(0);
    expect((JSON.parse(latest.stdout) as { records: number }).records).toBe(0);
    place.append(sales(4000, 4500), PARTITIONS);
    await copy.go();
    const later = await place.tally(...fromKafka(place, '--until-end', '--finish', '--json').map((w) => (w === 'k' ? 'late' : w)));
    expect((JSON.parse(later.stdout) as { records: number }).records).toBe(sales(4000, 4500).length);
    // What was never read is not asked of the tables.
    for (const log of [kafka.url(), place.log]) {
      const late = await place.tally('verify', place.job, '--contracts', place.contracts, '--log', log, '--data', 'late', '--json');
      expect(late.status, late.stdout + late.stderr).toBe(0);
      expect(JSON.parse(late.stdout)).toMatchObject({ records: sales(4000, 4500).length });
    }
  });

  it('comes through killed brokers and killed runs while records come', async () => {
    const { place, copy } = await begin(sales(0, 500));
    for (let round = 0; round < 4; round++) {
      const run = place.start(fromKafka(place, '--commit-events', '300'));
      place.append(sales(500 + round * 500, 1000 + round * 500), PARTITIONS, 600);
      const copied = copy.go();
      await copied;
      if (round % 2 === 0) {
        await kafka.brokers[0]!.kill();
        kafka.brokers[0]!.start();
        await kafka.ready();
      }
      const want = (round + 2) * sales(0, 500).length;
      await until(
        () => (statusOf(place.path('k'))?.shards[0]?.partitions ?? []).reduce((sum, p) => sum + p.offset, 0) >= want - 400,
        () => `the run stands still: ${run.stderr()}`,
      );
      run.child.kill(round % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
      const done = await run.done;
      if (round % 2 === 0) expect(done.status, done.stderr).toBe(0);
    }
    const last = await place.tally(...fromKafka(place, '--until-end', '--finish', '--json'));
    expect(last.status, last.stderr).toBe(0);
    const { records } = await place.verified('k');
    expect(records).toBe(sales(0, 2500).length);
    expect(await place.query('k', "SELECT sumIf(records, class = 'read') - sumIf(records, class != 'read') FROM tally_books")).toBe('0');
  });

  it('loses and repeats nothing over a network that cuts in mid-answer, goes deaf and comes back, with an engine killed meanwhile', async () => {
    const { place, copy } = await begin(sales(0, 500));
    let cuts = 0;
    proxy.cutAfter = () => 2_000 + ((cuts++ * 7919) % 40_000);
    const run = place.start(fromKafka(place, '--commit-events', '400').map((w) => (w === kafka.url() ? proxy.url : w)));
    for (let round = 1; round <= 6; round++) {
      place.append(sales(round * 500, round * 500 + 500), PARTITIONS, 700);
      await copy.go();
      if (round === 3) proxy.isDeaf = true;
      if (round === 4) proxy.isDeaf = false;
      if (round === 2 || round === 5) killEngine(place.path('k'));
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
    proxy.cutAfter = () => Number.POSITIVE_INFINITY;
    const want = sales(0, 3500).length;
    await until(
      () => (statusOf(place.path('k'))?.shards[0]?.partitions ?? []).reduce((sum, p) => sum + p.offset, 0) === want,
      () => `the run stands still: ${run.stderr()}`,
    );
    run.child.kill('SIGTERM');
    expect((await run.done).status, run.stderr()).toBe(0);
    expect(proxy.cuts).toBeGreaterThan(3);
    const last = await place.tally(...fromKafka(place, '--until-end', '--finish'));
    expect(last.status, last.stderr).toBe(0);
    expect((await place.verified('k')).records).toBe(want);
    expect(await place.query('k', "SELECT sumIf(records, class = 'read') - sumIf(records, class != 'read') FROM tally_books")).toBe('0');
    const sums =
      'SELECT sum(sales), sum(revenue) FROM sales_daily UNION ALL SELECT sum(sign * sales), sum(sign * revenue) FROM sales_daily_changes';
    const [table, changes] = (await place.query('k', sums)).split('\n').sort();
    expect(changes).toBe(table);
  });

  it('reads a broker that is slower than the records come, and loses and repeats nothing', async () => {
    const { place, copy } = await begin(sales(0, 500));
    proxy.bytesPerSecond = 60_000;
    try {
      const run = place.start(fromKafka(place, '--commit-events', '400').map((w) => (w === kafka.url() ? proxy.url : w)));
      place.append(sales(500, 4000), PARTITIONS);
      await copy.go();
      const want = sales(0, 500).length + sales(500, 4000).length,
        read = (): number => (statusOf(place.path('k'))?.shards[0]?.partitions ?? []).reduce((sum, p) => sum + p.offset, 0);
      // All of it is in the log, and a part of an answer on its way.
      expect(read()).toBeLessThan(want);
      await until(
        () => read() === want,
        () => `the run stands still at ${read()} of ${want}: ${run.stderr()}`,
      );
      run.child.kill('SIGTERM');
      expect((await run.done).status, run.stderr()).toBe(0);
      const last = await place.tally(...fromKafka(place, '--until-end', '--finish'));
      expect(last.status, last.stderr).toBe(0);
      expect((await place.verified('k')).records).toBe(want);
    } finally {
      proxy.bytesPerSecond = Number.POSITIVE_INFINITY;
    }
  });

  it('stops at records that are gone, and goes on behind them, on the record, when it is told to', async () => {
    const { place, copy } = await begin(sales(0, 600));
    const first = await place.tally(...fromKafka(place, '--until-end'));
    expect(first.status, first.stderr).toBe(0);
    place.append(sales(600, 2000), PARTITIONS);
    await copy.go();
    await kafka.admin(async (admin) => {
      const middle = (await admin.fetchTopicOffsets('sales')).find((p) => p.partition === 1)!;
      await admin.deleteTopicRecords({ topic: 'sales', partitions: [{ partition: 1, offset: String(Number(middle.high) - 5) }] });
    });
    const stopped = await place.tally(...fromKafka(place, '--until-end'));
    expect(stopped.status).toBe(3);
    expect(stopped.stderr).toMatch(told('E_LOG_GAP'));
    const before = await place.query('k', 'SELECT sum(sales) FROM sales_daily_live');
    const passed = await place.tally(...fromKafka(place, '--until-end', '--finish', '--on-gap', 'record'));
    expect(passed.status, passed.stderr).toBe(0);
    expect(Number(await place.query('k', 'SELECT sum(sales) FROM sales_daily_live'))).toBeGreaterThan(Number(before));
    // On Kafka what was counted can't be recounted any more, and that is said; on disk it can, without what was never read.
    const recount = await place.tally('verify', place.job, '--contracts', place.contracts, '--log', kafka.url(), '--data', 'k');
    expect(recount.stderr).toMatch(told('E_LOG_GAP'));
    const { gaps } = (await place.verified('k')) as unknown as { gaps: object[] };
    expect(gaps).toEqual([
      expect.objectContaining({
        topic: 'sales',
        partition: 1,
        kind: 'removed',
        from: expect.any(Number),
        why: expect.stringContaining('were removed'),
      }),
    ]);
    const audit = await place.tally('audit', 'list', '--data', 'k', '--json');
    expect(audit.stdout).toContain('"log.gap"');
    expect((await place.tally('audit', 'verify', '--data', 'k')).status).toBe(0);
  });

  it('finds that a topic was made anew', async () => {
    const { place } = await begin(sales(0, 300));
    expect((await place.tally(...fromKafka(place, '--until-end'))).status).toBe(0);
    await kafka.admin((admin) => admin.deleteTopics({ topics: ['sales'] }));
    await until(
      async () => !(await kafka.admin((admin) => admin.listTopics())).includes('sales'),
      () => 'the topic is still there',
    );
    await kafka.createTopic('sales', PARTITIONS);
    await new Copy(place.log, kafka.brokers[0]!.plainPort, PARTITIONS).go();
    const refused = await place.tally(...fromKafka(place, '--until-end'));
    expect(refused.status).toBe(3);
    expect(refused.stderr).toMatch(told('E_LOG_GAP'));
    expect(refused.stderr).toContain('made again');
  });

  it('refuses, before it counts anything, a topic that takes times from the far future', async () => {
    const { place } = await begin(sales(0, 10));
    await kafka.createTopic('far', 1, { 'message.timestamp.after.max.ms': '86400000' });
    const contract = place.path('contracts', 'sale.yaml');
    writeFileSync(contract, readFileSync(contract, 'utf8').replace('physicalName: sales', 'physicalName: far'));
    const refused = await place.tally(...fromKafka(place, '--until-end'));
    expect(refused.stderr).toMatch(told('E_KAFKA_TIMES'));
    const allowed = await place.tally(...fromKafka(place, '--until-end', '--allow-future-times'));
    expect(allowed.status, allowed.stderr).toBe(0);
  });

  it('says in one sentence what is wrong with an address, a topic or a port', async () => {
    const { place } = await begin([]);
    const asked = (url: string): Promise<{ status: number | null; stderr: string }> =>
      place.tally(...fromKafka(place, '--until-end').map((w) => (w === kafka.url() ? url : w)));
    expect((await asked('kafka://')).stderr).toMatch(told('E_KAFKA_ADDRESS'));
    expect((await asked('kafka://127.0.0.1:1')).stderr).toMatch(told('E_KAFKA_UNREACHABLE'));
    await kafka.admin((admin) => admin.deleteTopics({ topics: ['sales'] }));
    await until(
      async () => !(await kafka.admin((admin) => admin.listTopics())).includes('sales'),
      () => 'the topic is still there',
    );
    expect((await asked(kafka.url())).stderr).toMatch(told('E_TOPIC_MISSING'));
  });
});
