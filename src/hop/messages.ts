/** What a shard and the writer of its slice tell each other. Plain data only: it crosses a thread. */
import type { Told } from '../run/messages.ts';
import type { Passed } from '../run/source.ts';

export type ToWriter = { readonly kind: 'stop' };
export type FromWriter =
  | { readonly kind: 'trouble'; readonly sentence: string }
  /** The source had a gap, and is read on behind it; `place` is one of the slice. */
  | { readonly kind: 'passed'; readonly passed: Passed }
  | { readonly kind: 'ended' }
  | ({ readonly kind: 'failed' } & Told);
