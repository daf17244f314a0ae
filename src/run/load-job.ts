/**
 * A shipped job's name or the path of a file, and a directory of contracts, become a checked plan. Whatever is wrong with
 * either is one clear error (E_JOB, E_CONTRACT), and nothing has been touched by then.
 */
import { existsSync, statSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPlan } from '../../topology/build-plan.ts';
import type { Contract } from '../../topology/contract/model.ts';
import { planDigest } from '../../topology/digest.ts';
import { JobError } from '../../topology/job-error.ts';
import { didYouMean } from '../../topology/nearest.ts';
import type { Plan } from '../../topology/plan.ts';
import { loadContracts } from '../contracts/read.ts';
import type { LoadedContracts } from '../contracts/read.ts';
import { usage } from '../errors.ts';
import { importJob, ownExtension } from './job-module.ts';

export interface LoadedJob {
  readonly plan: Plan;
  /** In the order of the plan's sources. */
  readonly contracts: Contract[];
  readonly warnings: string[];
  readonly file: string;
  /** The plan's SHA-256. */
  readonly digest: string;
}
export const SHIPPED_JOBS = ['ads-insights', 'telemetry'] as const;
const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];

export async function loadJob(job: string, contractsDir: string | undefined): Promise<LoadedJob> {
  const file = fileOf(job);
  const topology = await importJob(file);
  const loaded: LoadedContracts = loadContracts(contractsDir ?? shippedContracts());
  let plan: Plan;
  try {
    plan = buildPlan(topology, loaded.contracts);
  } catch (cause) {
    if (!(cause instanceof JobError)) throw cause;
    throw usage('E_JOB', `${file}: ${cause.message}`, cause.hint);
  }
  const contracts = plan.sources.map((s) => loaded.contracts.get(s.contract)!);
  const warnings = contracts.flatMap((c) => loaded.warningsOf.get(c.id) ?? []);
  return { plan, contracts, warnings, file, digest: planDigest(plan) };
}

/** The directory of the contracts that come with the program: in a clone beside `src`, in the package also above `dist`. */
export function shippedContracts(): string {
  const places = ['../../contracts', '../../../contracts'].map((p) => fileURLToPath(new URL(p, import.meta.url)));
  return places.find((p) => existsSync(resolve(p, 'telemetry.yaml'))) ?? places[0]!;
}

function fileOf(job: string): string {
  if ((SHIPPED_JOBS as readonly string[]).includes(job)) {
    return fileURLToPath(new URL(`../../topology/jobs/${job}${ownExtension}`, import.meta.url));
  }
  const isPath = EXTENSIONS.includes(extname(job)) || /[\\/]/.test(job);
  const file = resolve(job),
    found = statSync(file, { throwIfNoEntry: false });
  if (!isPath) {
    const hint =
      found?.isFile() === true
        ? `A job is a .ts, .js or .mjs file; ${basename(job)} is none.`
        : `Shipped jobs: ${SHIPPED_JOBS.join(', ')}; or the path of a .ts file.`;
    throw usage('E_JOB', `there is no job "${job}"${didYouMean(job, SHIPPED_JOBS)}`, hint);
  }
  if (found === undefined)
    throw usage('E_JOB', `the job ${file} does not exist`, `Name a file, or a shipped job: ${SHIPPED_JOBS.join(', ')}.`);
  if (!found.isFile() || !EXTENSIONS.includes(extname(file)))
    throw usage('E_JOB', `${file} is not a .ts, .js or .mjs file`, 'A job is a module that default-exports a topology.');
  return file;
}
