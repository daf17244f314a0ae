/**
 * `tally demo`: a million ads events from log to tables by the commands that anyone would type, then the whole log once more with the run
 * killed in the middle; it shows that no number moved. Whatever does not hold ends it with 1. All of it lies in a temporary folder.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { monotonicMs } from '../clock.ts';
import { sendAgain } from '../generate/send-again.ts';
import type { Args, Command } from './command.ts';
import { wholeNumber } from './numbers.ts';

const EVENTS = 1_000_000;
const MAIN = fileURLToPath(import.meta.url).replace(/demo(\.[jt]s)$/, 'main$1');
/** What must not move: every row of both tables, to the last unit. */
const COLUMNS =
  'window_start, advertiser_id, campaign_id, ad_id, country, placement, impressions, clicks, conversions, spend_micros, value_micros';
// ORDER BY binds to the last SELECT of a UNION alone.
const FINGERPRINT = `SELECT * FROM (${['ads_hourly', 'ads_daily', 'ads_hourly_live', 'ads_daily_live']
  .map(
    (view) =>
      `SELECT '${view}' AS view, count() AS rows, sum(impressions) AS shown, sum(clicks) AS clicked, sum(spend_micros) AS spent, hex(groupBitXor(cityHash64(${COLUMNS}))) AS every_row FROM ${view}`,
  )
  .join(' UNION ALL ')}) ORDER BY view`;

export const demo: Command = {
  name: 'demo',
  summary: 'a million events, sent twice, killed in the middle: no number moves',
  usage: '[--events N] [--keep]',
  positionals: { min: 0, max: 0 },
  options: {
    events: { type: 'string', placeholder: 'N', help: `how many events (${EVENTS})` },
    keep: { type: 'boolean', help: 'leave the folder with log and data behind, to look around' },
  },
  examples: ['tally demo', 'tally demo --events 100000 --keep'],
  async run(args: Args): Promise<number> {
    const events =
      args.values['events'] === undefined ? EVENTS : wholeNumber('--events', String(args.values['events']), 1_000, 100_000_000);
    const dir = mkdtempSync(path.join(tmpdir(), 'tally-demo-'));
    try {
      return await play(dir, events);
    } finally {
      if (args.values['keep'] === true) say(`log and data are kept in ${dir}`);
      else rmSync(dir, { recursive: true, force: true });
    }
  },
};

interface Place {
  readonly log: string;
  readonly data: string;
  /** The words of a run to the log's end. */
  readonly run: readonly string[];
}

const TOP_ADVERTISERS =
  'SELECT window_start, advertiser_id, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(conversions) AS conversions, ' +
  'sum(spend_micros) / 1e6 AS spend FROM ads_daily_live GROUP BY ALL ORDER BY spend DESC LIMIT 5';
const BOOKS = "SELECT class, code, sum(records) AS records FROM tally_books GROUP BY ALL ORDER BY class = 'read' DESC, class, code";
const BALANCE =
  "SELECT toUInt64(sumIf(records, class = 'read')) AS read, toUInt64(sumIf(records, class != 'read')) AS classes, " +
  "toUInt64(sumIf(records, class = 'counted')) AS counted FROM tally_books";

async function play(dir: string, events: number): Promise<number> {
  const began = monotonicMs();
  const log = path.join(dir, 'log'),
    data = path.join(dir, 'data');
  const place = { log, data, run: [...words('run ads-insights --until-end --json --commit-events 200000'), '--log', log, '--data', data] };
  const once = await countOnce(place, events);
  const checks = await countAgain(place, once);
  title('What was shown');
  for (const [what, holds] of checks) say(`${holds ? 'holds' : 'DOES NOT HOLD'}: ${what}`);
  say(`in ${((monotonicMs() - began) / 1000).toFixed(0)} s`);
  return checks.every(([, holds]) => holds) ? 0 : 1;
}

interface Once {
  readonly summary: Summary;
  readonly tables: string;
}

async function countOnce(place: Place, events: number): Promise<Once> {
  title(`1. ${number(events)} ads events of one day into a log on disk: 3 % sent twice, 1 % late, 0.5 % malformed`);
  await must([
    ...words(`generate --job ads-insights --events ${events} --seed 7 --duplicates 0.03 --late 0.01 --malformed 0.005`),
    '--log',
    place.log,
  ]);
  title('2. count them');
  const summary = JSON.parse(await must(place.run)) as Summary;
  say(
    `${number(summary.records)} records in ${summary.seconds} s, ${number(summary.events_per_second)} a second; ${JSON.stringify(summary.classes)}`,
  );
  title('3. the tables, by SQL');
  out(await ask(place, TOP_ADVERTISERS));
  const tables = await ask(place, FINGERPRINT);
  out(tables);
  title('4. the books: every record read is in exactly one class');
  out(await ask(place, BOOKS));
  return { summary, tables };
}

async function countAgain(place: Place, once: Once): Promise<[what: string, holds: boolean][]> {
  title('5. everything is sent again, and the run is killed with -9 in the middle');
  const sent = await sendAgain(place.log);
  say(`${number(sent)} records sent again`);
  await killedInTheMiddle(place, sent);
  title('6. started again, it goes on from its last commit');
  const again = JSON.parse(await must(place.run)) as Summary;
  say(`${number(again.records)} records since the last commit; ${JSON.stringify(again.classes)}`);
  out(await ask(place, BOOKS));
  const tables = await ask(place, FINGERPRINT);
  out(tables);
  const balance = JSON.parse(await ask(place, BALANCE, 'JSONEachRow')) as Record<string, string>;
  const { read, classes, counted } = balance;
  return [
    ['no number moved', tables === once.tables && again.classes.counted === 0],
    [`the books balance: ${read} read, ${classes} in classes`, read === classes && Number(read) === once.summary.records + sent],
    [`counted once: ${counted}`, Number(counted) === once.summary.classes.counted],
    ['the audit log verifies', (await tally(['audit', 'verify', '--data', place.data])).code === 0],
  ];
}

const words = (line: string): string[] => line.split(' ');
const number = (n: number): string => n.toLocaleString('en');

function ask(place: Place, sql: string, format = 'PrettyCompactMonoBlock'): Promise<string> {
  return must(['query', '--data', place.data, '--format', format, sql]);
}

interface Summary {
  readonly records: number;
  readonly seconds: number;
  readonly events_per_second: number;
  readonly classes: { counted: number; duplicate: number; conflict: number; quarantined: number };
}

/** Starts a run and kills it, with everything it has started, once it has committed something of what was sent again. */
async function killedInTheMiddle(place: Place, sent: number): Promise<void> {
  const { readStatus } = await import('../run/status-file.ts');
  const read = (): number =>
    (readStatus(place.data, 'ads-insights')?.shards ?? []).flatMap((s) => s.partitions).reduce((sum, p) => sum + p.offset, 0);
  const before = read(),
    child = spawn(process.execPath, [MAIN, ...place.run], { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const timer = setInterval(() => {
    if (read() - before > sent / 4) child.kill('SIGKILL');
  }, 5);
  await exited;
  clearInterval(timer);
  say(
    `killed: ${child.signalCode === 'SIGKILL' ? 'yes' : 'it was done before'}, after about ${(read() - before).toLocaleString('en')} records`,
  );
}

/** Runs one command as a user would; its stdout comes back. */
async function tally(args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const code = await new Promise<number>((resolve) => child.on('close', (exit) => resolve(exit ?? 137)));
  return { code, stdout };
}

async function must(args: readonly string[]): Promise<string> {
  const { code, stdout } = await tally(args);
  if (code !== 0) {
    say(`tally ${args.join(' ')} ended with ${code}`);
    process.exit(1);
  }
  return stdout.trimEnd();
}

const out = (text: string): void => void process.stdout.write(`${text}\n`);
const say = (text: string): void => out(`   ${text}`);
const title = (text: string): void => out(`\n${text}`);
