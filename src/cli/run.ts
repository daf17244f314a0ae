/** `tally run`: counts a job's topics from the log into ClickHouse, until it is told to stop or the log's end. */
import { usage } from '../errors.ts';
import { runJob } from '../run/supervisor.ts';
import { StopSignal } from '../run/signals.ts';
import type { Args, Command } from './command.ts';
import { wholeNumber } from './numbers.ts';

const COMMIT_EVENTS = 1_000_000;

export const run: Command = {
  name: 'run',
  summary: "count a job's events into its tables",
  usage: 'JOB --log LOG --data DIR [--clickhouse URL] [--contracts DIR] [--shards S] [--until-end [--finish]] [--json]',
  positionals: { min: 1, max: 1 },
  options: {
    log: { type: 'string', placeholder: 'LOG', help: 'the directory of the log' },
    data: { type: 'string', placeholder: 'DIR', help: 'where state, tables and the audit log are kept' },
    clickhouse: {
      type: 'string',
      placeholder: 'URL',
      help: 'a ClickHouse server (http://user@host:8123/database) in place of the embedded one',
    },
    contracts: { type: 'string', placeholder: 'DIR', help: 'read the contracts from here' },
    shards: { type: 'string', placeholder: 'S', help: 'slices of the input with a state each; chosen once (1)' },
    'until-end': { type: 'boolean', help: 'read up to the end that the log has now, write everything, end' },
    finish: { type: 'boolean', help: 'with --until-end: the input is complete, its last windows become final' },
    'commit-events': { type: 'string', placeholder: 'N', help: `records a commit at most (${COMMIT_EVENTS}); no number depends on it` },
    json: { type: 'boolean', help: 'print what was counted as one JSON object' },
  },
  required: ['log', 'data'],
  examples: [
    'tally run ads-insights --log ./log --data ./data',
    'tally run ads-insights --log ./log --data ./data --until-end --json',
    'tally run ./my-job.ts --contracts ./contracts --log ./log --data ./data --shards 4',
  ],
  async run(args: Args): Promise<number> {
    const { values } = args;
    if (values['finish'] === true && values['until-end'] !== true)
      throw usage('E_USAGE', '--finish goes with --until-end: a run without an end is never complete', 'add --until-end');
    const stop = new StopSignal();
    const summary = await runJob(
      {
        job: args.positionals[0]!,
        log: text(values, 'log')!,
        data: text(values, 'data')!,
        clickhouse: text(values, 'clickhouse'),
        contracts: text(values, 'contracts'),
        shards: values['shards'] === undefined ? undefined : wholeNumber('--shards', String(values['shards']), 1, 1024),
        untilEnd: values['until-end'] === true,
        finish: values['finish'] === true,
        commitEvents:
          values['commit-events'] === undefined ? COMMIT_EVENTS : wholeNumber('--commit-events', String(values['commit-events']), 1, 1e9),
        warn: (sentence) => process.stderr.write(`tally: ${sentence}\n`),
      },
      stop,
    );
    if (values['json'] === true) process.stdout.write(`${JSON.stringify(summary)}\n`);
    else
      process.stderr.write(
        `${summary.records.toLocaleString('en')} records in ${summary.seconds.toFixed(1)} s: ${Object.entries(summary.classes)
          .map(([k, n]) => `${n.toLocaleString('en')} ${k}`)
          .join(', ')}\n`,
      );
    return 0;
  },
};

const text = (values: Args['values'], name: string): string | undefined => (typeof values[name] === 'string' ? values[name] : undefined);
