/**
 * A real Kafka from its jars: Maven fetches them once into a cache, Java runs them. One broker or several, plain, with logins or TLS, by
 * configuration. Where Java or Maven are missing, `kafkaMissing` says so and the tests that need a broker are skipped, loudly.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Kafka, logLevel } from 'kafkajs';

const KAFKA = '4.3.1',
  LOG4J = '2.25.5';
const cache = path.join(os.homedir(), '.cache', 'tally-kafka', KAFKA),
  jars = path.join(cache, 'lib'),
  archive = path.join(cache, 'classes.jsa');

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tally</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${KAFKA}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>${LOG4J}</version></dependency>
  </dependencies>
</project>
`;

function runs(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

/** Why there can be no broker here; undefined when there can. Fetches the jars when they are not there yet. */
function prepareJars(): string | undefined {
  if (!runs('java', '-version')) return 'java is not installed';
  if (fs.existsSync(path.join(cache, 'complete'))) return undefined;
  if (!runs('mvn', '-v')) return 'mvn is not installed';
  fs.mkdirSync(cache, { recursive: true });
  const work = fs.mkdtempSync(path.join(cache, 'part-'));
  fs.writeFileSync(path.join(work, 'pom.xml'), POM);
  const done = spawnSync('mvn', ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${path.join(work, 'lib')}`], {
    cwd: work,
    encoding: 'utf8',
  });
  if (done.status === 0) {
    if (!fs.existsSync(jars)) fs.renameSync(path.join(work, 'lib'), jars);
    fs.writeFileSync(path.join(cache, 'complete'), '');
  }
  fs.rmSync(work, { recursive: true, force: true });
  return done.status === 0 ? undefined : `Kafka's jars cannot be had: ${done.stdout.slice(0, 300)}`;
}

export const kafkaMissing: string | undefined = prepareJars();
if (kafkaMissing !== undefined) process.stderr.write(`\nNOT TESTED against a real Kafka: ${kafkaMissing}.\n\n`);

export type Protocol = 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SSL' | 'SASL_SSL';
export interface KafkaSetup {
  readonly brokers?: number;
  /** A listener for each, beside the plain one of `plainUrl`. With SSL the client must have a certificate, with SASL_SSL it needs none. */
  readonly protocols?: readonly Protocol[];
  /** User and password for PLAIN and both kinds of SCRAM. */
  readonly users?: Readonly<Record<string, string>>;
  readonly config?: Readonly<Record<string, string>>;
  readonly heapMiB?: number;
  /** Ports that the brokers tell clients of the first listener to connect to: those of proxies in front of them. */
  readonly advertised?: readonly number[];
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });

/** The kernel kills a broker whose test died, where it can be asked to. */
const leash = runs('setpriv', '--pdeathsig', 'KILL', 'true') ? ['setpriv', '--pdeathsig', 'KILL'] : [];

export class Broker {
  readonly node: number;
  readonly dir: string;
  /** In the order of the protocols. */
  readonly ports: readonly number[];
  readonly plainPort: number;
  readonly #javaArgs: readonly string[];
  #child: ChildProcess | undefined;
  #closed: Promise<void> = Promise.resolve();

  constructor(node: number, dir: string, ports: readonly number[], plainPort: number, heapMiB: number) {
    this.node = node;
    this.dir = dir;
    this.ports = ports;
    this.plainPort = plainPort;
    const classes = fs.existsSync(archive)
      ? [`-XX:SharedArchiveFile=${archive}`]
      : [`-XX:ArchiveClassesAtExit=${path.join(dir, 'classes.jsa')}`];
    this.#javaArgs = [
      '-Xms64m',
      `-Xmx${heapMiB}m`,
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-Xshare:auto',
      '-Xlog:disable',
      ...classes,
    ];
  }

  start(): void {
    const args = [...leash, 'java', ...this.#javaArgs, '-cp', `${jars}/*`, 'kafka.Kafka', path.join(this.dir, 'server.properties')];
    const log = fs.openSync(path.join(this.dir, 'broker.log'), 'a');
    const child = spawn(args[0]!, args.slice(1), { stdio: ['ignore', log, log] });
    fs.closeSync(log);
    this.#child = child;
    const isMine = (): void => void child.kill('SIGKILL');
    process.once('exit', isMine);
    this.#closed = new Promise((resolve) => {
      child.once('close', () => {
        process.removeListener('exit', isMine);
        resolve();
      });
    });
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    this.#child?.kill(signal);
    await this.#closed;
    this.#child = undefined;
  }

  /** SIGSTOP and SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  get log(): string {
    return fs.readFileSync(path.join(this.dir, 'broker.log'), 'utf8');
  }
}

export class KafkaCluster {
  readonly dir: string;
  readonly brokers: readonly Broker[];
  readonly #client: Kafka;

  constructor(dir: string, brokers: readonly Broker[]) {
    this.dir = dir;
    this.brokers = brokers;
    this.#client = new Kafka({
      clientId: 'test',
      brokers: brokers.map((b) => `127.0.0.1:${b.plainPort}`),
      logLevel: logLevel.NOTHING,
      connectionTimeout: 1000,
      requestTimeout: 3000,
      retry: { initialRetryTime: 50, retries: 20, maxRetryTime: 500 },
    });
  }

  /** The listener of the n-th protocol. */
  url(n: number = 0): string {
    return `kafka://${this.brokers.map((b) => `127.0.0.1:${b.ports[n]!}`).join(',')}`;
  }

  get plainUrl(): string {
    return `kafka://${this.brokers.map((b) => `127.0.0.1:${b.plainPort}`).join(',')}`;
  }

  /** kafkajs on the plain listener. */
  get client(): Kafka {
    return this.#client;
  }

  /** Until every broker answers and knows the others. */
  async ready(): Promise<void> {
    const admin = this.#client.admin();
    for (let tries = 0; ; tries++) {
      try {
        await admin.connect();
        const { brokers } = await admin.describeCluster();
        if (brokers.length === this.brokers.length) return;
      } catch (error) {
        if (tries > 300) throw new Error(`the broker does not start:\n${this.brokers[0]!.log.slice(-3000)}`, { cause: error });
      } finally {
        await admin.disconnect();
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async createTopic(topic: string, partitions: number = 1, config: Readonly<Record<string, string>> = {}): Promise<void> {
    const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
    await this.admin((admin) =>
      admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: partitions, replicationFactor: this.brokers.length, configEntries }],
      }),
    );
  }

  async admin<T>(work: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
    const admin = this.#client.admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  async stop(): Promise<void> {
    const made = path.join(this.brokers[0]!.dir, 'classes.jsa');
    // Only an orderly end writes the archive of classes, which makes every later start twice as fast.
    const isFirst = !fs.existsSync(archive);
    await Promise.all(this.brokers.map((b) => b.kill(isFirst ? 'SIGTERM' : 'SIGKILL')));
    if (isFirst && fs.existsSync(made)) {
      fs.copyFileSync(made, `${archive}.${process.pid}`);
      fs.renameSync(`${archive}.${process.pid}`, archive);
    }
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function startKafka(setup: KafkaSetup = {}): Promise<KafkaCluster> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-kafka-')),
    count = setup.brokers ?? 1,
    protocols = setup.protocols ?? ['PLAINTEXT'];
  if (protocols.some((p) => p.endsWith('SSL'))) makeCertificates(dir);
  const portsEach = 2 + protocols.length,
    ports = await Promise.all(Array.from({ length: count * portsEach }, freePort)),
    portsOf = (i: number): number[] => ports.slice(i * portsEach, (i + 1) * portsEach);
  const voters = Array.from({ length: count }, (_, i) => `${i + 1}@127.0.0.1:${portsOf(i)[0]}`).join(',');
  const brokers = Array.from({ length: count }, (_, i) => {
    const nodeDir = path.join(dir, `broker-${i + 1}`),
      [controllerPort, plainPort, ...rest] = portsOf(i) as [number, number, ...number[]];
    fs.mkdirSync(nodeDir);
    const broker = new Broker(i + 1, nodeDir, rest, plainPort, setup.heapMiB ?? 320);
    const all = {
      ...basics(broker, count),
      ...listeners(broker, protocols, controllerPort, setup.advertised?.[i]),
      'controller.quorum.voters': voters,
      ...security(dir, setup, protocols),
      ...setup.config,
    };
    const text = Object.entries(all).map(([name, value]) => `${name}=${value}\n`);
    fs.writeFileSync(path.join(nodeDir, 'server.properties'), text.join(''));
    format(nodeDir, setup.users ?? {});
    broker.start();
    return broker;
  });
  const cluster = new KafkaCluster(dir, brokers);
  try {
    await cluster.ready();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

const listenerOf = (protocol: Protocol): string => `C${protocol.replace('_', '')}`;

function listeners(b: Broker, protocols: readonly Protocol[], controllerPort: number, told: number | undefined): Record<string, string> {
  const inner = `INNER://127.0.0.1:${b.plainPort}`,
    control = `CONTROLLER://127.0.0.1:${controllerPort}`,
    clients = (advertised: boolean): string[] =>
      protocols.map((p, n) => `${listenerOf(p)}://127.0.0.1:${advertised && n === 0 && told !== undefined ? told : b.ports[n]!}`);
  return {
    listeners: [...clients(false), inner, control].join(','),
    'advertised.listeners': [...clients(true), inner, control].join(','),
    'listener.security.protocol.map': [...protocols.map((p) => `${listenerOf(p)}:${p}`), 'INNER:PLAINTEXT', 'CONTROLLER:PLAINTEXT'].join(
      ',',
    ),
    'inter.broker.listener.name': 'INNER',
    'controller.listener.names': 'CONTROLLER',
  };
}

function basics(b: Broker, count: number): Record<string, string> {
  const replicas = String(count);
  return {
    'process.roles': 'broker,controller',
    'node.id': String(b.node),
    'log.dirs': path.join(b.dir, 'data'),
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.min.isr': '1',
    'min.insync.replicas': '1',
    'group.initial.rebalance.delay.ms': '0',
    'broker.session.timeout.ms': '2000',
    'broker.heartbeat.interval.ms': '500',
    'auto.create.topics.enable': 'false',
    'log.retention.hours': '-1',
    'log.cleaner.dedupe.buffer.size': String(8 * 1024 * 1024),
  };
}

const CLUSTER_ID = 'dGFsbHktdGVzdC1jbHVzdA';

/** By the same class data archive as the broker: its start is most of what formatting takes. */
function format(dir: string, users: Readonly<Record<string, string>>): void {
  const scram = Object.entries(users).flatMap(([name, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => ['--add-scram', `${mechanism}=[name=${name},password=${password}]`]),
  );
  const share = fs.existsSync(archive) ? [`-XX:SharedArchiveFile=${archive}`] : [];
  const args = ['-XX:TieredStopAtLevel=1', '-Xlog:disable', ...share, '-cp', `${jars}/*`, 'kafka.tools.StorageTool'];
  const done = spawnSync('java', [...args, 'format', '-t', CLUSTER_ID, '-c', path.join(dir, 'server.properties'), ...scram], {
    encoding: 'utf8',
  });
  if (done.status !== 0) throw new Error(`formatting the broker's storage failed: ${done.stdout}${done.stderr}`);
}

function security(dir: string, { users = {} }: KafkaSetup, protocols: readonly Protocol[]): Record<string, string> {
  const out: Record<string, string> = {},
    modules = 'org.apache.kafka.common.security';
  for (const protocol of protocols) {
    const listener = `listener.name.${listenerOf(protocol).toLowerCase()}`;
    if (protocol.startsWith('SASL')) {
      const names = Object.entries(users).map(([name, password]) => `user_${name}="${password}"`);
      const jaas = (mechanism: string, module: string): void => {
        out[`${listener}.${mechanism}.sasl.jaas.config`] = `${modules}.${module} ;`;
      };
      out[`${listener}.sasl.enabled.mechanisms`] = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER';
      jaas('plain', `plain.PlainLoginModule required ${names.join(' ')}`);
      jaas('scram-sha-256', 'scram.ScramLoginModule required');
      jaas('scram-sha-512', 'scram.ScramLoginModule required');
      jaas('oauthbearer', 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker"');
    }
    if (protocol.endsWith('SSL')) {
      out[`${listener}.ssl.keystore.type`] = 'PEM';
      out[`${listener}.ssl.keystore.location`] = path.join(dir, 'broker.pem');
      out[`${listener}.ssl.truststore.type`] = 'PEM';
      out[`${listener}.ssl.truststore.location`] = path.join(dir, 'ca.crt');
      out[`${listener}.ssl.client.auth`] = protocol === 'SSL' ? 'required' : 'none';
    }
  }
  return out;
}

/** In the directory: ca.crt, broker.pem (for localhost and 127.0.0.1), client.crt and client.key, all signed by the one authority. */
function makeCertificates(dir: string): void {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=tally test authority');
  fs.writeFileSync(path.join(dir, 'names.ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  for (const name of ['broker', 'client']) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'],
      ...['-out', `${name}.crt`, '-days', '2', '-extfile', 'names.ext'],
    );
  }
  const parts = ['broker.key', 'broker.crt', 'ca.crt'].map((file) => fs.readFileSync(path.join(dir, file), 'utf8'));
  fs.writeFileSync(path.join(dir, 'broker.pem'), parts.join(''));
}

/** Runs a Java program of one source file against the client's jars; what it writes is returned. */
export function runJava(file: string, ...args: readonly string[]): string {
  return execFileSync('java', ['-XX:TieredStopAtLevel=1', '-cp', `${jars}/*`, file, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 64 * 1024 * 1024,
  });
}
