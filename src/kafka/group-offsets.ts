/** Commits offsets to a consumer group as somebody who is no member of it: lag tools then see how far we are. */
import type { Cluster } from './cluster.ts';
import { throwIfError } from './faults.ts';
import { FIND_COORDINATOR, OFFSET_COMMIT } from './protocol/group.ts';
import type { CommittedOffset } from './protocol/group.ts';

export async function commitOffsets(cluster: Cluster, group: string, offsets: readonly CommittedOffset[]): Promise<void> {
  if (offsets.length === 0) return;
  await cluster.patiently(async () => {
    const what = `Committing offsets to group '${group}'`;
    const coordinator = await cluster.askAny(FIND_COORDINATOR, { kind: 'group', name: group });
    throwIfError(coordinator.error, what);
    for (const { error } of await cluster.ask(coordinator.node, OFFSET_COMMIT, { group, offsets })) throwIfError(error, what);
  });
}
