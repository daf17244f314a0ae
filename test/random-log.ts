/** Logs for simulations: random events of the two contracts of the oracle's fixture, the same for the same seed. */
import { batch, T0, writeLog } from './verify-fixture.ts';
import type { Logged } from './verify-fixture.ts';

const HOUR = 3_600_000;

export type Random = (below: number) => number;
export function random(seed: number): Random {
  let s = seed >>> 0;
  return (below) => {
    s = (Math.imul(s ^ (s >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    let x = s;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) % below;
  };
}

/** Values of the two contracts: most are fine, some are sent again, some with other content or another time, some are no events at all. */
function makeValues(
  r: Random,
  n: number,
  spanHours: number,
): { topic: string; id: string; value: Buffer; time: number; arrival: number }[] {
  const out: { topic: string; id: string; value: Buffer; time: number; arrival: number }[] = [];
  for (let i = 0; i < n; i++) {
    const arrival = T0 + Math.floor((i / n) * spanHours * HOUR),
      again = out.length > 0 && r(10) === 0 ? out[r(out.length)]! : undefined;
    if (again !== undefined && r(2) === 0) {
      out.push({ ...again, arrival });
      continue;
    }
    const late = r(20) === 0 ? r(Math.min(spanHours, 60)) * HOUR : r(10) * 60_000;
    const topic = r(3) === 0 ? 'sales' : 'views',
      id = again?.id ?? (r(2) === 0 ? `id-${i}` : uuid(r));
    const time = r(100) === 0 ? arrival + 5 * HOUR : Math.max(0, arrival - late),
      country = ['DE', 'FR', 'ES', 'IT'][r(4)];
    const event: Record<string, unknown> = { event_id: id.length === 36 && r(4) === 0 ? id.toUpperCase() : id, event_time: time, country };
    if (topic === 'views') Object.assign(event, { cost: r(500) / 100 }, r(2) === 0 ? { paid_by: r(2) === 0 ? 'card' : 'cash' } : {});
    else if (r(3) > 0) event.value = r(1000) - 500;
    if (r(40) === 0) event.country = r(2) === 0 ? 7 : 'de';
    const text = r(3) === 0 ? JSON.stringify(Object.fromEntries(Object.entries(event).reverse()), null, r(2)) : JSON.stringify(event);
    out.push({ topic, id, value: Buffer.from(r(50) === 0 ? text.slice(0, -3) : text), time, arrival });
  }
  return out;
}
const uuid = (r: Random): string => '00000000-0000-4000-8000-000000000000'.replaceAll('0', () => '0123456789abcdef'[r(16)]!);

/** A log on disk of both topics; `keyed`: a resend comes in on the partition of its original. */
export function randomLog(dir: string, r: Random, partitions: number, n: number, spanHours: number, keyed: boolean): void {
  const places = new Map<string, Logged[]>();
  for (const topic of ['views', 'sales']) for (let p = 0; p < partitions; p++) places.set(`${topic}-${p}`, []);
  for (const v of makeValues(r, n, spanHours)) {
    const id = v.id.toLowerCase(),
      p = keyed ? [...id].reduce((h, c) => (h * 31 + c.charCodeAt(0)) >>> 0, 7) % partitions : r(partitions),
      records = places.get(`${v.topic}-${p}`)!;
    records.push({ offset: records.length, timestamp: v.arrival, key: keyed ? id : null, value: v.value });
  }
  for (const [place, records] of places) {
    const batches: Buffer[] = [];
    for (let from = 0; from < records.length;) {
      const to = Math.min(records.length, from + 1 + r(40));
      batches.push(batch(records.slice(from, to)));
      from = to;
    }
    writeLog(dir, place, batches);
  }
}
