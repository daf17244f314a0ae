/**
 * Which shard a record of a repartitioned job belongs to, said again from its definition: MurmurHash2 of the field's text (seed 0x9747b28c,
 * sign dropped) modulo the shards, a UUID in lower case; what the contract turns away belongs to its partition modulo the shards.
 */
import type { Refusal, Value } from './judge.ts';
import { identity } from './recount.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

export type ShardOf = (source: number, partition: number, verdict: Refusal | Value[]) => number;

/** With one shard nothing has to be sent anywhere. */
export const isRepartitioned = (plan: Plan, shards: number): boolean => plan.repartition !== undefined && shards > 1;

export function router(plan: Plan, contracts: readonly Contract[], shards: number): ShardOf {
  const fields = contracts.map((c) => c.fields.findIndex((f) => f.name === plan.repartition!.by));
  return (source, partition, verdict) =>
    Array.isArray(verdict) ? (hash(Buffer.from(identity(verdict[fields[source]!]!))) & 0x7fffffff) % shards : partition % shards;
}

const TIMES = 0x5bd1e995;

function hash(text: Buffer): number {
  const words = Math.floor(text.length / 4);
  let h = 0x9747b28c ^ text.length;
  for (let w = 0; w < words; w++) h = Math.imul(h, TIMES) ^ Math.imul(folded(Math.imul(text.readInt32LE(4 * w), TIMES), 24), TIMES);
  const tail = text.subarray(4 * words);
  if (tail.length > 0) h = Math.imul(h ^ tail.reduce((sum, byte, i) => sum | (byte << (8 * i)), 0), TIMES);
  return folded(Math.imul(folded(h, 13), TIMES), 15);
}

const folded = (n: number, bits: number): number => n ^ (n >>> bits);
