/**
 * The shipped ads job with a short memory: the soak's events pass through an hour in each phase, so that within minutes as many identities are
 * forgotten as come in, and memory that still grows is a leak.
 */
import { adsClick, adsConversion, adsDelivery } from '../contracts/contracts.gen.ts';
import { count, day, hour, hours, minutes, sum, topology, tumbling } from '../topology/job.ts';

export default topology('ads-soak')
  .read(adsDelivery, adsClick, adsConversion)
  .dedupe({ by: 'event_id', horizon: hours(1) })
  .watermark({ by: 'event_time', outOfOrder: minutes(5) })
  .keyBy('advertiser_id', 'campaign_id', 'ad_id', 'country', 'placement')
  .aggregate({
    impressions: count(adsDelivery),
    clicks: count(adsClick),
    conversions: count(adsConversion),
    spend_micros: sum(adsDelivery, 'cost_micros'),
    value_micros: sum(adsConversion, 'value_micros'),
  })
  .window(tumbling(hour).into('ads_hourly'), tumbling(day, { zone: 'UTC' }).into('ads_daily'));
