/**
 * Harm to the run itself while records come from a real broker: processes restarted one after the other, a clock that is set, a disk that is
 * full. Each ends with a recount of all that was sent.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from './clickhouse-server-fixture.ts';
import type { Server } from './clickhouse-server-fixture.ts';
import { HOUR, statusOf, told, until } from './end-to-end-fixture.ts';
import type { Running } from './end-to-end-fixture.ts';
import { kafkaMissing, startKafka } from './kafka-fixture.ts';
import type { KafkaCluster } from './kafka-fixture.ts';
import { expectExact, LiveJob, MAIN } from './live-job.ts';

let kafka: KafkaCluster;
const opened: LiveJob[] = [];
const open = async (topic: string, partitions: number): Promise<LiveJob> => {
  const live = await LiveJob.open(kafka, topic, partitions);
  opened.push(live);
  return live;
};
beforeAll(async () => {
  if (kafkaMissing === undefined) kafka = await startKafka();
}, 120_000);
afterAll(async () => {
  for (const live of opened) await live.place.remove();
  await kafka?.stop();
});

describe.skipIf(kafkaMissing !== undefined)('two processes with half of the shards each', { timeout: 180_000 }, () => {
  let server: Server;
  beforeAll(async () => {
    process.env['TALLY_CLICKHOUSE_PASSWORD'] = 'w';
    server = await startServer();
  }, 60_000);
  afterAll(async () => {
    delete process.env['TALLY_CLICKHOUSE_PASSWORD'];
    await server?.close();
  });

  it('restarted one after the other under load lose and repeat nothing', async () => {
    const live = await open('rolling', 4),
      url = `http://writer@${new URL(server.url).host}/rolling`;
    const words = (data: string, shards: string): string[] => live.words('--data', data, '--clickhouse', url, '--shards', shards);
    const halves = [words('a', '0-1/4'), words('b', '2-3/4')] as const,
      runs: [Running, Running] = [live.run(halves[0]), live.run(halves[1])];
    let sent = 0;
    for (const n of [0, 1] as const) {
      const bases = [live.read('a'), live.read('b')] as const,
        reads = (m: number, more: number): Promise<void> => live.hasRead(m === 0 ? 'a' : 'b', bases[m]! + more, runs[m]!),
        load = live.load(1500, 6, 0.02, '--seed', String(sent));
      // About 4,500 of them are for each half.
      await reads(n, 500);
      runs[n].child.kill('SIGTERM');
      const stopped = await runs[n].done;
      expect(stopped.status, stopped.stderr).toBe(0);
      // The other one goes on while this one is away.
      await reads(1 - n, 3000);
      runs[n] = live.run(halves[n]);
      await reads(n, 3000);
      sent += await load;
    }
    await until(
      () => live.read('a') + live.read('b') === sent,
      () => `${live.read('a')} and ${live.read('b')} of ${sent} read: ${runs.map((r) => r.stderr()).join('')}`,
    );
    for (const run of runs) {
      run.child.kill('SIGTERM');
      expect((await run.done).status, run.stderr()).toBe(0);
    }
    for (const half of halves) expect(await live.place.tally(...half, '--until-end')).toMatchObject({ status: 0 });
    await live.exact(sent, '--clickhouse', url);
  });
});

/** Loaded before a run and into each of its threads: adds to Date.now what stands in a file. */
const SHIFT = `import { readFileSync } from 'node:fs';
const now = Date.now;
let offset = 0, looked = -1e9;
Date.now = () => {
  if (performance.now() - looked > 20) {
    offset = Number(readFileSync(process.env.TEST_SHIFT, 'utf8'));
    looked = performance.now();
  }
  return now() + offset;
};
`;

describe.skipIf(kafkaMissing !== undefined)('a run whose clock is set', { timeout: 180_000 }, () => {
  // The promise: what a window shows at the end is made of the events alone. The clock of the machine decides when an idle source's windows
  // become final, so a clock that runs ahead makes them final early (what still comes corrects them, on the record), and one that was set
  // back makes them final no earlier than the events themselves do. Finality never goes back, and no event is lost or counted twice.
  it('by hours ahead and back, while records come and while none do, ends exact', async () => {
    const live = await open('clock', 3),
      { place } = live,
      offset = place.path('offset'),
      shift = place.path('shift.mjs');
    const set = (hours: number): void => writeFileSync(offset, String(hours * HOUR));
    writeFileSync(shift, SHIFT);
    set(0);
    const run = live.run(live.words('--data', 'd'), { TEST_SHIFT: offset, NODE_OPTIONS: `--import=${shift}` });
    const ask = (sql: string): Promise<string> => place.query('d', sql);
    /** What the shard's own thread says the time is, less ours. */
    const ahead = async (): Promise<number> =>
      (Number(await ask('SELECT max(toUnixTimestamp64Milli(committed_at)) FROM tally_progress')) - Date.now()) / HOUR;
    const finalTo = async (): Promise<number> => Number(await ask('SELECT toUnixTimestamp64Milli(min(final_to)) FROM tally_progress'));
    let sent = 0,
      final = -Infinity;
    for (const hours of [0, 3, -5, 30, -30, 0]) {
      set(hours);
      // Events are of the true time, whatever the run takes it for.
      sent += await live.load(500, 4, 0.02, '--seed', String(100 + hours), '--start', new Date().toISOString());
      await live.hasRead('d', sent, run);
      await until(
        async () => Math.abs((await ahead()) - hours) < 0.5,
        () => `the shard's clock is not ${hours} h ahead`,
      );
      const now = await finalTo();
      expect(now).toBeGreaterThanOrEqual(final);
      final = now;
      if (hours !== 3 && hours !== 30) continue;
      // Idle, the run goes by its clock: this hour becomes final although it is not over.
      await until(
        async () => (await finalTo()) > Date.now(),
        () => 'an idle run does not go by its clock',
      );
    }
    run.child.kill('SIGTERM');
    expect((await run.done).status, run.stderr()).toBe(0);
    const late = await place.tally(...live.words('--data', 'd', '--until-end', '--finish', '--json'));
    expect(late.status, late.stderr).toBe(0);
    await live.exact(sent, '--data', 'd');
    // What came after its window was final early stands there as corrections.
    expect(Number(await ask("SELECT sum(records) FROM tally_books WHERE class = 'counted' AND code = 'LATE'"))).toBeGreaterThan(0);
    expect(Number(await ask('SELECT count() FROM sales_hourly_changes WHERE sign < 0'))).toBeGreaterThan(0);
  });
});

const sumOf = (status: ReturnType<typeof statusOf>): number =>
  (status?.shards ?? []).flatMap((shard) => shard.partitions).reduce((sum, p) => sum + p.offset, 0);
const DISK_MIB = 400;
/** A small disk of one's own takes a mount namespace, and that takes rights. */
const mayMount =
  process.platform === 'linux' && spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=1m tmpfs /mnt']).status === 0;

describe.skipIf(kafkaMissing !== undefined || !mayMount)('a run on a small disk (needs the right to mount)', { timeout: 180_000 }, () => {
  it('stops with one sentence each time that the disk is full, and goes on exactly where there is room again', async () => {
    const live = await open('full', 3),
      { place } = live,
      small = place.path('small');
    mkdirSync(small);
    const holder = spawn(
      'unshare',
      ['-m', 'sh', '-c', `mount -t tmpfs -o size=${DISK_MIB}m tmpfs "${small}" && echo mounted && exec sleep 600`],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    try {
      await new Promise((resolve) => holder.stdout.once('data', resolve));
      // The folder is entered in there: from outside one would stand beside the mount, on the disk below it.
      const inside = ['nsenter', '-t', String(holder.pid), '-m', 'sh', '-c', `cd "${place.dir}" && mountpoint -q small && exec "$@"`, 'sh'];
      const disk = (...command: string[]): void => void spawnSync(inside[0]!, [...inside.slice(1), ...command], { stdio: 'ignore' });
      const fill = (name: string): void => disk('dd', 'if=/dev/zero', `of=small/${name}`, 'bs=4k', `count=${DISK_MIB * 256}`);
      const words = live.words('--data', 'small/d'),
        start = (more: readonly string[]): Running => place.start(more, [...inside, process.execPath, MAIN]);
      // The mount is seen through the process that holds it.
      const readInside = (): number => sumOf(statusOf(`/proc/${holder.pid}/root${place.path('small', 'd')}`));
      let sent = 0;
      for (let round = 1; round <= 2; round++) {
        const run = start(words),
          load = live.load(1500, 8, 0.02, '--seed', String(round));
        await until(
          () => readInside() > sent + 1000 || run.child.exitCode !== null,
          () => `the run stands still: ${run.stderr()}`,
        );
        expect(run.child.exitCode, run.stderr()).toBe(null);
        // All that is left, to the last page.
        fill('filler');
        const stopped = await run.done;
        expect([stopped.status, stopped.stderr]).toEqual([3, expect.stringMatching(told('E_DISK_FULL'))]);
        // As it is found by whoever starts it again without looking: what the first one freed as it ended is gone too.
        fill('filler2');
        sent += await load;
        const again = await start(words).done;
        expect([again.status, again.stderr]).toEqual([3, expect.stringMatching(told('E_DISK_FULL'))]);
        disk('rm', 'small/filler', 'small/filler2');
      }
      const last = await start([...words, '--until-end', '--finish']).done;
      expect(last.status, last.stderr).toBe(0);
      expectExact(await start(live.verifyWords('--data', 'small/d')).done, sent);
      expect((await start(['audit', 'verify', '--data', 'small/d']).done).status).toBe(0);
    } finally {
      holder.kill('SIGKILL');
    }
  });
});
