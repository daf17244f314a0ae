/**
 * An operating fault or wrong use, told to a person: what happened, what it means, what to do. Printed as
 * `tally: E_CODE: sentence` and `hint: ...`; never a stack. Everything else that is thrown is a bug (exit 70).
 */
export const EXIT_NO = 1,
  EXIT_USAGE = 2,
  EXIT_FAULT = 3,
  EXIT_BUG = 70;

export class TallyError extends Error {
  readonly code: string;
  readonly hint: string;
  readonly exit: number;
  constructor(code: string, sentence: string, hint: string, exit: number = EXIT_FAULT, cause?: unknown) {
    super(sentence, cause === undefined ? {} : { cause });
    this.name = 'TallyError';
    this.code = code;
    this.hint = hint;
    this.exit = exit;
  }
}

/** Wrong use, or a faulty job or contract. */
export function usage(code: string, sentence: string, hint: string): TallyError {
  return new TallyError(code, sentence, hint, EXIT_USAGE);
}
