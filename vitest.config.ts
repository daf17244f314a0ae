import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { tally: fileURLToPath(new URL('./topology/job.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/untested-reporter.ts'],
    // Processes, not threads: native modules and signals belong to a process.
    pool: 'forks',
    maxWorkers: 2,
    // Hundreds of tests start the command: what the first has compiled, the others need not.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('./node_modules/.cache/compile', import.meta.url)) },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
