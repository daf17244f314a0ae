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
const COLUMNS = 'window_start, advertiser_id, campaign_id, ad_id, country, placement, impressions, clicks, conversions, spend_micros, value_micros';
const FINGERPRINT = `${['ads_hourly', 'ads_daily', 'ads_hourly_live', 'ads_daily_live']
  .map((view) => `SELECT '${view}' AS view, count() AS rows, sum(impressions) AS shown, sum(clicks) AS clicked, sum(spend_micros) AS spent, hex(groupBitXor(cityHash64(${COLUMNS}))) AS every_row FROM ${view}`)
  .join(' UNION ALL ')} ORDER BY view`;

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
    const events = args.values['events'] === undefined ? EVENTS : wholeNumber('--events', String(args.values['events']), 1_000, 100_000_000);
    const dir = mkdtempSync(path.join(tmpdir(), 'tally-demo-'));
    try {
      return await play(dir, events);
    } finally {
      if (args.values['keep'] === true) say(`log and data are kept in ${dir}`);
      else rmSync(dir, { recursive: true, force: true });
    }
  },
};

async function play(dir: string, events: number): Promise<number> {
  const began = monotonicMs(), log = path.join(dir, 'log'), data = path.join(dir, 'data');
  const run = ['run', 'ads-insights', '--log', log, '--data', data, '--until-end', '--json', '--commit-events', '200000'];
  title(`1. ${events.toLocaleString('en')} ads events of one day into a log on disk: 3 % sent twice, 1 % late, 0.5 % malformed`);
  await must(['generate', '--job', 'ads-insights', '--log', log, '--events', String(events), '--seed', '7', '--duplicates', '0.03', '--late', '0.01', '--malformed', '0.005']);
  title('2. count them');
  const first = JSON.parse(await must(run)) as Summary;
  say(`${first.records.toLocaleString('en')} records in ${first.seconds} s, ${first.events_per_second.toLocaleString('en')} a second; ${JSON.stringify(first.classes)}`);
  title('3. the tables, by SQL');
  const ask = (sql: string): Promise<string> => must(['query', '--data', data, '--format', 'PrettyCompactMonoBlock', sql]);
  out(await ask('SELECT window_start, advertiser_id, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(conversions) AS conversions, sum(spend_micros) / 1e6 AS spend FROM ads_daily_live GROUP BY ALL ORDER BY spend DESC LIMIT 5'));
  const before = await ask(FINGERPRINT);
  out(before);
  title('4. the books: every record read is in exactly one class');
  const books = 'SELECT class, code, sum(records) AS records FROM tally_books GROUP BY ALL ORDER BY class = \'read\' DESC, class, code';
  out(await ask(books));
  title('5. everything is sent again, and the run is killed with -9 in the middle');
  const sent = await sendAgain(log);
  say(`${sent.toLocaleString('en')} records sent again`);
  await killedInTheMiddle(run.filter((word) => word !== '--json'), data, sent);
  title('6. started again, it goes on from its last commit');
  const second = JSON.parse(await must(run)) as Summary;
  say(`${second.records.toLocaleString('en')} records since the last commit; ${JSON.stringify(second.classes)}`);
  out(await ask(books));
  const after = await ask(FINGERPRINT);
  out(after);
  const balance = JSON.parse(await must(['query', '--data', data, '--format', 'JSONEachRow', 'SELECT toUInt64(sumIf(records, class = \'read\')) AS read, toUInt64(sumIf(records, class != \'read\')) AS classes, toUInt64(sumIf(records, class = \'counted\')) AS counted FROM tally_books'])) as Record<string, string>;
  const checks: [string, boolean][] = [
    ['no number moved', before === after && second.classes.counted === 0],
    [`the books balance: ${balance['read']} read, ${balance['classes']} in classes`, balance['read'] === balance['classes'] && Number(balance['read']) === first.records + sent],
    [`counted once: ${balance['counted']}`, Number(balance['counted']) === first.classes.counted],
    ['the audit log verifies', (await tally(['audit', 'verify', '--data', data])).code === 0],
  ];
  title('What was shown');
  for (const [what, holds] of checks) say(`${holds ? 'holds' : 'DOES NOT HOLD'}: ${what}`);
  say(`in ${((monotonicMs() - began) / 1000).toFixed(0)} s`);
  return checks.every(([, holds]) => holds) ? 0 : 1;
}

interface Summary {
  readonly records: number;
  readonly seconds: number;
  readonly events_per_second: number;
  readonly classes: { counted: number; duplicate: number; conflict: number; quarantined: number };
}

/** Starts a run and kills it, with everything it has started, once it has committed something of what was sent again. */
async function killedInTheMiddle(words: string[], data: string, sent: number): Promise<void> {
  const { readStatus } = await import('../run/status-file.ts');
  const read = (): number => (readStatus(data, 'ads-insights')?.shards ?? []).flatMap((s) => s.partitions).reduce((sum, p) => sum + p.offset, 0);
  const before = read(), child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const timer = setInterval(() => {
    if (read() - before > sent / 4) child.kill('SIGKILL');
  }, 5);
  await exited;
  clearInterval(timer);
  say(`killed: ${child.signalCode === 'SIGKILL' ? 'yes' : 'it was done before'}, after about ${(read() - before).toLocaleString('en')} records`);
}

/** Runs one command as a user would; its stdout comes back. */
async function tally(words: string[]): Promise<{ code: number; stdout: string }> {
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const code = await new Promise<number>((resolve) => child.on('close', (exit) => resolve(exit ?? 137)));
  return { code, stdout };
}

async function must(words: string[]): Promise<string> {
  const { code, stdout } = await tally(words);
  if (code !== 0) {
    say(`tally ${words.join(' ')} ended with ${code}`);
    process.exit(1);
  }
  return stdout.trimEnd();
}

const out = (text: string): void => void process.stdout.write(`${text}\n`);
const say = (text: string): void => out(`   ${text}`);
const title = (text: string): void => out(`\n${text}`);
