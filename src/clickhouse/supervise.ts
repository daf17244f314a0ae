/**
 * Keeps an embedded engine alive for as long as a run lasts: whatever ends it, it is started again over the same directory, on the same
 * port and with the same passwords if it can be, so that clients only have to ask again. Starts that fail again and again are the end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { startEngine } from './engine.ts';
import type { Endpoint, Engine, EngineOptions } from './engine.ts';
import type { Connection } from './connection.ts';
import { TallyError } from '../errors.ts';

const FAILED_STARTS_MAX = 5;
const RESTART_DELAY_MS = [0, 200, 1_000, 2_000, 5_000];

export interface SupervisedEngine {
  /** As it is now; a restart on another port changes it. */
  readonly admin: Endpoint;
  readonly reader: Connection;
  /** Called after a restart, whether or not the endpoint is another. */
  onRestart(callback: (admin: Endpoint) => void): void;
  /** Rejects when the engine cannot be had any more. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

export interface SuperviseOptions extends Omit<EngineOptions, 'onExit'> {
  readonly onTrouble?: (sentence: string) => void;
  /** Somebody asked this process to stop who meant all of us (`systemctl stop` tells every process). */
  readonly onSignal?: () => void;
}

export async function superviseEngine(o: SuperviseOptions): Promise<SupervisedEngine> {
  const callbacks: ((admin: Endpoint) => void)[] = [];
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let stopping = false,
    restarting: Promise<void> = Promise.resolve();

  const onExit = (how: string): void => {
    if (stopping) return;
    if (how === 'SIGTERM' || how === 'SIGINT') o.onSignal?.();
    o.onTrouble?.(`the embedded ClickHouse ended (${how}); it is started again`);
    restarting = restart();
  };
  const restart = async (): Promise<void> => {
    for (let attempt = 0; !stopping; attempt++) {
      await sleep(RESTART_DELAY_MS[Math.min(attempt, RESTART_DELAY_MS.length - 1)]!);
      if (stopping) return;
      try {
        engine = await startEngine({ ...o, port: engine.port, writerPassword: engine.admin.password, onExit });
        for (const callback of callbacks) callback(engine.admin);
        return;
      } catch (error) {
        if (attempt + 1 >= FAILED_STARTS_MAX || (error instanceof TallyError && error.code === 'E_ENGINE_MISSING'))
          return failed.reject(error as Error);
      }
    }
  };

  let engine: Engine = await startEngine({ ...o, onExit });
  return {
    get admin() {
      return engine.admin;
    },
    get reader() {
      return engine.reader;
    },
    onRestart: (callback) => void callbacks.push(callback),
    failed: failed.promise,
    async stop() {
      stopping = true;
      await restarting;
      await engine.stop();
    },
  };
}
