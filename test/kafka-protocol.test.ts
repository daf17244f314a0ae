/** Parts of the Kafka source that need no broker: encodings, addresses, logins, and read committed held against a plain model. */
import net from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CONTROL, TRANSACTIONAL } from '../topology/consume/batch-header.ts';
import { parseKafkaUrl } from '../src/kafka/address.ts';
import { Connection } from '../src/kafka/connection.ts';
import { meaningOf } from '../src/kafka/error-codes.ts';
import { gapError } from '../src/kafka/faults.ts';
import { boundsFor, Chunk, FetchMemory } from '../src/kafka/fetch-memory.ts';
import { PartitionQueue } from '../src/kafka/partition-queue.ts';
import { backoffMs } from '../src/pause.ts';
import { METADATA } from '../src/kafka/protocol/metadata.ts';
import { LIST_OFFSETS } from '../src/kafka/protocol/offsets.ts';
import { MalformedAnswer, Reader } from '../src/kafka/protocol/reader.ts';
import { Writer } from '../src/kafka/protocol/writer.ts';
import { walkRecordSet } from '../src/kafka/record-set.ts';
import { Scram } from '../src/kafka/scram.ts';
import { readSecret } from '../src/kafka/secret.ts';
import { batchOf } from './kafka-produce.ts';
import { decoded, encodeRecords, frame, seal, text } from './log-fixture.ts';

test('every primitive is read as it was written', () => {
  fc.assert(
    fc.property(
      fc.record({
        i8: fc.integer({ min: -128, max: 127 }),
        i16: fc.integer({ min: -32768, max: 32767 }),
        i32: fc.integer(),
        i64: fc.maxSafeInteger(),
        u: fc.nat(),
        s: fc.string({ unit: 'grapheme' }),
        list: fc.array(fc.integer()),
        bytes: fc.uint8Array({ maxLength: 3000 }),
        id: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      }),
      (v) => {
        const w = new Writer(),
          id = Buffer.from(v.id).toString('base64url');
        w.int8(v.i8);
        w.int16(v.i16);
        w.int32(v.i32);
        w.int64(v.i64);
        w.uvarint(v.u);
        w.string(v.s);
        w.compactString(v.s);
        w.compactString(null);
        w.compactArray(v.list, (n) => w.int32(n));
        w.compactBytes(v.bytes);
        w.uuid(id);
        w.noTags();
        const framed = w.framed(),
          r = new Reader(framed, 4, framed.length);
        expect([framed.readInt32BE(0), r.int8(), r.int16(), r.int32(), r.int64(), r.uvarint()]).toEqual([
          framed.length - 4,
          v.i8,
          v.i16,
          v.i32,
          v.i64,
          v.u,
        ]);
        expect([r.string(), r.compactString(), r.compactNullableString()]).toEqual([v.s, v.s, null]);
        expect(r.compactArray(() => r.int32())).toEqual(v.list);
        expect([...r.compactBytes()]).toEqual([...v.bytes]);
        expect(r.uuid()).toBe(id);
        r.skipTags();
        expect(r.at).toBe(framed.length);
      },
    ),
  );
});

test('an answer that claims more than it holds is refused before memory is given for it', () => {
  const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3]);
  const read =
    (what: (r: Reader) => unknown): (() => unknown) =>
    () =>
      what(new Reader(huge, 0, huge.length));
  expect(read((r) => r.compactArray(() => r.int8()))).toThrow(MalformedAnswer);
  expect(read((r) => r.compactBytes())).toThrow(MalformedAnswer);
  expect(read((r) => r.compactString())).toThrow(MalformedAnswer);
  expect(read((r) => r.skip(9))).toThrow(MalformedAnswer);
  const endless = Buffer.alloc(10, 0xff);
  expect(() => new Reader(endless, 0, endless.length).uvarint()).toThrow(MalformedAnswer);
});

test('addresses are read in every form, and one with a password is refused without repeating it', () => {
  expect(parseKafkaUrl('kafka://a:1,b,[::1]:9093/')).toEqual([
    { host: 'a', port: 1 },
    { host: 'b', port: 9092 },
    { host: '::1', port: 9093 },
  ]);
  for (const wrong of ['kafka://', 'kafka://a:0', 'kafka://a:70000', 'kafka://a,,b', 'kafka://a/topic', 'http://a'])
    expect(() => parseKafkaUrl(wrong), wrong).toThrow('no address of Kafka');
  const error = ((): Error | undefined => {
    try {
      parseKafkaUrl('kafka://user:hunter2@host:9092');
    } catch (e) {
      return e as Error;
    }
  })()!;
  expect(`${error.message}${error.stack}`).not.toContain('hunter2');
});

test("SCRAM's messages are those of the standard's own example, and a server that cannot prove itself is refused", async () => {
  // RFC 7677, section 3.
  const scram = new Scram('sha256', 'user', 'rOprNGfwEbeRWgbNEkqO');
  expect(scram.first().toString()).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
  const challenge = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';
  const proof = await scram.final(Buffer.from(challenge), 'pencil');
  expect(proof.toString()).toBe(
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  );
  scram.check(Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='));
  expect(() => scram.check(Buffer.from('v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='))).toThrow('could not prove');
  await expect(scram.final(Buffer.from(challenge.replace('r=rO', 'r=xx')), 'pencil')).rejects.toThrow('nonce');
  await expect(scram.final(Buffer.from(challenge.replace('4096', '4')), 'pencil')).rejects.toThrow('iterations');
});

test('a secret that is missing is named by where it was looked for', async () => {
  await expect(readSecret({ env: 'TALLY_NO_SUCH_SECRET' }, 'the password')).rejects.toThrow('TALLY_NO_SUCH_SECRET');
  await expect(readSecret({ file: '/no/such/file' }, 'the password')).rejects.toThrow('/no/such/file');
  await expect(readSecret(() => 'from a function\n', 'the password')).resolves.toBe('from a function');
});

test('waiting grows, stays bounded, and never ends at once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), (tries) => {
      const ms = backoffMs({ firstMs: 50, mostMs: 2000 }, tries);
      expect(ms).toBeGreaterThanOrEqual(Math.min(2000, 50 * 2 ** (tries - 1)) / 2);
      expect(ms).toBeLessThanOrEqual(2000);
    }),
  );
});

test('every share of memory is within the whole, for one partition and for a thousand', () => {
  for (const partitions of [0, 1, 2, 8, 200, 1000]) {
    const { totalBytes, answerBytes, partitionBytes, starvedBytes } = boundsFor(64 * 1024 * 1024, partitions);
    expect(answerBytes).toBeLessThanOrEqual(totalBytes / 8);
    expect(partitionBytes * 2 * partitions).toBeLessThanOrEqual(totalBytes);
    expect(starvedBytes).toBeGreaterThan(0);
  }
});

test('an unknown error code is tried again, and each kind of gap says what is missing', () => {
  expect(meaningOf(12_345)).toMatchObject({ remedy: 'retry' });
  const gap = { topic: 't', partition: 3, wanted: 20, start: 50, end: 90, from: 20, to: 50, resumeAt: 50 };
  expect(gapError({ ...gap, kind: 'removed' }).message).toContain('offsets 20 to 49 were removed');
  expect(gapError({ ...gap, kind: 'diverged', from: 5, to: 20 }).message).toContain('offsets 5 to 19, read before, were replaced');
  expect(gapError({ ...gap, kind: 'truncated', start: 0, end: 0 }).message).toContain('is empty at offset 0');
});

/** Answers each request in turn with these bytes, once the correlation id of the request stands in them. */
async function scripted(answers: readonly ((correlation: number) => Buffer)[]): Promise<net.Server> {
  const left = [...answers];
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (request) => void socket.write(left.shift()!(request.readInt32BE(8))));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  return server;
}
function answerOf(correlation: number, body: readonly number[], announced?: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(announced ?? body.length + 4, 0);
  head.writeInt32BE(correlation, 4);
  return Buffer.concat([head, Buffer.from(body)]);
}
/** Knows versions 0 to 20 of Metadata alone. */
const VERSIONS = [0, 0, 2, 0, 3, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0];

test('an answer to another question, one that is too large and one that makes no sense end the connection', async () => {
  const cases: [(correlation: number) => Buffer, string][] = [
    [(id) => answerOf(id + 1, [1, 2, 3]), 'answered a request that was not made'],
    [(id) => answerOf(id, [0], 2_000_000), 'announced an answer of 2000000 bytes'],
    [(id) => answerOf(id, [0, 0, 0, 0, 0, 255]), 'answered Metadata with bytes that cannot be read'],
  ];
  for (const [answer, words] of cases) {
    const server = await scripted([(id) => answerOf(id, VERSIONS), answer]);
    const connection = await Connection.open({
      host: '127.0.0.1',
      port: (server.address() as net.AddressInfo).port,
      clientId: 'test',
      tls: undefined,
      connectTimeoutMs: 5000,
      requestTimeoutMs: 5000,
      answerBytesMax: 1_000_000,
    });
    const waiting = [connection.send(METADATA, { topics: [] }), connection.send(METADATA, { topics: [] })];
    for (const each of await Promise.allSettled(waiting)) expect(String((each as PromiseRejectedResult).reason)).toContain(words);
    expect(connection.ended?.message).toContain(words);
    await expect(connection.send(METADATA, { topics: [] })).rejects.toThrow(words);
    await expect(connection.send(LIST_OFFSETS, { isolation: 0, topics: [] })).rejects.toThrow('which does not know it');
    server.close();
  }
});

interface Piece {
  readonly base: number;
  readonly count: number;
  readonly producer: number;
  readonly kind: 'plain' | 'transactional' | 'abort' | 'commit';
}
const LEADER_EPOCH = 7;

function pieceBytes({ base, count, producer, kind }: Piece): Buffer {
  if (kind === 'plain' || kind === 'transactional')
    return frame(
      encodeRecords(
        Array.from({ length: count }, () => text('x')),
        1000,
      ),
      {
        base,
        count,
        producer: kind === 'plain' ? -1 : producer,
        attributes: kind === 'plain' ? 0 : TRANSACTIONAL,
      },
    );
  // A control record: version 0, then its type.
  const marker = Buffer.from([16, 0, 0, 0, 8, 0, 0, 0, kind === 'abort' ? 0 : 1, 0]);
  return seal(frame(marker, { base, count: 1, producer, attributes: TRANSACTIONAL | CONTROL }));
}

function walked(bytes: Buffer, wanted: number): ReturnType<typeof walkRecordSet> {
  return walkRecordSet(bytes, 0, bytes.length, wanted);
}

test('a record set ends at its last whole batch, wherever it is cut', () => {
  const batches = [0, 10, 20].map((base) => pieceBytes({ base, count: 10, producer: -1, kind: 'plain' })),
    bytes = Buffer.concat(batches);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const whole = [0, 1, 2].filter((i) => batches.slice(0, i + 1).reduce((sum, b) => sum + b.length, 0) <= cut).length;
    expect(walked(bytes.subarray(0, cut), 0)).toEqual({
      from: 0,
      to: batches.slice(0, whole).reduce((sum, b) => sum + b.length, 0),
      nextOffset: whole * 10,
      lastEpoch: whole === 0 ? -1 : LEADER_EPOCH,
    });
  }
  expect(walked(bytes, 15)).toMatchObject({ from: batches[0]!.length, nextOffset: 30 });
  expect(() => walked(Buffer.concat([batches[1]!, batches[0]!]), 0)).toThrow('begins below offset 20');
  for (const old of [0, 1]) {
    const first = Buffer.from(batches[0]!);
    first[16] = old;
    expect(() => walked(first, 0)).toThrow(`old format v${old}`);
  }
});

interface History {
  readonly pieces: readonly Piece[];
  /** Producer, first offset, offset of the marker. */
  readonly aborted: readonly (readonly [number, number, number])[];
}

/** Producers take turns at random: write, or end a transaction one way or the other. */
function historyOf(steps: readonly (readonly [number, number, number])[]): History {
  const pieces: Piece[] = [],
    open = new Map<number, number>(),
    aborted: [number, number, number][] = [];
  let base = 0;
  const add = (count: number, producer: number, kind: Piece['kind']): void => {
    pieces.push({ base, count, producer, kind });
    base += count;
  };
  const end = (producer: number, kind: 'abort' | 'commit'): void => {
    if (kind === 'abort') aborted.push([producer, open.get(producer)!, base]);
    open.delete(producer);
    add(1, producer, kind);
  };
  add(1, -1, 'plain');
  for (const [producer, what, count] of steps) {
    if (what === 0) add(count, -1, 'plain');
    else if (what < 4) {
      if (!open.has(producer)) open.set(producer, base);
      add(count, producer, 'transactional');
    } else if (open.has(producer)) end(producer, what % 2 === 0 ? 'abort' : 'commit');
  }
  for (const producer of [...open.keys()]) end(producer, 'commit');
  return { pieces, aborted };
}

/** What a naive reader knows: a batch is of the transaction whose span of offsets it lies in. */
function isCommitted({ aborted }: History, p: Piece): boolean {
  if (p.kind === 'plain') return true;
  return (
    p.kind === 'transactional' &&
    !aborted.some(([producer, first, marker]) => producer === p.producer && first <= p.base && p.base < marker)
  );
}

test('whatever producers do and wherever answers are cut: what is shown is what was committed', () => {
  const step = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 6 }), fc.integer({ min: 1, max: 3 }));
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 40 }),
      fc.nat(),
      (steps, cuts, at) => {
        const history = historyOf(steps),
          { pieces } = history,
          last = pieces.at(-1)!,
          end = last.base + last.count,
          start = at % end;
        const memory = new FetchMemory(1 << 20, () => {});
        const queue = new PartitionQueue({ topic: 't', partition: 0, offset: start }, 'AAAAAAAAAAAAAAAAAAAAAA', memory, () => {});
        const shown: number[] = [];
        for (let i = 0; queue.position < end; i++) {
          const begins = pieces.findIndex((p) => p.base + p.count > queue.fetchOffset),
            part = pieces.slice(begins, begins + cuts[i % cuts.length]!),
            upTo = part.at(-1)!.base + part.at(-1)!.count;
          const records = Buffer.concat(part.map(pieceBytes)),
            from = 100 * (i % 2),
            to = from + records.length,
            bytes = memory.take(to * 5);
          records.copy(bytes, from);
          const chunk = new Chunk(bytes);
          chunk.readers++;
          // As a broker tells: those that touch what was read; in any order.
          const aborted = history.aborted.filter(([, first, marker]) => first < upTo && marker >= queue.fetchOffset);
          queue.take(
            chunk,
            walkRecordSet(bytes, from, to, queue.fetchOffset),
            aborted.toReversed().flatMap(([p, first]) => [p, first]),
          );
          memory.release(chunk);
          if (cuts[i % cuts.length]! % 4 === 0) queue.dropAhead();
          if (cuts[i % cuts.length]! % 3 === 0) queue.compact();
          if (i % 3 !== 0 && upTo < end) continue;
          for (let batch = queue.peek(); batch !== undefined; batch = queue.peek()) {
            shown.push(batch.baseOffset);
            queue.advance();
          }
        }
        expect(shown).toEqual(pieces.filter((p) => p.base + p.count > start && isCommitted(history, p)).map(({ base }) => base));
        expect(queue).toMatchObject({ position: end, leaderEpoch: LEADER_EPOCH, bufferedBytes: 0 });
        queue.close();
        expect(memory.heldBytes).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
});

test('a prefetched batch that nobody looked at is given up when the log lost it; the next one is shown in its place', () => {
  const memory = new FetchMemory(1 << 20, () => {});
  const queue = new PartitionQueue({ topic: 't', partition: 0, offset: 0 }, 'AAAAAAAAAAAAAAAAAAAAAA', memory, () => {});
  const take = (value: string): void => {
    const records = batchOf([value]),
      bytes = memory.take(records.length);
    records.copy(bytes);
    const chunk = new Chunk(bytes);
    queue.take(chunk, walkRecordSet(bytes, 0, bytes.length, queue.fetchOffset), []);
  };
  take('lost');
  queue.dropAhead();
  expect(queue).toMatchObject({ fetchOffset: 0, bufferedBytes: 0 });
  take('kept');
  expect(decoded(queue.peek()!.bytes).map(({ value }) => value)).toEqual(['kept']);
  queue.dropAhead();
  expect(queue.fetchOffset).toBe(1);
  expect(decoded(queue.peek()!.bytes).map(({ value }) => value)).toEqual(['kept']);
});

test('buffers of answers are used again; what is kept for later goes before the bound is passed', () => {
  const total = 8 << 20,
    memory = new FetchMemory(total, () => {}),
    small = memory.take(5000);
  expect(small.length).toBe(5000);
  memory.give(small);
  for (const bytes of [20_000, 90_000, 300_000, 700_000, 1 << 20]) {
    const first = memory.take(bytes);
    expect(first.length).toBeGreaterThanOrEqual(bytes);
    expect(first.length).toBeLessThan(2 * bytes + 2);
    expect(memory.heldBytes).toBe(first.length);
    memory.give(first);
    expect(memory.take(bytes - 1)).toBe(first);
    memory.give(first);
    expect(memory.heldBytes).toBe(0);
  }
  // An answer larger than any that is asked for: what waits to be used again makes room for it, and is made anew later.
  const kept = memory.take(1 << 20);
  memory.give(kept);
  const huge = memory.take(total);
  expect(huge.length).toBe(total);
  expect(memory.take(1 << 20)).not.toBe(kept);
});
