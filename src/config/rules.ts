/** What several settings must hold together. Said in the words in which they were given: flags to who gave flags. */
import { usage } from '../errors.ts';
import type { Config } from './schema.ts';
import { BY_NAME } from './settings.ts';
import type { Origin } from './sources.ts';

type Origins = ReadonlyMap<string, Origin>;

export function checkRules(config: Config, origins: Origins): void {
  const name = (setting: string): string => nameIn(origins, setting);
  if (config.finish && !config.untilEnd)
    throw usage(
      'E_USAGE',
      `${name('finish')} goes with ${name('untilEnd')}: a run without an end is never complete`,
      `add ${name('untilEnd')}`,
    );
  if (config.stop.drain > config.stop.within)
    throw usage(
      'E_CONFIG',
      `${name('stop.drain')} is longer than ${name('stop.within')}`,
      'a stop within that time cannot wait longer than it',
    );
  if (config.snapshots.dir !== undefined && config.clickhouse.url === undefined)
    throw usage(
      'E_USAGE',
      `${name('snapshots.dir')} goes with ${name('clickhouse.url')}: the embedded ClickHouse lies in the data directory, and is lost with it`,
      `copy the whole data directory while no run is on; or write to a server: ${name('clickhouse.url')} URL`,
    );
  for (const secret of ['clickhouse.password', 'kafka.tls.keyPassphrase', 'kafka.sasl.password', 'kafka.sasl.token'])
    if (isGiven(origins, secret) && isGiven(origins, `${secret}File`))
      throw usage('E_CONFIG', `both ${name(secret)} and ${name(`${secret}File`)} are given`, 'give one of them');
  checkKafka(config, origins);
}

function checkKafka({ log, kafka }: Config, origins: Origins): void {
  const name = (setting: string): string => nameIn(origins, setting),
    { sasl } = kafka;
  if (log !== undefined && !log.startsWith('kafka://')) {
    const vain = [...origins].find(([setting, { kind }]) => kind === 'flag' && setting.startsWith('kafka.'));
    if (vain !== undefined)
      throw usage('E_USAGE', `${vain[1].where} goes with --log kafka://...: the log is the directory ${log}`, `leave out ${vain[1].where}`);
  }
  const needs = (what: string, ...settings: readonly string[]): void => {
    if (!settings.some((setting) => isGiven(origins, setting)))
      throw usage('E_CONFIG', `${what} needs ${settings.map(name).join(' or ')}`, 'tally config show lists what is set, and where');
  };
  const isGivenOf = (group: string): boolean => [...origins.keys()].some((s) => s.startsWith(group) && isGiven(origins, s));
  if (isGiven(origins, 'kafka.tls.certFile')) needs(name('kafka.tls.certFile'), 'kafka.tls.keyFile');
  if (isGiven(origins, 'kafka.tls.keyFile')) needs(name('kafka.tls.keyFile'), 'kafka.tls.certFile');
  if (isGivenOf('kafka.sasl.')) needs('a login at Kafka', 'kafka.sasl.mechanism');
  if (sasl.mechanism === undefined) return;
  if (sasl.mechanism === 'OAUTHBEARER') return needs(sasl.mechanism, 'kafka.sasl.tokenFile', 'kafka.sasl.token');
  needs(sasl.mechanism, 'kafka.sasl.user');
  needs(sasl.mechanism, 'kafka.sasl.passwordFile', 'kafka.sasl.password');
}

const isGiven = (origins: Origins, setting: string): boolean => origins.get(setting)!.kind !== 'default';

/** A flag by its flag, a secret by its variable; else as in a file. */
function nameIn(origins: Origins, setting: string): string {
  const { about, variable } = BY_NAME.get(setting)!,
    { kind, where } = origins.get(setting)!;
  if (kind === 'flag' || kind === 'environment') return where;
  if (about.isSecret === true) return variable;
  return kind === 'default' && about.flag !== undefined ? `--${about.flag}` : setting;
}
