/** A job that cannot be planned: what is wrong with it, and the way out. The program adds the job's file (`src/run/load-job.ts`). */
export class JobError extends Error {
  readonly hint: string;
  constructor(sentence: string, hint: string) {
    super(sentence);
    this.name = 'JobError';
    this.hint = hint;
  }
}
