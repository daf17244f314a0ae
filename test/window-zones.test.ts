import { describe, expect, test } from 'vitest';
import { ZoneClock } from '../topology/window/zones.ts';

const HOUR = 3_600_000;
const at = (iso: string): number => Date.parse(iso);
const iso = (zone: string, size: 'hour' | 'day', t: string): [string, string] => {
  const { start, end } = new ZoneClock(zone).windowOf(at(t), size);
  return [new Date(start).toISOString(), new Date(end).toISOString()];
};
const lengths = (zone: string, size: 'hour' | 'day', from: string, to: string): number[] => {
  const clock = new ZoneClock(zone),
    out: number[] = [];
  for (let t = at(from); t < at(to);) {
    const { start, end } = clock.windowOf(t, size);
    expect(start).toBe(t);
    out.push((end - start) / 60_000);
    t = end;
  }
  return out;
};

describe('days follow the local calendar', () => {
  test('Berlin has a day of 23 h in March 2024 and one of 25 h in October', () => {
    expect(iso('Europe/Berlin', 'day', '2024-03-31T12:00:00Z')).toEqual(['2024-03-30T23:00:00.000Z', '2024-03-31T22:00:00.000Z']);
    expect(iso('Europe/Berlin', 'day', '2024-10-27T12:00:00Z')).toEqual(['2024-10-26T22:00:00.000Z', '2024-10-27T23:00:00.000Z']);
  });
  test('New York changes on 10 March and 3 November 2024', () => {
    expect(iso('America/New_York', 'day', '2024-03-10T12:00:00Z')).toEqual(['2024-03-10T05:00:00.000Z', '2024-03-11T04:00:00.000Z']);
    expect(iso('America/New_York', 'day', '2024-11-03T12:00:00Z')).toEqual(['2024-11-03T04:00:00.000Z', '2024-11-04T05:00:00.000Z']);
  });
  test('Kolkata begins its day at half past six in the evening UTC', () => {
    expect(iso('Asia/Kolkata', 'day', '2024-05-01T18:29:59.999Z')).toEqual(['2024-04-30T18:30:00.000Z', '2024-05-01T18:30:00.000Z']);
    expect(iso('Asia/Kolkata', 'day', '2024-05-01T18:30:00Z')).toEqual(['2024-05-01T18:30:00.000Z', '2024-05-02T18:30:00.000Z']);
  });
  test('São Paulo, 4 November 2018: midnight did not exist, the day began at 01:00 and had 23 h', () => {
    expect(iso('America/Sao_Paulo', 'day', '2018-11-04T12:00:00Z')).toEqual(['2018-11-04T03:00:00.000Z', '2018-11-05T02:00:00.000Z']);
  });
  test('São Paulo, 17 February 2018: the hour before midnight came twice, the day had 25 h', () => {
    expect(iso('America/Sao_Paulo', 'day', '2018-02-18T02:30:00Z')).toEqual(['2018-02-17T02:00:00.000Z', '2018-02-18T03:00:00.000Z']);
  });
  test('Apia skipped 30 December 2011: the 31st follows the 29th, each of 24 h', () => {
    expect(iso('Pacific/Apia', 'day', '2011-12-30T09:59:59Z')).toEqual(['2011-12-29T10:00:00.000Z', '2011-12-30T10:00:00.000Z']);
    expect(iso('Pacific/Apia', 'day', '2011-12-30T10:00:00Z')).toEqual(['2011-12-30T10:00:00.000Z', '2011-12-31T10:00:00.000Z']);
  });
  test('Lord Howe shifts by half an hour: days of 23.5 and 24.5 h', () => {
    expect(lengths('Australia/Lord_Howe', 'day', '2024-04-05T13:00:00Z', '2024-04-07T13:30:00Z')).toEqual([1440, 1470]);
    expect(lengths('Australia/Lord_Howe', 'day', '2024-10-05T13:30:00Z', '2024-10-06T13:00:00Z')).toEqual([1410]);
  });
  test("St John's set its clocks back at 00:01: the repeated minutes before midnight stay in the date that had begun", () => {
    expect(iso('America/St_Johns', 'day', '2010-11-07T02:30:30Z')).toEqual(['2010-11-07T02:30:00.000Z', '2010-11-08T03:30:00.000Z']);
    expect(iso('America/St_Johns', 'day', '2010-11-07T03:00:00Z')).toEqual(['2010-11-07T02:30:00.000Z', '2010-11-08T03:30:00.000Z']);
  });
});

describe('hours follow the local clock', () => {
  test('an hour that Berlin repeats is two windows', () => {
    expect(iso('Europe/Berlin', 'hour', '2024-10-27T00:30:00Z')).toEqual(['2024-10-27T00:00:00.000Z', '2024-10-27T01:00:00.000Z']);
    expect(iso('Europe/Berlin', 'hour', '2024-10-27T01:30:00Z')).toEqual(['2024-10-27T01:00:00.000Z', '2024-10-27T02:00:00.000Z']);
  });
  test('Kolkata and Kathmandu have hours that begin between those of UTC', () => {
    expect(iso('Asia/Kolkata', 'hour', '2024-05-01T10:29:59Z')).toEqual(['2024-05-01T09:30:00.000Z', '2024-05-01T10:30:00.000Z']);
    expect(iso('Asia/Kathmandu', 'hour', '2024-05-01T10:14:59Z')).toEqual(['2024-05-01T09:15:00.000Z', '2024-05-01T10:15:00.000Z']);
  });
  test('the half hours at Lord Howe are windows of their own', () => {
    // 2024-04-06T15:00Z: 02:00 +11 becomes 01:30 +10:30. 2024-10-05T15:30Z: 02:00 +10:30 becomes 02:30 +11.
    expect(lengths('Australia/Lord_Howe', 'hour', '2024-04-06T13:00:00Z', '2024-04-06T16:30:00Z')).toEqual([60, 60, 30, 60]);
    expect(lengths('Australia/Lord_Howe', 'hour', '2024-10-05T13:30:00Z', '2024-10-05T17:00:00Z')).toEqual([60, 60, 30, 60]);
  });
  test('Monrovia was 44 minutes and 30 seconds behind until January 1972', () => {
    expect(iso('Africa/Monrovia', 'hour', '1971-06-01T12:00:00Z')).toEqual(['1971-06-01T11:44:30.000Z', '1971-06-01T12:44:30.000Z']);
    expect(lengths('Africa/Monrovia', 'hour', '1972-01-06T23:44:30Z', '1972-01-07T01:00:00Z').map((m) => m * 60)).toEqual([3600, 930]);
  });
  test('no window begins before 1970', () => {
    expect(iso('Europe/Berlin', 'day', '1970-01-01T00:00:00Z')).toEqual(['1970-01-01T00:00:00.000Z', '1970-01-01T23:00:00.000Z']);
    expect(iso('America/New_York', 'day', '1970-01-01T00:00:00Z')).toEqual(['1970-01-01T00:00:00.000Z', '1970-01-01T05:00:00.000Z']);
  });
});

test.each([
  ['Europe/Berlin', 2024],
  ['America/New_York', 2024],
  ['Asia/Kolkata', 2024],
  ['Australia/Lord_Howe', 2024],
  ['America/Sao_Paulo', 2018],
  ['Pacific/Apia', 2011],
  ['America/St_Johns', 2010],
  ['Africa/Casablanca', 2024],
  ['UTC', 2105],
])('the windows of %s in %i meet end to end, and each instant asks for the one that holds it', (zone, year) => {
  const clock = new ZoneClock(zone),
    from = Date.UTC(year, 0, 1),
    to = Date.UTC(year, 11, 31);
  for (const size of ['hour', 'day'] as const) {
    for (let t = clock.windowOf(from, size).start; t < to;) {
      const { start, end } = clock.windowOf(t, size);
      if (start !== t || end <= t || end - t > (size === 'hour' ? HOUR : 25 * HOUR))
        expect([zone, size, t, start, end]).toBe('well formed');
      const inside = start + Math.floor((end - start) * 0.7);
      if (size === 'day' || t % (7 * HOUR) === 0) expect(clock.windowOf(inside, size)).toEqual({ start, end });
      expect(clock.windowOf(end - 1, size).end).toBe(end);
      t = end;
    }
  }
});
