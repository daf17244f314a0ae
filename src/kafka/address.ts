/** `kafka://host:port[,host:port...]`: the brokers that are asked first. The cluster says which others there are. */
import { usage } from '../errors.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

const SCHEME = 'kafka://';
const DEFAULT_PORT = 9092;

export const isKafkaUrl = (text: string): boolean => text.startsWith(SCHEME);

export function parseKafkaUrl(url: string): Address[] {
  const rest = url.slice(SCHEME.length).replace(/\/$/, '');
  if (!isKafkaUrl(url) || rest === '') throw wrong(url);
  // What stands before an @ may be a password: it is not repeated.
  if (rest.includes('@'))
    throw usage(
      'E_KAFKA_ADDRESS',
      'The address of Kafka holds a user or a password.',
      'Addresses are shown and recorded: name the user, and the file of the password, by their own options.',
    );
  return rest.split(',').map((part) => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/?#[\]\s]+))(?::(\d{1,5}))?$/.exec(part);
    const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
    if (match === null || port < 1 || port > 65_535) throw wrong(url);
    return { host: match[1] ?? match[2]!, port };
  });
}

export function showAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function wrong(url: string): Error {
  return usage('E_KAFKA_ADDRESS', `'${url}' is no address of Kafka.`, 'It looks like kafka://broker-1:9092,broker-2:9092.');
}
