/** What a command of `tally` is; `src/cli/main.ts` parses, helps, prints errors and sets the exit code, and nothing else does. */
export interface Option {
  readonly type: 'string' | 'boolean';
  /** Shown in help as --name PLACEHOLDER. */
  readonly placeholder?: string;
  readonly help: string;
}
export interface Args {
  readonly positionals: readonly string[];
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
}
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** After `tally NAME`: "JOB --log LOG --data DIR [--json]". */
  readonly usage: string;
  readonly positionals: { readonly min: number; readonly max: number };
  readonly options: Readonly<Record<string, Option>>;
  /** Options that must be given. */
  readonly required?: readonly string[];
  readonly examples: readonly string[];
  /** Resolves to the exit code; faults are thrown as TallyError. Results go to stdout, everything else to stderr. */
  run(args: Args): Promise<number>;
}
