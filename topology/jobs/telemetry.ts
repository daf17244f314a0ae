/** How well ads play, by region and player build; the days are Berlin's, so that two of them a year are not 24 hours long. */
import { telemetry } from '../../contracts/contracts.gen.ts';
import { count, day, days, hour, max, min, minutes, sum, topology, tumbling } from '../job.ts';

export default topology('telemetry')
  .read(telemetry)
  .dedupe({ by: 'event_id', horizon: days(14) })
  .watermark({ by: 'event_time', outOfOrder: minutes(10), fence: minutes(30) })
  .keyBy('region', 'build', 'live')
  .aggregate({
    events: count(telemetry),
    starts: count(telemetry, { kind: 'start' }),
    errors: count(telemetry, { kind: 'error' }),
    stall_seconds: sum(telemetry, 'seconds', { kind: 'stall' }),
    fastest_start_seconds: min(telemetry, 'seconds', { kind: 'start' }),
    slowest_start_seconds: max(telemetry, 'seconds', { kind: 'start' }),
    bytes: sum(telemetry, 'bytes'),
    best_bitrate_mbps: max(telemetry, 'bitrate_mbps'),
    first_at: min(telemetry, 'event_time'),
    last_at: max(telemetry, 'event_time'),
  })
  .window(tumbling(hour).into('telemetry_hourly'), tumbling(day, { zone: 'Europe/Berlin' }).into('telemetry_daily'));
