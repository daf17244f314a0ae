/** `tally run`: counts a job's topics from the log into ClickHouse, until it is told to stop or the log's end. */
import { loadConfig } from '../config/load.ts';
import { clickhouseVariables, kafkaSettings, loopBounds, snapshotOrder } from '../config/parts.ts';
import type { Config } from '../config/schema.ts';
import { nowMs } from '../clock.ts';
import { runJob } from '../run/supervisor.ts';
import type { RunSummary } from '../run/summary.ts';
import { StopSignal } from '../run/signals.ts';
import { LogLines } from '../telemetry/log-lines.ts';
import { startTelemetry } from '../telemetry/telemetry.ts';
import type { Args, Command } from './command.ts';
import { configFlags } from './config-flags.ts';
import { tell } from './faults.ts';
import { wrongUse } from './parse.ts';

export const run: Command = {
  name: 'run',
  summary: "count a job's events into its tables",
  usage:
    'JOB --log LOG --data DIR [--config FILE] [--clickhouse URL] [--contracts DIR] [--shards S] [--until-end [--finish]] [--http HOST:PORT] [--json]',
  positionals: { min: 1, max: 1 },
  options: { ...configFlags(), json: { type: 'boolean', help: 'print what was counted as one JSON object' } },
  examples: [
    'tally run ads-insights --log ./log --data ./data',
    'tally run ads-insights --log ./log --data ./data --until-end --json',
    'tally run ./my-job.ts --contracts ./contracts --log ./log --data ./data --shards 4',
    'tally run ads-insights --config tally.yaml --http 127.0.0.1:9464 --log-format json',
  ],
  async run(args: Args): Promise<number> {
    const { config } = loadConfig(args.values, process.env);
    const lines = new LogLines({ ...config.logs, write: (line) => process.stderr.write(line), nowMs });
    if (config.logs.format === 'text') return count(args, config, lines);
    try {
      return await count(args, config, lines);
    } catch (error) {
      // Whoever collects lines of JSON gets the last one as JSON too.
      const { exit, code, sentence, hint } = tell(error, false);
      lines.error(sentence, { code, hint, exit });
      return exit;
    }
  },
};

async function count(args: Args, config: Config, lines: LogLines): Promise<number> {
  const { log, data } = config,
    missing = [log === undefined ? '--log' : '', data === undefined ? '--data' : ''].filter((name) => name !== '');
  if (log === undefined || data === undefined)
    throw wrongUse(
      `tally run needs ${missing.join(' and ')}.`,
      'give it as an option, in a file (--config) or in the environment (TALLY_...).',
    );
  Object.assign(process.env, clickhouseVariables(config));
  const stop = new StopSignal();
  const observer = await startTelemetry({ ...config.http, stuckAfterMs: config.http.stuckAfter, lines });
  try {
    const summary = await runJob(
      {
        job: args.positionals[0]!,
        log,
        kafka: kafkaSettings(config),
        from: config.kafka.from,
        data,
        clickhouse: config.clickhouse.url,
        contracts: config.contracts,
        shards: config.shards,
        snapshots: snapshotOrder(config),
        takeover: {
          sessionMs: config.takeover.session,
          delayMs: config.takeover.delay,
          settleMs: config.takeover.settle,
          rebuildFrozen: config.takeover.rebuildFrozen,
        },
        untilEnd: config.untilEnd,
        finish: config.finish,
        commitEvents: config.commit.events,
        bounds: loopBounds(config),
        stopMs: config.stop.within,
        showsProgress: config.logs.format === 'text',
        observer,
        warn: (sentence) => observer.warn(sentence),
      },
      stop,
    );
    show(summary, args.values['json'] === true, lines);
    return 0;
  } finally {
    await observer.close();
  }
}

function show(summary: RunSummary, asJson: boolean, lines: LogLines): void {
  const { job, records, classes, seconds } = summary;
  const told = Object.entries(classes).map(([k, n]) => `${n.toLocaleString('en')} ${k}`);
  const sentence = `${records.toLocaleString('en')} records in ${seconds.toFixed(1)} s: ${told.join(', ')}`;
  lines.info(lines.format === 'text' ? `${job} has ended` : sentence, { job, event: 'ended', records, seconds, ...classes });
  if (asJson) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else if (lines.format === 'text') process.stderr.write(`${sentence}\n`);
}
