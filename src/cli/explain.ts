/** `tally explain`: the plan of a job as a picture, as JSON, or the scanners that are generated for it. Nothing is run. */
import { compileGate } from '../../topology/contract/gate.ts';
import { loadJob } from '../run/load-job.ts';
import { usage } from '../errors.ts';
import type { Args, Command } from './command.ts';
import { drawPlan } from './draw-plan.ts';

export const explain: Command = {
  name: 'explain',
  summary: 'show what a job does: its plan as a picture, as JSON, or the generated scanner',
  usage: 'JOB [--contracts DIR] [--json | --scanner]',
  positionals: { min: 1, max: 1 },
  options: {
    contracts: { type: 'string', placeholder: 'DIR', help: 'directory of ODCS YAML files; the shipped ones unless given' },
    json: { type: 'boolean', help: 'the plan, its digest and its contracts as JSON' },
    scanner: { type: 'boolean', help: 'the code that checks each record, one scanner a source' },
  },
  examples: ['tally explain ads-insights', 'tally explain ./my-job.ts --contracts ./contracts --json', 'tally explain telemetry --scanner'],
  run,
};

async function run(args: Args): Promise<number> {
  const { json, scanner, contracts } = args.values;
  if (json === true && scanner === true) throw usage('E_USAGE', '--json and --scanner exclude each other', 'Give one of them.');
  const loaded = await loadJob(args.positionals[0]!, contracts === undefined ? undefined : String(contracts));
  for (const warning of loaded.warnings) process.stderr.write(`tally: warning: ${warning}\n`);
  if (json === true) {
    process.stdout.write(`${JSON.stringify({ plan: loaded.plan, digest: loaded.digest, contracts: loaded.contracts }, null, 2)}\n`);
  } else if (scanner === true) {
    // The hash key is a process's own secret; it is handed in, so the text is the same without it.
    const texts = loaded.contracts.map((contract, i) => compileGate(contract, loaded.plan, i, [0, 0]).text.trimEnd());
    process.stdout.write(`${texts.join('\n\n')}\n`);
  } else {
    process.stdout.write(drawPlan(loaded.plan, loaded.contracts, loaded.digest));
  }
  return 0;
}
