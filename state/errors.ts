/**
 * What can go wrong with state on disk, as values that the program above can tell apart and explain to a person.
 * A store that has thrown one of these from `commit` takes no further commit: open it again and go on from what it holds.
 */
export type StoreFault = 'LOCKED' | 'CORRUPT' | 'IO' | 'CLOSED';

export class StoreError extends Error {
  readonly fault: StoreFault;
  readonly dir: string;
  constructor(fault: StoreFault, dir: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'StoreError';
    this.fault = fault;
    this.dir = dir;
  }
}

/** Another process, or another part of this one, has the directory open. */
export class StoreLockedError extends StoreError {
  constructor(dir: string, cause?: unknown) {
    super('LOCKED', dir, `the state in ${dir} is in use by another process`, cause);
    this.name = 'StoreLockedError';
  }
}
