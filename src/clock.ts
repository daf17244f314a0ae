/** The one place where time and randomness come from; everywhere else they are handed in (lint keeps it so). */
import { randomBytes, randomInt } from 'node:crypto';

export const nowMs = (): number => Date.now();
export const monotonicMs = (): number => performance.now();
export const randomHex = (bytes: number): string => randomBytes(bytes).toString('hex');
export const randomUint32 = (): number => randomInt(2 ** 32 - 1);
