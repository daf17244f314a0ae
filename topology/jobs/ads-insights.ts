/** Impressions, clicks and conversions, with what they cost and what they were worth, by ad, country and placement. */
import { adsClick, adsConversion, adsDelivery } from '../../contracts/contracts.gen.ts';
import { count, day, days, hour, minutes, sum, topology, tumbling } from '../job.ts';

export default topology('ads-insights')
  .read(adsDelivery, adsClick, adsConversion)
  .dedupe({ by: 'event_id', horizon: days(30) })
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
