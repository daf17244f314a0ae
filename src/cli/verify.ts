/** `tally verify`: counts the log again, in the plainest way, and shows each row of the tables that is not as it should be. */
import { makeClient, parseEndpoint, rows } from '../clickhouse/client.ts';
import type { Endpoint } from '../clickhouse/engine.ts';
import { isElsewhereMissing } from '../clickhouse/faults.ts';
import { securityFor } from '../config/parts.ts';
import { EXIT_NO, TallyError, usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { libraryAccess } from '../kafka/library-access.ts';
import { checkLogDir } from '../log/topics.ts';
import { loadJob } from '../run/load-job.ts';
import type { LoadedJob } from '../run/load-job.ts';
import type { Standing } from '../run/whole.ts';
import { standingOf, tablesBehind, tablesGone } from '../run/whole.ts';
import type { VerifyOptions, VerifyResult } from '../verify/model.ts';
import { isLost } from '../verify/gaps.ts';
import { latestGeneration } from '../verify/progress.ts';
import { DIFFERENCES_SHOWN, verifyJob } from '../verify/verify-job.ts';
import type { Args, Command } from './command.ts';
import { wholeNumber } from './numbers.ts';
import { startProgress } from './progress.ts';
import { withData } from './query.ts';

/** A view over millions of rows may take its time. */
const REQUEST_MS = 600_000;

export const verify: Command = {
  name: 'verify',
  summary: 'recount the log independently and hold every row of the tables against it',
  usage: 'JOB --log LOG (--data DIR | --clickhouse URL) [--contracts DIR] [--config FILE] [--limit N] [--json]',
  positionals: { min: 1, max: 1 },
  options: {
    log: { type: 'string', placeholder: 'LOG', help: 'the log that the job has read: a directory, or kafka://...' },
    config: { type: 'string', placeholder: 'FILE', help: 'how Kafka is connected to (kafka.tls, kafka.sasl); the environment counts too' },
    data: { type: 'string', placeholder: 'DIR', help: 'the data directory of the run' },
    clickhouse: {
      type: 'string',
      placeholder: 'URL',
      help: 'the ClickHouse server that the tables are in, when it is not the embedded one',
    },
    contracts: { type: 'string', placeholder: 'DIR', help: 'read the contracts from here' },
    limit: { type: 'string', placeholder: 'N', help: `how many differences are shown (${DIFFERENCES_SHOWN}); all are counted` },
    json: { type: 'boolean', help: 'print one JSON object' },
  },
  required: ['log'],
  examples: ['tally verify ads-insights --log ./log --data ./data', 'tally verify ads-insights --log ./log --data ./data --json'],
  async run(args: Args): Promise<number> {
    const text = (name: string): string | undefined => (typeof args.values[name] === 'string' ? args.values[name] : undefined);
    const log = text('log')!,
      data = text('data'),
      clickhouse = text('clickhouse');
    if (data === undefined && clickhouse === undefined)
      throw usage('E_USAGE', 'tally verify needs --data, or --clickhouse.', 'tally verify --help shows what it takes.');
    const limit = text('limit') === undefined ? DIFFERENCES_SHOWN : wholeNumber('--limit', text('limit')!, 0, 1_000_000);
    if (!isKafkaUrl(log)) checkLogDir(log);
    const job = await loadJob(args.positionals[0]!, text('contracts'));
    const standing = data === undefined ? undefined : await standingOf(data, job.plan.job);
    const kafka = isKafkaUrl(log) ? await libraryAccess(log, securityFor(log, text('config'))) : undefined;
    const check = (endpoint: Endpoint): Promise<VerifyResult> =>
      recount(endpoint, job, { logDir: log, ...(kafka && { kafka }), ...(standing && { state: { dir: data!, ...standing } }) }, limit);
    const result = clickhouse === undefined ? await withData(data!, check) : await check(parseEndpoint(clickhouse));
    if (args.values['json'] === true) process.stdout.write(`${JSON.stringify({ job: job.plan.job, ...result })}\n`);
    else print(result);
    return result.ok ? 0 : EXIT_NO;
  },
};

async function recount(
  endpoint: Endpoint,
  job: LoadedJob,
  { state, ...log }: Pick<VerifyOptions, 'logDir' | 'kafka'> & { readonly state?: Standing & { readonly dir: string } },
  limit: number,
): Promise<VerifyResult> {
  const client = makeClient(endpoint, { connections: 1, requestMs: REQUEST_MS }),
    progress = startProgress('verify');
  const ask: VerifyOptions['ask'] = (sql) => rows<Record<string, unknown>>(client, sql);
  try {
    const generation = await latestGeneration(ask, job.plan);
    if (state?.isWhole === false) throw tablesBehind(job.plan.job, state.dir);
    return await verifyJob({
      plan: job.plan,
      contracts: job.contracts,
      ...log,
      ask,
      generation,
      limit,
      onProgress: (p) =>
        progress.update(
          p.stage === 'recount'
            ? `${p.done.toLocaleString('en')} of ${p.total.toLocaleString('en')} records`
            : `table ${p.done + 1} of ${p.total}`,
        ),
    });
  } catch (error) {
    const isGone = isElsewhereMissing(error) || (error instanceof TallyError && error.code === 'E_NO_PROGRESS');
    throw isGone && state?.hasWritten === true ? tablesGone(job.plan.job, state.dir, error) : error;
  } finally {
    progress.done();
    await client.close();
  }
}

function print(r: VerifyResult): void {
  const number = (n: number): string => n.toLocaleString('en');
  for (const d of r.differences) process.stdout.write(`${d.sentence}\n`);
  if (r.total > r.differences.length) process.stdout.write(`... and ${number(r.total - r.differences.length)} more\n`);
  const compared = Object.entries(r.rows)
    .map(([view, n]) => `${number(n)} rows of ${view}`)
    .join(', ');
  process.stdout.write(
    `${number(r.records)} records: ${number(r.counted)} counted, ${number(r.duplicate)} duplicate, ${number(r.conflict)} conflict, ${number(r.quarantined)} quarantined\n`,
  );
  for (const gap of r.gaps)
    process.stdout.write(`${isLost(gap) ? 'lost after it was counted' : 'never read'}, on the record of ${gap.at}: ${gap.why}\n`);
  if (r.gaps.some(isLost))
    process.stdout.write(
      `what was counted from lost records cannot be recounted: ${r.uncheckable.length === 0 ? 'no window differs from the log as it is now' : `these windows cannot be checked: ${r.uncheckable.join(', ')}`}\n`,
    );
  const left = Object.entries(r.unchecked).filter(([, n]) => n > 0);
  for (const { shard, before } of r.frozen)
    process.stdout.write(
      `shard ${shard} was counted again after its state was lost, and windows that begin before ${before} were left as they were: the log cannot show whether they are right\n`,
    );
  if (left.length > 0)
    process.stdout.write(
      `not compared for that: ${number(r.uncheckedWindows)} windows, ${left.map(([view, n]) => `${number(n)} rows of ${view}`).join(', ')}\n`,
    );
  process.stdout.write(
    `${compared}\n${r.ok ? 'everything is as it should be' : `${number(r.total)} difference${r.total === 1 ? '' : 's'}`}\n`,
  );
}
