/**
 * What a run tells on stderr: sentences for people (`tally: ...`), or an object a line with time, level, message and fields for machines.
 * A line is written whole; text in fields stays inside its line. Results are never told here: they go to stdout.
 */
export type Level = 'error' | 'warn' | 'info' | 'debug';
export type Format = 'text' | 'json';
/** What a machine may look for; the sentence says it to people. */
export type Fields = Readonly<Record<string, string | number | boolean | null>>;

const LEVELS: readonly Level[] = ['error', 'warn', 'info', 'debug'];

export interface LogLinesOptions {
  readonly format: Format;
  /** The least that is told; undefined: warn to people, info to machines. */
  readonly level: Level | undefined;
  readonly write: (line: string) => unknown;
  readonly nowMs: () => number;
}

export class LogLines {
  readonly format: Format;
  private readonly o: LogLinesOptions;
  private readonly least: number;

  constructor(o: LogLinesOptions) {
    this.o = o;
    this.format = o.format;
    this.least = LEVELS.indexOf(o.level ?? (o.format === 'json' ? 'info' : 'warn'));
  }

  error(message: string, fields: Fields = {}): void {
    this.tell('error', message, fields);
  }

  warn(message: string, fields: Fields = {}): void {
    this.tell('warn', message, fields);
  }

  info(message: string, fields: Fields = {}): void {
    this.tell('info', message, fields);
  }

  debug(message: string, fields: Fields = {}): void {
    this.tell('debug', message, fields);
  }

  private tell(level: Level, message: string, fields: Fields): void {
    if (LEVELS.indexOf(level) > this.least) return;
    if (this.o.format === 'text') this.o.write(`tally: ${message}\n`);
    else this.o.write(`${JSON.stringify({ time: new Date(this.o.nowMs()).toISOString(), level, message, ...rest(fields) })}\n`);
  }
}

/** A field never takes the place of what every line has. */
function rest(fields: Fields): Fields {
  const { time, level, message, ...others } = fields;
  return time === undefined && level === undefined && message === undefined ? fields : others;
}
