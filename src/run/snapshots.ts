/**
 * Copies of shards' states elsewhere (`--snapshots DIR`), for whoever has lost the disk or takes a shard over. One is whole or not there:
 * it is made beside its place and renamed. Tables that the snapshot before has already are linked, not copied. The newest two are kept.
 *
 *   DIR/<job>/g<generation>/shard-<i>of<S>/v<version>/   the files of a state, and snapshot.json, which says whose they are
 */
import { existsSync } from 'node:fs';
import { copyFile, constants, link, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { epochOf } from '../../state/outbox.ts';
import { TallyError } from '../errors.ts';

const FORMAT = 1,
  KEPT = 2;
const INFO = 'snapshot.json';

export interface SnapshotInfo {
  readonly job: string;
  readonly plan: string;
  readonly generation: number;
  readonly shard: number;
  readonly shards: number;
  /** The data directory that it was taken from. */
  readonly instance: string;
  readonly version: number;
  readonly takenAt: number;
}
interface Stored extends SnapshotInfo {
  readonly format: number;
  /** By name, in bytes. */
  readonly files: Readonly<Record<string, number>>;
}
export interface Snapshot extends SnapshotInfo {
  readonly dir: string;
  readonly bytes: number;
}
type Which = Pick<SnapshotInfo, 'job' | 'generation' | 'shard' | 'shards'>;

const dirOf = (root: string, w: Which): string => path.join(root, w.job, `g${w.generation}`, `shard-${w.shard}of${w.shards}`);

/** Whole snapshots of a shard, the newest first. */
export async function listSnapshots(root: string, which: Which): Promise<Snapshot[]> {
  const found: Snapshot[] = [],
    dir = dirOf(root, which);
  if (!existsSync(dir)) return found;
  for (const name of await readdir(dir)) {
    if (!/^v\d+$/.test(name)) continue;
    const stored = await readInfo(path.join(dir, name));
    if (stored !== undefined)
      found.push({ ...stored, dir: path.join(dir, name), bytes: Object.values(stored.files).reduce((sum, n) => sum + n, 0) });
  }
  return found.sort((a, b) => b.version - a.version);
}

async function readInfo(dir: string): Promise<Stored | undefined> {
  try {
    const stored = JSON.parse(await readFile(path.join(dir, INFO), 'utf8')) as Stored;
    return stored.format === FORMAT ? stored : undefined;
  } catch {
    return undefined;
  }
}

/** Makes the files in `frozen` a snapshot. Of a state that is stored already it does nothing. */
export async function store(root: string, frozen: string, info: SnapshotInfo): Promise<void> {
  const dir = dirOf(root, info),
    place = path.join(dir, `v${info.version}`),
    part = `${place}.part`;
  const before = await listSnapshots(root, info),
    base = before.find((s) => s.instance === info.instance && epochOf(s.version) === epochOf(info.version));
  if (before.some((s) => s.version === info.version)) return;
  await rm(part, { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  const files: Record<string, number> = {};
  for (const name of await readdir(frozen)) {
    await put(path.join(frozen, name), path.join(part, name), base === undefined ? undefined : path.join(base.dir, name));
    files[name] = (await stat(path.join(part, name))).size;
  }
  await writeFile(path.join(part, INFO), JSON.stringify({ format: FORMAT, ...info, files } satisfies Stored));
  await sync(path.join(part, INFO));
  await sync(part);
  await rm(place, { recursive: true, force: true });
  await rename(part, place);
  await sync(dir);
  for (const old of (await listSnapshots(root, info)).slice(KEPT)) await rm(old.dir, { recursive: true, force: true });
}

/** A table never changes under its name as long as one owner writes. */
async function put(from: string, to: string, known: string | undefined): Promise<void> {
  if (known !== undefined && from.endsWith('.sst') && existsSync(known)) {
    try {
      return await link(known, to);
    } catch {
      // Not every file system links.
    }
  }
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  await sync(to);
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The state in `dir` becomes what the snapshot holds. Killed halfway, nothing has changed. */
export async function restore(snapshot: Snapshot, dir: string, onProgress: (bytes: number) => void): Promise<void> {
  const part = `${dir}.restoring`,
    stored = await readInfo(snapshot.dir);
  await rm(part, { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  let bytes = 0;
  for (const [name, size] of Object.entries(stored?.files ?? {})) {
    await copyFile(path.join(snapshot.dir, name), path.join(part, name), constants.COPYFILE_FICLONE);
    if ((await stat(path.join(part, name))).size !== size) {
      throw new TallyError(
        'E_SNAPSHOT',
        `the snapshot ${snapshot.dir} is damaged: ${name} has not the ${size} bytes that it had`,
        'Take it out of the way, so that the one before it is used: more is read again from the log, nothing is counted twice.',
      );
    }
    await sync(path.join(part, name));
    onProgress((bytes += size));
  }
  await sync(part);
  await rm(dir, { recursive: true, force: true });
  await rename(part, dir);
}
