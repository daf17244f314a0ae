/** `tally audit list|verify`: the record of what was done to a data directory, and whether anyone has been at that record. */
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { EXIT_NO, TallyError } from '../errors.ts';
import { type AuditEntry } from '../control/audit-chain.ts';
import { auditFile, entriesAfter } from '../control/audit.ts';
import { verifyAudit } from '../control/audit-verify.ts';
import type { Args, Command } from './command.ts';
import { nearest } from '../../topology/nearest.ts';
import { wrongUse } from './parse.ts';

const ACTIONS = ['list', 'verify'];
const HASH_SHOWN = 12;

export const audit: Command = {
  name: 'audit',
  summary: 'the record of every run and drop: list it, or verify that nobody has changed it',
  usage: 'list|verify --data DIR [--json]',
  positionals: { min: 1, max: 1 },
  options: {
    data: { type: 'string', placeholder: 'DIR', help: 'the data directory' },
    json: { type: 'boolean', help: 'list: the entries as they are stored, one a line; verify: one object' },
  },
  required: ['data'],
  examples: [
    'tally audit list --data data',
    'tally audit verify --data data',
    'tally audit list --data data --json | jq \'select(.kind == "run.ended")\'',
  ],
  run: auditCommand,
};

async function auditCommand(args: Args): Promise<number> {
  const [action] = args.positionals;
  const dataDir = args.values['data'] as string,
    isJson = args.values['json'] === true;
  if (!ACTIONS.includes(action!)) {
    const meant = nearest(action!, ACTIONS);
    throw wrongUse(`tally audit cannot ${action}.`, meant === undefined ? 'it can list and verify.' : `did you mean ${meant}?`);
  }
  if (!existsSync(dataDir))
    throw new TallyError('E_DATA_MISSING', `there is no data directory ${dataDir}.`, 'give the one that tally run was given with --data.');
  return action === 'list' ? list(dataDir, isJson) : verify(dataDir, isJson);
}

async function list(dataDir: string, isJson: boolean): Promise<number> {
  for (const { entry, text } of entriesAfter(auditFile(dataDir), 0)) {
    if (!process.stdout.write(`${isJson ? text : inWords(entry)}\n`)) await once(process.stdout, 'drain');
  }
  return 0;
}

function inWords(entry: AuditEntry): string {
  const { number, at, kind, job, previous: _, hash, ...detail } = entry;
  const rest = Object.entries(detail).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [String(number).padStart(4), at, kind.padEnd(14), job === '' ? '-' : job, ...rest, hash.slice(0, HASH_SHOWN)].join('  ');
}

async function verify(dataDir: string, isJson: boolean): Promise<number> {
  // The anchor before the file: a run that is on may add entries in between, and those only come after it.
  const { knownAnchor } = await import('../control/control-store.ts');
  const anchor = await knownAnchor(dataDir);
  const found = verifyAudit(auditFile(dataDir), anchor.head);
  if (isJson) {
    const { ok, entries, problem = null, tornBytes } = found;
    process.stdout.write(
      `${JSON.stringify({ ok, entries, problem, torn_bytes: tornBytes, anchor: anchor.head ?? null, anchor_from: anchor.from })}\n`,
    );
    return ok ? 0 : EXIT_NO;
  }
  const from = {
    state: 'the state',
    'head.json': 'audit/head.json (a run holds the state)',
    nothing: 'nothing: no entry was ever anchored',
  }[anchor.from];
  const torn =
    found.tornBytes === 0
      ? ''
      : `a last line of ${found.tornBytes} bytes is not finished: a run is writing it, or was killed; the next start cuts it\n`;
  process.stdout.write(
    found.ok
      ? `the audit log holds: ${found.entries} entries, each follows the one before\n`
      : `the audit log does not hold: ${found.problem}\n`,
  );
  process.stdout.write(
    `${torn}last entry according to ${from}: ${anchor.head === undefined ? '-' : `${anchor.head.number} ${anchor.head.hash}`}\n`,
  );
  return found.ok ? 0 : EXIT_NO;
}
