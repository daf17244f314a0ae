/**
 * `tally clickhouse migrate`: makes the tables and views of a job in a ClickHouse server, or brings them up to date, as a user of its own. The
 * user of `tally run` then needs no right to make anything. Nothing that exists is ever dropped.
 */
import { makeClient, parseEndpoint } from '../clickhouse/client.ts';
import { migrate } from '../clickhouse/schema.ts';
import { checkServer } from '../clickhouse/server.ts';
import { loadJob } from '../run/load-job.ts';
import { GENERATION } from '../run/places.ts';
import type { Args, Command } from './command.ts';
import { wholeNumber } from './numbers.ts';
import { wrongUse } from './parse.ts';

/** Over a cluster a statement waits for every server. */
const REQUEST_MS = 300_000;

export const clickhouse: Command = {
  name: 'clickhouse',
  summary: 'make or migrate the tables of a job in a ClickHouse server',
  usage: 'migrate JOB --clickhouse URL [--contracts DIR] [--shards S] [--cluster NAME [--no-replication]] [--json]',
  positionals: { min: 2, max: 2 },
  options: {
    clickhouse: {
      type: 'string',
      placeholder: 'URL',
      help: 'the server: http(s)://user@host:8123/database; the password by TALLY_CLICKHOUSE_PASSWORD or the file of TALLY_CLICKHOUSE_PASSWORD_FILE',
    },
    contracts: { type: 'string', placeholder: 'DIR', help: 'read the contracts from here' },
    shards: { type: 'string', placeholder: 'S', help: "the job's shards, as for tally run (1): the views put them together" },
    cluster: {
      type: 'string',
      placeholder: 'NAME',
      help: "spread the tables over this cluster of ClickHouse's own configuration; recorded, and kept from then on",
    },
    'no-replication': {
      type: 'boolean',
      help: 'with --cluster, where there is no Keeper: plain tables on this server alone; call it once for each server',
    },
    json: { type: 'boolean', help: 'print what was made as one JSON object' },
  },
  required: ['clickhouse'],
  examples: [
    'tally clickhouse migrate ads-insights --clickhouse https://tally_migrator@warehouse:8443/tally',
    'tally clickhouse migrate ads-insights --clickhouse http://tally_migrator@node-1:8123/tally --cluster ads --shards 4',
  ],
  async run(args: Args): Promise<number> {
    const { values } = args,
      [what, job] = args.positionals as [string, string];
    if (what !== 'migrate') throw wrongUse(`tally clickhouse knows no ${what}.`, 'tally clickhouse migrate JOB --clickhouse URL');
    const text = (name: string): string | undefined => (typeof values[name] === 'string' ? values[name] : undefined);
    const name = text('cluster'),
      isReplicated = values['no-replication'] !== true;
    if (name === undefined && !isReplicated)
      throw wrongUse('--no-replication goes with --cluster.', 'One server does not replicate anyway.');
    const shards = text('shards') === undefined ? 1 : wholeNumber('--shards', text('shards')!, 1, 1024);
    const endpoint = parseEndpoint(text('clickhouse')!),
      loaded = await loadJob(job, text('contracts'));
    const cluster = name === undefined ? undefined : { name, replicated: isReplicated };
    await checkServer(endpoint, isReplicated ? name : undefined);
    const client = makeClient(endpoint, { requestMs: REQUEST_MS });
    let made: string[];
    try {
      const m = { plan: loaded.plan, generation: GENERATION, shards, instance: '', onIncomplete };
      made = await migrate(client, cluster === undefined ? m : { ...m, cluster });
    } finally {
      await client.close();
    }
    if (values['json'] === true) process.stdout.write(`${JSON.stringify({ job: loaded.plan.job, made })}\n`);
    else process.stderr.write(made.length === 0 ? 'everything is up to date\n' : `made ${made.length}: ${made.join(', ')}\n`);
    return 0;
  },
};

function onIncomplete(): void {
  process.stderr.write('tally: other servers of the cluster do not have these tables yet, or are away: call it for each of them too\n');
}
