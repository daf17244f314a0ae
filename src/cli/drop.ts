/**
 * `tally drop`: a job's state and tables go, on the record: the way out after a changed plan. Tables first, then the state: killed in
 * between, the state is refused by its missing tables until the drop is asked again.
 */
import { existsSync, rmSync } from 'node:fs';
import { makeClient } from '../clickhouse/client.ts';
import { dropJob } from '../clickhouse/instance.ts';
import { EXIT_USAGE, TallyError, usage } from '../errors.ts';
import { openData } from '../run/data-dir.ts';
import { jobDir, jobsOnDisk } from '../run/places.ts';
import { sendAudit } from '../run/run-record.ts';
import { connect } from '../run/tables.ts';
import type { Args, Command } from './command.ts';

export const drop: Command = {
  name: 'drop',
  summary: "remove a job's state and tables, on the record",
  usage: 'JOB --data DIR --yes [--clickhouse URL]',
  positionals: { min: 1, max: 1 },
  options: {
    data: { type: 'string', placeholder: 'DIR', help: 'the data directory' },
    clickhouse: { type: 'string', placeholder: 'URL', help: 'the ClickHouse server that the job wrote to, in place of the embedded one' },
    yes: { type: 'boolean', help: 'say that you mean it' },
  },
  required: ['data'],
  examples: ['tally drop ads-insights --data ./data --yes'],
  async run(args: Args): Promise<number> {
    const job = args.positionals[0]!,
      dir = String(args.values['data']);
    if (!/^[a-z][a-z0-9-]*$/.test(job))
      throw usage('E_USAGE', `${job} is not the name of a job`, "give the job's name, not its file: tally status --data DIR lists them");
    if (args.values['yes'] !== true)
      throw usage(
        'E_USAGE',
        `this removes all that ${job} has counted: its state and its tables`,
        `if you mean it: tally drop ${job} --data ${dir} --yes`,
      );
    if (!existsSync(dir)) throw new TallyError('E_DATA_MISSING', `there is no data directory ${dir}`, 'look for a slip in --data', 3);
    const warn = (sentence: string): void => void process.stderr.write(`tally: ${sentence}\n`);
    const data = await openData(dir);
    try {
      const url = args.values['clickhouse'];
      const tables = await connect(typeof url === 'string' ? url : undefined, dir, warn);
      try {
        const client = makeClient(tables.endpoint);
        const hadTables = await dropJob(client, job).finally(() => client.close());
        if (!hadTables && !existsSync(jobDir(dir, job))) throw noJob(job, dir);
        rmSync(jobDir(dir, job), { recursive: true, force: true });
        data.audit.append('job.dropped', job, { had_tables: hadTables });
        await sendAudit(data, tables.endpoint);
      } finally {
        await tables.close();
      }
    } finally {
      await data.close();
    }
    process.stderr.write(`${job} is dropped: its state and its tables are gone; the log is untouched\n`);
    return 0;
  },
};

function noJob(job: string, dir: string): TallyError {
  const there = jobsOnDisk(dir);
  return new TallyError(
    'E_JOB_MISSING',
    `${dir} has nothing of a job ${job}: there is ${there.length === 0 ? 'none' : there.join(', ')}`,
    'tally status --data DIR lists the jobs that have run',
    EXIT_USAGE,
  );
}
