/** Names at the end what was not tested here, and on what the rest was: a skip that nobody reads is a silent one. */
import type { Reporter, TestModule } from 'vitest/node';

export default class UntestedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((m) => [...m.children.allTests('skipped')].map((t) => `  ${m.relativeModuleId}: ${t.fullName}`));
    const told = skipped.length === 0 ? 'Every test was run.' : `NOT TESTED here:\n${skipped.join('\n')}`;
    process.stdout.write(`\nBrokers from jars, ClickHouse as the embedded engine; Docker only for what needs replicas. ${told}\n`);
  }
}
