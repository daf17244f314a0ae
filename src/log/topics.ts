/**
 * Topics as directories: LOG/TOPIC-PARTITION. A topic is there when its partitions 0..n-1 are and no LOG/.making-TOPIC stands beside
 * them; that file is made first and removed last, under one lock of the log, so nobody ever sees half a topic.
 */
import fs from 'node:fs';
import path from 'node:path';
import { TallyError, usage } from '../errors.ts';
import { FileLock } from '../lock.ts';
import { didYouMean } from '../../topology/nearest.ts';
import { makeDirs } from '../make-dirs.ts';

export const PARTITIONS_MAX = 10_000;
const LOCK_WAIT_MS = 30_000;
const NAME = /^[a-zA-Z0-9._-]{1,249}$/;

export const partitionDir = (dir: string, topic: string, partition: number): string => path.join(dir, `${topic}-${partition}`);
const markOf = (dir: string, topic: string): string => path.join(dir, `.making-${topic}`);

export function checkTopicName(topic: string): void {
  if (NAME.test(topic) && topic !== '.' && topic !== '..') return;
  throw usage('E_TOPIC_NAME', `"${topic.slice(0, 80)}" is no topic name.`, 'A name has 1 to 249 of the characters a-z A-Z 0-9 . _ -');
}

/** The log's directory, or a clear error. */
export function checkLogDir(dir: string): void {
  refuseAddress(dir);
  let stat: fs.Stats | undefined;
  try {
    stat = fs.statSync(dir, { throwIfNoEntry: false });
  } catch (cause) {
    throw unreadable(dir, cause);
  }
  if (stat === undefined) {
    throw new TallyError(
      'E_LOG_MISSING',
      `There is no log at ${dir}.`,
      'Give the directory that `tally produce --log` or `tally generate --log` wrote to.',
    );
  }
  if (!stat.isDirectory())
    throw new TallyError(
      'E_LOG_MISSING',
      `${dir} is a file, not the directory of a log.`,
      'A log is a directory of TOPIC-PARTITION directories.',
    );
}

export function refuseAddress(dir: string): void {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(dir)) return;
  throw usage(
    'E_LOG_ADDRESS',
    `"${dir}" is an address of a kind that is not known.`,
    'A log is a directory of segment files, or kafka://host:port.',
  );
}

/** The partition counts of all topics, by name. */
export function listTopics(dir: string): Map<string, number> {
  let names: string[];
  try {
    names = fs.readdirSync(dir);
  } catch (cause) {
    throw unreadable(dir, cause);
  }
  const found = new Map<string, number[]>(),
    making = new Set<string>();
  for (const name of names) {
    if (name.startsWith('.making-')) making.add(name.slice('.making-'.length));
    const m = /^(.+)-(0|[1-9]\d{0,5})$/.exec(name);
    if (m === null || !NAME.test(m[1]!)) continue;
    const list = found.get(m[1]!);
    if (list === undefined) found.set(m[1]!, [Number(m[2])]);
    else list.push(Number(m[2]));
  }
  const topics = new Map<string, number>();
  for (const topic of [...found.keys()].sort()) {
    if (making.has(topic)) continue;
    const list = found.get(topic)!.sort((a, b) => a - b),
      hole = list.findIndex((p, i) => p !== i);
    // A hole is told to whoever asks for that topic; the others can be read.
    topics.set(topic, hole < 0 ? list.length : -hole - 1);
  }
  return topics;
}

export function partitionCount(dir: string, topic: string): number {
  checkTopicName(topic);
  const topics = listTopics(dir),
    count = topics.get(topic);
  if (count === undefined) {
    const known = [...topics.keys()];
    const which =
      known.length === 0
        ? 'The log has no topic at all.'
        : `The log has: ${known.slice(0, 20).join(', ')}${known.length > 20 ? ', ...' : ''}.`;
    throw new TallyError(
      'E_TOPIC_MISSING',
      `There is no topic "${topic}" in ${dir}${didYouMean(topic, known)}`.replace(/([^?])$/, '$1.'),
      which,
    );
  }
  if (count < 0) {
    throw new TallyError(
      'E_TOPIC_BROKEN',
      `Topic "${topic}" lacks its partition ${-count - 1}: there is no ${partitionDir(dir, topic, -count - 1)}.`,
      'Bring the directory back; partitions are numbered from 0 without a hole.',
    );
  }
  return count;
}

/** Makes the topic if it is not there; its partition count. Safe against others that do the same, and against a kill. */
export function makeTopic(dir: string, topic: string, partitions: number | undefined): number {
  refuseAddress(dir);
  checkTopicName(topic);
  if (partitions !== undefined && !(Number.isInteger(partitions) && partitions >= 1 && partitions <= PARTITIONS_MAX))
    throw usage('E_PARTITIONS', `A topic has 1 to ${PARTITIONS_MAX} partitions.`, 'Give --partitions a whole number.');
  makeDir(dir);
  const lock = FileLock.lockSync(path.join(dir, '.lock'), LOCK_WAIT_MS);
  if (lock === undefined)
    throw new TallyError('E_LOG_LOCKED', `Another process holds ${path.join(dir, '.lock')}.`, 'Wait for it, or end it.');
  try {
    const exists = listTopics(dir).has(topic);
    if (!exists) {
      const mark = markOf(dir, topic);
      fs.writeFileSync(mark, '');
      syncDir(dir);
      // What a killed maker left is empty: nothing is appended while the mark stands.
      for (const name of fs.readdirSync(dir)) if (leftBy(name, topic)) fs.rmSync(path.join(dir, name), { recursive: true });
      for (let p = 0; p < (partitions ?? 1); p++) fs.mkdirSync(partitionDir(dir, topic, p));
      syncDir(dir);
      fs.unlinkSync(mark);
      syncDir(dir);
    }
    const count = partitionCount(dir, topic);
    if (partitions !== undefined && count !== partitions)
      throw usage(
        'E_PARTITIONS',
        `Topic "${topic}" has ${count} partition${count === 1 ? '' : 's'}, not ${partitions}.`,
        'Leave --partitions out, or write to another topic.',
      );
    return count;
  } finally {
    lock.unlock();
  }
}

function leftBy(name: string, topic: string): boolean {
  return name.startsWith(`${topic}-`) && /^\d+$/.test(name.slice(topic.length + 1));
}

function makeDir(dir: string): void {
  try {
    makeDirs(dir);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST' && (cause as NodeJS.ErrnoException).code !== 'ENOTDIR') throw cause;
    throw new TallyError(
      'E_LOG_MISSING',
      `${dir} is a file or lies below one, so no log can be there.`,
      'Give the path of a directory.',
      undefined,
      cause,
    );
  }
}

/** Makes the names in a directory survive a power cut. */
export function syncDir(dir: string): void {
  const fd = fs.openSync(dir, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function unreadable(dir: string, cause: unknown): TallyError {
  return new TallyError(
    'E_LOG_UNREADABLE',
    `The log at ${dir} cannot be read: ${(cause as Error).message}.`,
    'Check the path and the rights.',
    undefined,
    cause,
  );
}
