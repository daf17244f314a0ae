/**
 * Jobs as files, loaded by a Node of its own: the test runner resolves imports its own way, so only a real process shows that
 * "tally" is found from a folder where nothing is installed.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { explain } from '../src/cli/explain.ts';
import { drawPlan } from '../src/cli/draw-plan.ts';
import { loadJob, SHIPPED_JOBS } from '../src/run/load-job.ts';
import { planDigest } from '../topology/digest.ts';

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'tally-jobs-')));
const HEAD = 'import { topology, contract, count, minutes, hour, tumbling } from "tally";\n';
const JOB =
  'export default topology("mine").read(c).dedupe({ by: "event_id" }).watermark({ by: "event_time", outOfOrder: minutes(1) })' +
  '.keyBy("country").aggregate({ clicks: count(c) }).window(tumbling(hour).into(table));\n';
const FILES: Record<string, string> = {
  'good.ts': `${HEAD}import type { Measure } from "tally";\nimport { table } from "./table.ts";\nconst c = contract("ads-click");\nexport const m: Measure | null = null;\n${JOB}`,
  'table.ts': 'export const table: string = "mine_hourly";\n',
  'good.mjs': `${HEAD}const c = contract("ads-click"), table = "mine_hourly";\n${JOB}`,
  'good.js': `${HEAD}const c = contract("ads-click"), table = "mine_hourly";\n${JOB}`,
  'field.ts': `${HEAD}const c = contract("ads-click"), table = "mine_hourly";\n${JOB.replace('"country"', '"contry"')}`,
  'syntax.ts': '\nconst x = ;\n',
  'syntax.mjs': '\nconst x = ;\n',
  'inner.ts': 'import "./syntax.ts";\n',
  'enum.ts': 'enum A { B }\nexport default A.B;\n',
  'nothing.ts': 'export const a = 1;\n',
  'five.ts': 'export default 5;\n',
  'throws.ts': 'throw new TypeError("no\\nluck");\n',
  'missing.ts': 'import "./gone.ts";\n',
  'package.ts': 'import "not-installed-here";\n',
  'export.ts': 'import { topologie } from "tally";\nexport default topologie;\n',
  'half.ts': `${HEAD}export default topology("half").limits({});\n`,
  'notes.txt': 'a',
  // The nearest package says the opposite of what the files are.
  'package.json': '{"type": "commonjs"}',
};
let outcomes: Record<string, { code?: string; exit?: number; message: string; digest?: string }>;

beforeAll(() => {
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(dir, name), text);
  mkdirSync(join(dir, 'folder.ts'));
  symlinkSync(join(dir, 'good.ts'), join(dir, 'link.ts'));
  const jobs = [
    ...Object.keys(FILES)
      .filter((f) => f !== 'table.ts' && f !== 'package.json')
      .map((f) => `./${f}`),
    './folder.ts',
    './link.ts',
    './absent.ts',
    'telemetry',
    'ads-insigts',
    'zzz',
    'notes.txt',
  ];
  const script = `
    const { loadJob } = await import(${JSON.stringify(resolve('src/run/load-job.ts'))});
    const outcomes = {};
    for (const job of ${JSON.stringify(jobs)}) {
      try {
        const l = await loadJob(job, undefined);
        outcomes[job] = { message: 'loaded ' + l.plan.job + ' over ' + l.contracts.map((c) => c.id), digest: l.digest };
      } catch (e) {
        outcomes[job] = { code: e.code, exit: e.exit, message: e.message, hint: e.hint };
      }
    }
    process.stdout.write(JSON.stringify(outcomes));`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: dir, encoding: 'utf8' });
  expect(child.stderr).toBe('');
  outcomes = JSON.parse(child.stdout);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a job', () => {
  test.each(['./good.ts', './good.mjs', './good.js', './link.ts'])('%s loads from a folder where nothing is installed', (job) => {
    expect(outcomes[job]).toMatchObject({ message: 'loaded mine over ads-click', digest: outcomes['./good.ts']!.digest });
  });

  test('that is shipped loads by its name', () => {
    expect(outcomes['telemetry']!.message).toBe('loaded telemetry over telemetry');
  });

  test.each([
    ['./field.ts', 'DIR/field.ts: keyBy: contract "ads-click" has no field "contry"; did you mean "country"?'],
    ['./syntax.ts', 'DIR/syntax.ts:2: Expression expected'],
    ['./syntax.mjs', "DIR/syntax.mjs: Unexpected token ';'"],
    ['./inner.ts', 'DIR/syntax.ts:2, imported by the job DIR/inner.ts: Expression expected'],
    ['./enum.ts', 'DIR/enum.ts:1: TypeScript enum is not supported in strip-only mode'],
    ['./nothing.ts', 'DIR/nothing.ts has no default export'],
    ['./five.ts', 'the default export of DIR/five.ts is not a topology'],
    ['./throws.ts', 'DIR/throws.ts threw TypeError: no luck'],
    ['./missing.ts', "DIR/missing.ts imports something that is not there: Cannot find module 'DIR/gone.ts' imported from DIR/missing.ts"],
    [
      './package.ts',
      "DIR/package.ts imports something that is not there: Cannot find package 'not-installed-here' imported from DIR/package.ts",
    ],
    ['./export.ts', "DIR/export.ts:1: The requested module 'tally' does not provide an export named 'topologie'"],
    ['./half.ts', 'DIR/half.ts: the topology says no read'],
    ['./absent.ts', 'the job DIR/absent.ts does not exist'],
    ['./folder.ts', 'DIR/folder.ts is not a .ts, .js or .mjs file'],
    ['./notes.txt', 'DIR/notes.txt is not a .ts, .js or .mjs file'],
    ['notes.txt', 'there is no job "notes.txt"'],
    ['ads-insigts', 'there is no job "ads-insigts"; did you mean "ads-insights"?'],
    ['zzz', 'there is no job "zzz"'],
  ])('%s is refused in a sentence', (job, sentence) => {
    const outcome = outcomes[job]!;
    expect({ ...outcome, message: outcome.message.replaceAll(dir, 'DIR') }).toMatchObject({ code: 'E_JOB', exit: 2, message: sentence });
  });

  test('takes its contracts from the directory that is named, and warns of theirs alone', async () => {
    const mine = join(dir, 'contracts');
    mkdirSync(mine);
    const text = (id: string) =>
      `apiVersion: v3.1.0\nkind: DataContract\nid: ${id}\nversion: 9.0.0\nstatus: active\nschema:\n- name: ${id}\n  quality: [{id: rows-${id}, metric: rowCount, mustBeGreaterThan: 0}]\n  properties:\n` +
      '  - {name: event_id, logicalType: string, required: true, primaryKey: true}\n  - {name: event_time, logicalType: timestamp, required: true}\n' +
      '  - {name: region, logicalType: string, required: true}\n  - {name: build, logicalType: integer, required: true}\n  - {name: live, logicalType: boolean, required: true}\n' +
      '  - {name: kind, logicalType: string}\n  - {name: seconds, logicalType: number, logicalTypeOptions: {multipleOf: 0.01}}\n  - {name: bytes, logicalType: integer}\n  - {name: bitrate_mbps, logicalType: number}\n';
    writeFileSync(join(mine, 'a.yaml'), text('telemetry'));
    writeFileSync(join(mine, 'b.yml'), text('other'));
    const loaded = await loadJob('telemetry', mine),
      shipped = await loadJob('telemetry', undefined);
    expect(loaded.plan.sources[0]).toMatchObject({ version: '9.0.0', topic: 'telemetry' });
    expect(loaded.plan.measures.find((m) => m.name === 'stall_seconds')!.scale).toBe(2);
    expect(loaded.warnings).toEqual([expect.stringContaining('quality check "rows-telemetry" is not executed')]);
    expect(loaded.digest).toBe(planDigest(loaded.plan));
    expect(loaded.digest).not.toBe(shipped.digest);
    await expect(loadJob('ads-insights', mine)).rejects.toMatchObject({
      code: 'E_JOB',
      message: expect.stringContaining('there is no contract "ads-delivery"'),
    });
    await expect(loadJob('telemetry', join(dir, 'gone'))).rejects.toMatchObject({ code: 'E_CONTRACT', exit: 2 });
  });
});

describe('tally explain', () => {
  async function explained(job: string, values: Record<string, boolean> = {}): Promise<string> {
    const write = process.stdout.write,
      parts: string[] = [];
    process.stdout.write = ((text: string) => parts.push(text) > 0) as typeof write;
    try {
      expect(await explain.run({ positionals: [job], values })).toBe(0);
    } finally {
      process.stdout.write = write;
    }
    return parts.join('');
  }

  test('draws the way from topics to tables', async () => {
    const loaded = await loadJob('ads-insights', undefined),
      text = await explained('ads-insights');
    expect(text).toBe(drawPlan(loaded.plan, loaded.contracts, loaded.digest));
    expect(text.split('\n').map((l) => l.trimEnd())).toEqual(text.split('\n'));
    for (const part of [
      'ads-insights  plan ',
      'read  +- ads.delivery    contract ads-delivery 1.0.0',
      'dedup  +- each event_id once in 30 days',
      'watermark  +- event_time, 5 minutes out of order',
      'key  +- advertiser_id string, ',
      'spend_micros  sum(ads-delivery.cost_micros)',
      'hour, UTC  ->  ads_hourly (final), ads_hourly_live, ads_hourly_changes',
    ])
      expect(text).toContain(part);
    expect(await explained('telemetry')).toContain('stall_seconds          sum(telemetry.seconds) where kind = "stall"  decimal, 3 places');
  });

  test('prints the plan, its digest and its contracts as JSON', async () => {
    const { plan, digest, contracts } = await loadJob('ads-insights', undefined);
    expect(JSON.parse(await explained('ads-insights', { json: true }))).toEqual(JSON.parse(JSON.stringify({ plan, digest, contracts })));
  });

  test.each(SHIPPED_JOBS)('prints the scanner of each source of %s', async (job) => {
    const { plan } = await loadJob(job, undefined),
      text = await explained(job, { scanner: true });
    for (const source of plan.sources) expect(text).toContain(source.contract);
    expect(text).toContain('function');
  });

  test('does one thing at a time', async () => {
    await expect(explain.run({ positionals: ['telemetry'], values: { json: true, scanner: true } })).rejects.toMatchObject({
      code: 'E_USAGE',
      exit: 2,
    });
  });
});
