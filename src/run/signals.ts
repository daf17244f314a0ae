/** One orderly stop, however many SIGINT and SIGTERM come, and from wherever: a terminal sends them to every process of the run. */
export class StopSignal {
  private readonly waiting: (() => void)[] = [];
  private readonly listener = (): void => this.stop();
  stopped = false;

  constructor() {
    process.on('SIGINT', this.listener);
    process.on('SIGTERM', this.listener);
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    for (const callback of this.waiting) callback();
  }

  onStop(callback: () => void): void {
    if (this.stopped) callback();
    else this.waiting.push(callback);
  }

  /** From here on the process may be ended by a signal again. */
  release(): void {
    process.off('SIGINT', this.listener);
    process.off('SIGTERM', this.listener);
  }
}
