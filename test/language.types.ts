/** What must not compile does not: each line under an expectation is an error of the compiler, and the rest is none. */
import { adsClick, adsConversion, adsDelivery, telemetry } from '../contracts/contracts.gen.ts';
import type { ContractHandle, Measure } from 'tally';
import { contract, count, day, days, hour, hours, max, min, minutes, sum, topology, tumbling } from 'tally';

const ads = topology('ads').read(adsDelivery, adsClick, adsConversion);
const timed = ads.dedupe({ by: 'event_id', horizon: days(30) }).watermark({ by: 'event_time', outOfOrder: minutes(5), fence: hours(1) });
const keyed = timed.keyBy('advertiser_id', 'country');
const played = topology('t')
  .read(telemetry)
  .dedupe({ by: 'event_id' })
  .watermark({ by: 'event_time', outOfOrder: minutes(1) });
const loose = contract('ads-click');
declare const textual: ContractHandle<
  'textual',
  { k: { type: 'string'; required: true; value: string }; m: { type: 'string'; required: true; value: string } }
>;
declare const numeric: ContractHandle<
  'numeric',
  { k: { type: 'integer'; required: true; value: number }; m: { type: 'string'; required: true; value: string } }
>;

export const whole = keyed
  .aggregate({ clicks: count(adsClick, { paid_by: 'card' }), spend: sum(adsDelivery, 'cost_micros', { country: 'DE', placement: 'feed' }) })
  .window(tumbling(hour).into('a_hourly'), tumbling(day, { zone: 'Europe/Berlin' }).into('a_daily'))
  .limits({ maxRecordBytes: 4096 });

export const measures: Measure[] = [
  sum(telemetry, 'seconds'),
  min(telemetry, 'bitrate_mbps'),
  max(telemetry, 'event_time'),
  count(telemetry, { live: true, build: 3 }),
  count(adsConversion, { attributed: false }),
  sum(loose, 'whatever', { anything: 1 }),
  min(loose, 'x'),
  count(loose),
];
export const half = topology('half').read(loose, adsClick).dedupe({ by: 'event_id' });

export const common = topology('common').read(textual, numeric).dedupe({ by: 'm' });
export const hopped = ads.repartition({ by: 'event_id' }).dedupe({ by: 'event_id' });
// @ts-expect-error there is no such field
ads.repartition({ by: 'event_ident' });
// @ts-expect-error only one of the contracts has it
ads.repartition({ by: 'paid_by' });
// @ts-expect-error the parts have an order: what is repartitioned is not counted yet
ads.dedupe({ by: 'event_id' }).repartition({ by: 'event_id' });
// @ts-expect-error of another type in another contract
topology('common').read(textual, numeric).dedupe({ by: 'k' });
// @ts-expect-error a job reads at least one contract
topology('none').read();
// @ts-expect-error a contract is a handle, not its id
topology('text').read('ads-click');
// @ts-expect-error there is no such field
ads.dedupe({ by: 'event_ident' });
// @ts-expect-error only one of the contracts has it
ads.dedupe({ by: 'paid_by' });
// @ts-expect-error it is not required
ads.dedupe({ by: 'user_id' });
// @ts-expect-error a time is not an identity
ads.dedupe({ by: 'event_time' });
// @ts-expect-error a number is not a length of time
ads.dedupe({ by: 'event_id', horizon: 30 });
// @ts-expect-error the producers' key must be in every contract
ads.dedupe({ by: 'event_id', producerKey: 'device' });
// @ts-expect-error an identity is not a time
ads.dedupe({ by: 'event_id' }).watermark({ by: 'event_id', outOfOrder: minutes(5) });
// @ts-expect-error how far out of order must be said
ads.dedupe({ by: 'event_id' }).watermark({ by: 'event_time' });
// @ts-expect-error there is no such field
timed.keyBy('contry');
// @ts-expect-error one of the contracts lacks it
timed.keyBy('device');
// @ts-expect-error it is not required
timed.keyBy('user_id');
// @ts-expect-error a time is no dimension
timed.keyBy('event_time');
// @ts-expect-error a number with decimals is no dimension
played.keyBy('seconds');
// @ts-expect-error there is no such field
sum(adsDelivery, 'cost_micro');
// @ts-expect-error text has no sum
sum(adsDelivery, 'country');
// @ts-expect-error a number that is no scaled integer has no exact sum
sum(telemetry, 'bitrate_mbps');
// @ts-expect-error a time has no sum
sum(telemetry, 'event_time');
// @ts-expect-error text has no least value
min(adsDelivery, 'country');
// @ts-expect-error a boolean has no greatest value
max(telemetry, 'live');
// @ts-expect-error a date has no greatest value
max(telemetry, 'released');
// @ts-expect-error another contract's field
sum(adsClick, 'cost_micros');
// @ts-expect-error there is no such field
count(adsClick, { payed_by: 'card' });
// @ts-expect-error not among its valid values
count(adsClick, { paid_by: 'cash' });
// @ts-expect-error an integer is not text
count(telemetry, { build: '3' });
// @ts-expect-error conditions on decimals are not asked
count(telemetry, { seconds: 1.5 });
// @ts-expect-error the job does not read this contract
keyed.aggregate({ events: count(telemetry) });
// @ts-expect-error a measure is not text
keyed.aggregate({ events: 'count' });
// @ts-expect-error the parts have an order: the window is the last
timed.window(tumbling(hour).into('a'));
// @ts-expect-error a window has a table
keyed.aggregate({ n: count(adsClick) }).window(tumbling(hour));
// @ts-expect-error a window of another size
tumbling('week');
// @ts-expect-error a job has at least one window
keyed.aggregate({ n: count(adsClick) }).window();
// @ts-expect-error there is no such limit
topology('limits').limits({ maxRecords: 1 });
