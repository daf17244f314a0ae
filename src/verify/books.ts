/**
 * The books against the recount: per shard, topic and partition, read is what the log holds below the committed offset, quarantined
 * by code and conflict are the rows that are due, and counted, LATE ones included, with duplicate is the rest. Counted of a shard
 * is its number of distinct events. What was LATE depends on where commits were cut: only its sum is asked.
 */
import { quote } from './model.ts';
import type { Ask, Differences } from './model.ts';
import type { Page } from './recount.ts';

type Lines = Map<string, bigint>;

export async function checkBooks(o: {
  job: string;
  generation: number;
  ask: Ask;
  differences: Differences;
  pages: readonly Page[];
  counted: readonly number[];
}): Promise<number> {
  const found = await o.ask(
    `SELECT shard, topic, partition, class, code, toString(records) AS n FROM tally_books WHERE job = ${quote(o.job)} AND generation = ${o.generation}`,
  );
  const books = new Map<string, Lines>(),
    counted = o.counted.map(() => 0n),
    duplicate = o.counted.map(() => 0n);
  for (const r of found) {
    const place = `shard ${String(r.shard)} ${String(r.topic)}/${String(r.partition)}`,
      line = `${String(r.class)} ${String(r.code)}`.trimEnd();
    const lines = books.get(place) ?? new Map<string, bigint>();
    books.set(place, lines);
    if (lines.has(line)) o.differences.add('books', `${place} ${line}`, 'one row', 'several');
    lines.set(line, BigInt(String(r.n)));
    const shard = Number(r.shard);
    if (r.class === 'counted' && shard < counted.length) counted[shard]! += BigInt(String(r.n));
    if (r.class === 'duplicate' && shard < counted.length) duplicate[shard]! += BigInt(String(r.n));
  }
  for (const page of o.pages) {
    const place = `shard ${page.shard} ${page.topic}/${page.partition}`;
    checkPage(place, page, books.get(place) ?? new Map(), o.differences);
    books.delete(place);
  }
  for (const [place, lines] of books) {
    if ([...lines.values()].some((n) => n !== 0n)) o.differences.add('books', place, 'no books: nothing was read there', 'books');
  }
  for (const [shard, n] of o.counted.entries()) {
    if (counted[shard] !== BigInt(n)) o.differences.add('books', `shard ${shard}`, `${n} counted`, `${counted[shard]}`);
    const rest = o.pages.reduce((sum, p) => (p.shard === shard ? sum + p.rest : sum), 0) - n;
    if (duplicate[shard] !== BigInt(rest)) o.differences.add('books', `shard ${shard}`, `${rest} duplicate`, `${duplicate[shard]}`);
  }
  return found.length;
}

function checkPage(place: string, page: Page, lines: Lines, differences: Differences): void {
  const take = (line: string): bigint => {
    const n = lines.get(line) ?? 0n;
    lines.delete(line);
    return n;
  };
  const expect = (line: string, expected: number, found: bigint): void => {
    if (found !== BigInt(expected)) differences.add('books', `${place} ${line}`, String(expected), String(found));
  };
  expect('read', page.read, take('read'));
  expect('conflict ID_CONFLICT', page.conflict, take('conflict ID_CONFLICT'));
  for (const [code, n] of page.codes) expect(`quarantined ${code}`, n, take(`quarantined ${code}`));
  expect('counted + duplicate', page.rest, take('counted') + take('counted LATE') + take('duplicate'));
  for (const [line, n] of lines) expect(line, 0, n);
}
