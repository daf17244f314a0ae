/**
 * Who ought to run which shard: pure and the same on whichever member is asked. Every shard gets exactly one member, loads differ by at most
 * one, and as many shards as that allows stay with who has their newest local state; of those that are equally new, with who was assigned
 * them last. The rest goes to who has the next newest state and room, else to who has least to do.
 */
export interface ShardMember {
  readonly id: string;
  /** The data directory that the member runs on: of two members the same one comes first whatever ids the group gave them. */
  readonly instance: string;
  /** Newest local state: shard -> version. */
  readonly states: ReadonlyMap<number, number>;
  readonly assigned: ReadonlySet<number>;
}

interface Place {
  readonly shards: number[];
  /** How many it takes. */
  readonly room: number;
}

/** Member id -> its shards, ascending; members without a shard are in it. */
export function assignShards(members: readonly ShardMember[], shards: number): Map<string, number[]> {
  const ordered = [...members].sort((a, b) => compare(a.instance, b.instance) || compare(a.id, b.id)),
    ranked = Array.from({ length: shards }, (_, shard) => rank(ordered, shard)),
    places = roomFor(ordered, ranked),
    open = new Set(ranked.keys());
  const give = (shard: number, place: Place): void => {
    if (roomOf(place) === 0) return;
    place.shards.push(shard);
    open.delete(shard);
  };
  for (const shard of open) {
    const newest = newestOf(ranked, shard);
    if (newest !== undefined) give(shard, places.get(newest)!);
  }
  for (const shard of open) for (const next of ranked[shard]!) if (open.has(shard)) give(shard, places.get(next)!);
  for (const shard of open) give(shard, roomiest(places));
  return new Map([...places].map(([{ id }, { shards }]) => [id, shards.sort((a, b) => a - b)]));
}

/** Those who have a state of the shard or were assigned it last, the best first. */
function rank(members: readonly ShardMember[], shard: number): ShardMember[] {
  const had = (m: ShardMember): number => Number(m.assigned.has(shard));
  return members
    .filter((m) => m.states.has(shard) || m.assigned.has(shard))
    .sort((a, b) => versionOf(b, shard) - versionOf(a, shard) || had(b) - had(a));
}

const versionOf = (m: ShardMember, shard: number): number => m.states.get(shard) ?? -1;

function newestOf(ranked: readonly ShardMember[][], shard: number): ShardMember | undefined {
  const first = ranked[shard]![0];
  return first?.states.has(shard) ? first : undefined;
}

/** When shards don't divide evenly, some get one more: those who keep one more by it. */
function roomFor(members: readonly ShardMember[], ranked: readonly ShardMember[][]): Map<ShardMember, Place> {
  const least = members.length === 0 ? 0 : Math.floor(ranked.length / members.length),
    count = (isTheirs: (shard: number) => boolean): number => [...ranked.keys()].filter(isTheirs).length;
  const gain = (m: ShardMember): number =>
    2 * Number(count((shard) => newestOf(ranked, shard) === m) > least) + Number(count((shard) => ranked[shard]![0] === m) > least);
  const gains = new Map(members.map((m) => [m, gain(m)])),
    more = new Set([...members].sort((a, b) => gains.get(b)! - gains.get(a)!).slice(0, ranked.length - least * members.length));
  return new Map(members.map((m) => [m, { shards: [], room: least + Number(more.has(m)) }]));
}

function roomiest(places: ReadonlyMap<ShardMember, Place>): Place {
  const [first, ...others] = places.values();
  if (first === undefined) throw new Error('nobody is in the group');
  return others.reduce((best, place) => (roomOf(place) > roomOf(best) ? place : best), first);
}

const roomOf = ({ room, shards }: Place): number => room - shards.length;

const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));
