/**
 * What members of the group tell each other, by the group protocol's own frames: each its instance, its newest local states and what it is
 * assigned now (JSON, in the user data of its subscription); the leader of a rebalance works out from it who gets what.
 */
import { AssignerProtocol } from 'kafkajs';
import type { PartitionAssigner } from 'kafkajs';
import { assignShards } from './assign-shards.ts';
import type { ShardMember } from './assign-shards.ts';

/** Members of other names cannot be in one group: the name carries the format's version. */
const NAME = 'tally-shards-1',
  VERSION = 1;

interface Told {
  readonly instance: string;
  /** Pairs of shard and version. */
  readonly states: readonly (readonly [number, number])[];
  readonly assigned: readonly number[];
}

export function shardAssigner(topic: string, shards: number, own: () => Omit<ShardMember, 'id'>): PartitionAssigner {
  return () => ({
    name: NAME,
    version: VERSION,
    protocol: ({ topics }) => {
      const { instance, states, assigned } = own(),
        told: Told = { instance, states: [...states], assigned: [...assigned] };
      return { name: NAME, metadata: AssignerProtocol.MemberMetadata.encode({ version: VERSION, topics, userData: json(told) }) };
    },
    assign: async ({ members }) => {
      const assigned = assignShards(
        members.map(({ memberId, memberMetadata }) => memberOf(memberId, memberMetadata)),
        shards,
      );
      return [...assigned].map(([memberId, mine]) => {
        const assignment = { version: VERSION, assignment: { [topic]: mine }, userData: Buffer.alloc(0) };
        return { memberId, memberAssignment: AssignerProtocol.MemberAssignment.encode(assignment) };
      });
    },
  });
}

const json = (value: Told): Buffer => Buffer.from(JSON.stringify(value));

function memberOf(id: string, metadata: Buffer): ShardMember {
  const userData = AssignerProtocol.MemberMetadata.decode(metadata)?.userData,
    told = JSON.parse(userData?.toString() ?? '') as Told;
  return { id, instance: told.instance, states: new Map(told.states), assigned: new Set(told.assigned) };
}
