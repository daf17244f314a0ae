/** Calls into the C library for what Node does not offer; functions of whole numbers that say with 0 that all is well. */
import { DataType, load, open as openLibrary } from 'ffi-rs';
import { TallyError } from './errors.ts';

const LIBRARIES = process.platform === 'darwin' ? ['/usr/lib/libSystem.B.dylib'] : ['libc.so.6', 'libc.so'];
/** What a call is taken to have failed with when it does not say. */
export const EWOULDBLOCK = process.platform === 'darwin' ? 35 : 11;
let isOpen = false;

/** 0, or the errno. */
export function libc(name: string, ...values: number[]): number {
  openLibc();
  const answer = load({
    library: 'libc',
    funcName: name,
    retType: DataType.I32,
    paramsType: values.map(() => DataType.I32),
    paramsValue: values,
    errno: true,
  }) as unknown as { value: number; errnoCode: number };
  if (answer.value === 0) return 0;
  return answer.errnoCode === 0 ? EWOULDBLOCK : answer.errnoCode;
}

export function openLibc(): void {
  if (isOpen) return;
  let cause: unknown;
  for (const path of LIBRARIES) {
    try {
      openLibrary({ library: 'libc', path });
      isOpen = true;
      return;
    } catch (error) {
      cause = error;
    }
  }
  throw new TallyError(
    'E_LOCK',
    `The C library cannot be loaded on ${process.platform}/${process.arch}, so nothing can be locked.`,
    'Run on Linux or macOS.',
    undefined,
    cause,
  );
}
