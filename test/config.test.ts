/** Settings: where they come from, which of them wins, what is refused, and that no secret is ever shown. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { configFlags } from '../src/cli/config-flags.ts';
import { run } from '../src/cli/run.ts';
import { configurationPage } from '../src/config/document.ts';
import { shards } from '../src/config/values.ts';
import { loadConfig, shown } from '../src/config/load.ts';
import { clickhouseVariables, kafkaSecurity, loopBounds } from '../src/config/parts.ts';
import { BY_NAME, SETTINGS } from '../src/config/settings.ts';
import { TallyError } from '../src/errors.ts';

const ROOT = path.join(import.meta.dirname, '..'),
  dir = mkdtempSync(path.join(tmpdir(), 'tally-config-'));
afterAll(() => rmSync(dir, { recursive: true }));

function fileOf(text: string, name = 'tally.yaml'): string {
  const file = path.join(dir, name);
  writeFileSync(file, text);
  return file;
}

function refusal(load: () => unknown): TallyError {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(TallyError);
    return error as TallyError;
  }
  return expect.fail('it was not refused');
}

const file = (text: string): { config: string } => ({ config: fileOf(text) });

test('without anything given every setting has its default, and those are the bounds of a run', () => {
  const { config, origins } = loadConfig({}, {});
  expect(new Set([...origins.values()].map((o) => o.kind))).toEqual(new Set(['default']));
  expect(config.commit.events).toBe(1_000_000);
  expect(loopBounds(config)).toEqual({
    commitMs: 2000,
    caughtUpMs: 250,
    provisionalMs: 10_000,
    quarantineBytesMax: 64 * 2 ** 20,
    touchedBytesMax: 192 * 2 ** 20,
    outboxBytesMax: 96 * 2 ** 20,
    stopDrainMs: 5000,
  });
  expect(kafkaSecurity(config)).toEqual({});
});

test('a flag wins over the environment, the environment over the file, the file over the default, each by itself', () => {
  const words = { ...file('shards: 1\ndata: /file\ncommit:\n  behind: 3s\n  events: 5\n'), shards: '3' };
  const { config, origins } = loadConfig(words, { TALLY_SHARDS: '2', TALLY_DATA: '/environment', TALLY_COMMIT_CAUGHT_UP: '', PATH: 'x' });
  expect(config).toMatchObject({
    shards: { count: 3, owned: null, isGroup: false },
    data: '/environment',
    commit: { events: 5, behind: 3000, caughtUp: 250, provisional: 10_000 },
  });
  expect(['shards', 'data', 'commit.behind', 'commit.caughtUp'].map((name) => origins.get(name))).toEqual([
    { kind: 'flag', where: '--shards' },
    { kind: 'environment', where: 'TALLY_DATA' },
    { kind: 'file', where: `${words.config}:4` },
    { kind: 'default', where: '' },
  ]);
});

test('whatever is given where, the nearest wins', () => {
  const layers = fc.record({ flag: fc.option(fc.nat(1000)), environment: fc.option(fc.nat(1000)), file: fc.option(fc.nat(1000)) });
  fc.assert(
    fc.property(layers, ({ flag, environment, file: inFile }) => {
      const n = (x: number | null): string | undefined => (x === null ? undefined : String(x + 1));
      const { config } = loadConfig(
        { config: fileOf(inFile === null ? '{}' : `commit: { events: ${n(inFile)} }`), 'commit-events': n(flag) },
        { TALLY_COMMIT_EVENTS: n(environment) },
      );
      expect(config.commit.events).toBe((flag ?? environment ?? inFile ?? 999_999) + 1);
    }),
    { numRuns: 50 },
  );
});

test('JSON is read as YAML is, and the file may be named by the environment', () => {
  const json = fileOf(JSON.stringify({ log: 'kafka://b:9092', kafka: { maxSkew: '2h' }, untilEnd: true }), 'tally.json');
  const { config, file: read } = loadConfig({}, { TALLY_CONFIG: json });
  expect(config).toMatchObject({ log: 'kafka://b:9092', kafka: { maxSkew: 7_200_000 }, untilEnd: true });
  expect(read).toBe(json);
});

test('paths in a file are relative to the file, those of flags and variables to where one stands', () => {
  const { config } = loadConfig(file('log: ./log\ndata: /abs\nkafka: { tls: { caFile: ca.pem } }\n'), { TALLY_CONTRACTS: './contracts' });
  expect(config).toMatchObject({
    log: path.join(dir, 'log'),
    data: '/abs',
    contracts: './contracts',
    kafka: { tls: { caFile: path.join(dir, 'ca.pem') } },
  });
});

test('times and sizes are taken with their units, and shown as they would be written', () => {
  const { config } = loadConfig(file('commit: { behind: 90s, caughtUp: 1.5s }\nmemory: { outbox: 2GiB, late: 1536KiB }\n'), {});
  expect(config).toMatchObject({ commit: { behind: 90_000, caughtUp: 1500 }, memory: { outbox: 2 ** 31, late: 1536 * 1024 } });
  expect(['commit.behind', 'commit.caughtUp', 'memory.outbox', 'memory.late'].map((n) => shown(config, BY_NAME.get(n)!))).toEqual([
    '90s',
    '1500ms',
    '2GiB',
    '1536KiB',
  ]);
});

for (const [text, sentence] of [
  ['shard: 4', /tally\.yaml:1: there is no setting shard; did you mean "shards"\?/],
  ['log: x\ncommit:\n  evnts: 4', /tally\.yaml:3: there is no setting commit\.evnts; did you mean "commit\.events"\?/],
  ['commit.events: 4', /tally\.yaml:1: there is no setting commit\.events/],
  [
    'shards: many',
    /tally\.yaml:1: shards is a whole number from 1 to 1024, or which of them run here \(0-3\/16, ordinal\/16, group\/16\), not many/,
  ],
  ['shards: 0', /shards is a whole number from 1 to 1024, or which of them run here \(0-3\/16, ordinal\/16, group\/16\), not 0/],
  ['shards: 1.5', /shards is a whole number/],
  [
    'shards: [1]',
    /shards is a whole number from 1 to 1024, or which of them run here \(0-3\/16, ordinal\/16, group\/16\), not a list or a group/,
  ],
  ['untilEnd: yes', /untilEnd is true or false, not yes/],
  ['commit: { behind: 5 }', /commit\.behind is a time from 10ms to 10m, not 5/],
  ['commit: { behind: 5 parsecs }', /commit\.behind is a time from 10ms to 10m, not 5 parsecs/],
  ['commit: { behind: 11m }', /commit\.behind is a time from 10ms to 10m/],
  ['memory: { outbox: 1TB }', /memory\.outbox is a size from 1MiB to 64GiB, not 1TB/],
  ['commit: 5', /tally\.yaml:1: commit is no group of settings/],
  ['- shards', /the file is no group of settings/],
  ['kafka: { onGap: go }', /kafka\.onGap is stop or record, not go/],
  ['kafka: { from: yesterday }', /kafka\.from is earliest, latest or a time such as .*, not yesterday/],
  ['http: { listen: 9464 }', /http\.listen is an address such as 127\.0\.0\.1:9464, not 9464/],
  ['http: { listen: "h:70000" }', /http\.listen is an address/],
  ['a: b: c', /tally\.yaml:1: not YAML or JSON/],
  ['shards: 1\nshards: 2', /tally\.yaml:2: not YAML or JSON: .*unique/],
  ['stop: { drain: 10s, within: 5s }', /stop\.drain is longer than stop\.within/],
  ['kafka: { tls: { certFile: c } }', /kafka\.tls\.certFile needs kafka\.tls\.keyFile/],
  ['kafka: { sasl: { user: u } }', /a login at Kafka needs kafka\.sasl\.mechanism/],
  ['kafka: { sasl: { mechanism: PLAIN, user: u } }', /PLAIN needs kafka\.sasl\.passwordFile or TALLY_KAFKA_SASL_PASSWORD/],
  ['kafka: { sasl: { mechanism: OAUTHBEARER } }', /OAUTHBEARER needs kafka\.sasl\.tokenFile or TALLY_KAFKA_SASL_TOKEN/],
] as const)
  test(`a file is refused with place and reason: ${text.replaceAll('\n', ' | ')}`, () => {
    const error = refusal(() => loadConfig(file(text), {}));
    expect(error).toMatchObject({ code: 'E_CONFIG', exit: 2, message: expect.stringMatching(sentence) });
    expect(error.hint).not.toBe('');
  });

test('a wrong value is refused where it stands, though a nearer one would win', () => {
  expect(refusal(() => loadConfig({ ...file('shards: many'), shards: '4' }, {})).message).toMatch(/tally\.yaml:1: shards/);
  expect(refusal(() => loadConfig({ shards: '4' }, { TALLY_SHARDS: 'many' })).message).toBe(
    'TALLY_SHARDS is a whole number from 1 to 1024, or which of them run here (0-3/16, ordinal/16, group/16), not many',
  );
});

test('whatever stands in a file, it is taken or refused with a reason, never a crash', () => {
  const keys = fc.constantFrom(...SETTINGS.flatMap((s) => [s.path[0]!, s.path.at(-1)!]), '__proto__', 'constructor', 'toString', '');
  const value = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 3 },
      fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.constantFrom(null, '5s', '1MiB', 'kafka://x', [])),
      fc.array(fc.tuple(keys, tie('node')), { maxLength: 4 }).map((all) => Object.fromEntries(all) as unknown),
    ),
  })).node;
  const written = fc.oneof(
    value.map((v) => JSON.stringify(v) ?? ''),
    fc.string(),
    fc.string({ unit: fc.constantFrom(...'{}[]:,-&*!|>#%@` \n\ta1"') }),
  );
  fc.assert(
    fc.property(written, (text) => {
      try {
        loadConfig(file(text), {});
      } catch (error) {
        expect(error, text).toBeInstanceOf(TallyError);
        expect((error as TallyError).code).toMatch(/^E_(CONFIG|USAGE)$/);
      }
    }),
    { numRuns: 1000 },
  );
});

test('a slip in the environment is told; what Kubernetes sets for a service is none', () => {
  const error = refusal(() => loadConfig({}, { TALLY_SHARD: '4' }));
  expect(error).toMatchObject({
    code: 'E_CONFIG',
    message: 'the environment has TALLY_SHARD, which is no setting; did you mean "TALLY_SHARDS"?',
  });
  const service = {
    TALLY_SERVICE_HOST: '10.0.0.1',
    TALLY_SERVICE_PORT: '9464',
    TALLY_SERVICE_PORT_METRICS: '9464',
    TALLY_PORT: 'tcp://10.0.0.1:9464',
    TALLY_PORT_9464_TCP: 'tcp://10.0.0.1:9464',
    TALLY_PORT_9464_TCP_ADDR: '10.0.0.1',
    TALLY_HTTP_PORT_9464_TCP_PROTO: 'tcp',
    TALLY_DEBUG: '1',
  };
  expect(loadConfig({}, service).config).toEqual(loadConfig({}, {}).config);
  expect(SETTINGS.filter((s) => /_(PORT|HOST)$/.test(s.variable))).toEqual([]);
});

test('flags that need another, or belong to another log, are told as flags', () => {
  expect(refusal(() => loadConfig({ finish: true }, {}))).toMatchObject({
    code: 'E_USAGE',
    message: expect.stringContaining('--until-end'),
  });
  expect(refusal(() => loadConfig({ finish: true }, { TALLY_UNTIL_END: 'false' })).message).toContain('TALLY_UNTIL_END');
  expect(refusal(() => loadConfig({ log: './log', from: 'latest' }, {})).message).toMatch(/^--from goes with --log kafka:/);
  expect(loadConfig({ log: 'kafka://b', from: '2026-01-31T00:00:00Z' }, {}).config.kafka.from).toBe(Date.UTC(2026, 0, 31));
});

const SECRETS = SETTINGS.filter((s) => s.about.isSecret === true);

test('no secret is taken from a file or a flag, and each can come by a file of its own', () => {
  expect(SECRETS.length).toBeGreaterThanOrEqual(4);
  for (const { name, path: at, about } of SECRETS) {
    const text = JSON.stringify(at.reduceRight<unknown>((inner, key) => ({ [key]: inner }), 'hunter2'));
    const error = refusal(() => loadConfig(file(text), {}));
    expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining(`${name} is a secret`) });
    expect(error.message + error.hint).not.toContain('hunter2');
    expect(about.flag).toBeUndefined();
    expect(BY_NAME.has(`${name}File`), name).toBe(true);
  }
});

test('no secret is shown, in words or as JSON, nor the password in a URL', () => {
  const env = Object.fromEntries(SECRETS.map((s) => [s.variable, 'hunter2']));
  const config = fileOf(
    'log: kafka://user:hunter2@broker\nclickhouse: { url: "https://me:hunter2@host:8443/x" }\nkafka: { sasl: { mechanism: PLAIN, user: me } }\n',
  );
  for (const more of [[], ['--json']]) {
    const done = spawnSync(process.execPath, [path.join(ROOT, 'src/cli/main.ts'), 'config', 'show', '--config', config, ...more], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], ...env },
    });
    expect(done.status, done.stderr).toBe(0);
    expect(done.stdout).not.toContain('hunter2');
    for (const { name, variable } of SECRETS) {
      expect(done.stdout).toContain(variable);
      expect(done.stdout).toContain(name);
    }
    expect(done.stdout.match(/\(hidden\)/g)!.length).toBe(SECRETS.length + 2);
    expect(done.stdout).toContain('https://me:(hidden)@host:8443/x');
  }
  const error = refusal(() => loadConfig({ http: 'http://me:hunter2@x' }, {}));
  expect(error.message).not.toContain('hunter2');
});

test('a secret goes on by its place, not by its value', () => {
  const tls = 'kafka: { tls: { keyFile: k, certFile: c }, sasl: { mechanism: SCRAM-SHA-512, user: me } }';
  const { config } = loadConfig(file(tls), { TALLY_KAFKA_SASL_PASSWORD: 'hunter2', TALLY_KAFKA_TLS_KEY_PASSPHRASE_FILE: '/run/pass' });
  expect(kafkaSecurity(config)).toEqual({
    tls: {
      caFile: undefined,
      certFile: path.join(dir, 'c'),
      keyFile: path.join(dir, 'k'),
      serverName: undefined,
      keyPassphrase: { file: '/run/pass' },
    },
    sasl: { mechanism: 'SCRAM-SHA-512', user: 'me', password: { env: 'TALLY_KAFKA_SASL_PASSWORD' } },
  });
  const both = file('kafka: { sasl: { mechanism: PLAIN, user: me, passwordFile: p } }');
  expect(refusal(() => loadConfig(both, { TALLY_KAFKA_SASL_PASSWORD: 'hunter2' })).message).toBe(
    'both TALLY_KAFKA_SASL_PASSWORD and kafka.sasl.passwordFile are given',
  );
  expect(clickhouseVariables(loadConfig(file('clickhouse: { passwordFile: pw }'), {}).config)).toEqual({
    TALLY_CLICKHOUSE_PASSWORD_FILE: path.join(dir, 'pw'),
  });
});

test('shards are all of a number, or which of them run here', () => {
  const of = (text: string): unknown => loadConfig({ shards: text }, {}).config.shards;
  expect(of('16')).toEqual({ count: 16, owned: null, isGroup: false });
  expect(of('3/16')).toEqual({ count: 16, owned: [3], isGroup: false });
  expect(of('0-3/16')).toEqual({ count: 16, owned: [0, 1, 2, 3], isGroup: false });
  expect(of('group/16')).toEqual({ count: 16, owned: null, isGroup: true });
  for (const wrong of ['group', 'group/0', '4-3/16', '16/16', '0-16/16', '0/2000', '1,2/4', '/4', '-1/4'])
    expect(refusal(() => of(wrong)).message).toMatch(/--shards is a whole number/);
});

test('in a set of pods the number of the host says which shards are its own', () => {
  const kind = shards({ help: 'h' }, () => 'tally-2');
  expect(kind.parse('ordinal/8')).toEqual({ count: 8, owned: [2], isGroup: false });
  expect(kind.parse('ordinal:3/8')).toEqual({ count: 8, owned: [2, 5], isGroup: false });
  expect(kind.safeParse('ordinal:2/8').success).toBe(false);
  expect(kind.safeParse('ordinal:9/8').success).toBe(false);
  expect(shards({ help: 'h' }, () => 'laptop').safeParse('ordinal/8').success).toBe(false);
});

test('config show says what it knows of every setting, and where it is from', () => {
  const config = fileOf('shards: 4\nhttp: { listen: "[::1]:9464" }\n');
  const words = ['config', 'show', '--config', config, '--commit-events', '7', '--until-end', '--json'];
  const done = spawnSync(process.execPath, [path.join(ROOT, 'src/cli/main.ts'), ...words], { encoding: 'utf8' });
  const { settings } = JSON.parse(done.stdout) as { settings: { name: string }[] };
  expect(settings.map((s) => s.name)).toEqual(SETTINGS.map((s) => s.name));
  const of = (name: string): unknown => settings.find((s) => s.name === name);
  expect(of('shards')).toEqual({
    name: 'shards',
    value: '4',
    origin: 'file',
    where: `${config}:1`,
    variable: 'TALLY_SHARDS',
    flag: '--shards',
  });
  expect(of('commit.events')).toMatchObject({ value: 7, origin: 'flag', where: '--commit-events' });
  expect(of('untilEnd')).toMatchObject({ value: true, origin: 'flag', where: '--until-end' });
  expect(of('http.listen')).toMatchObject({ value: '[::1]:9464', origin: 'file' });
  expect(of('commit.behind')).toMatchObject({ value: '2s', origin: 'default', where: null });
  expect(of('data')).toMatchObject({ value: null, origin: 'default' });
});

test('every flag of a run that is a setting is one of the schema, with its default in its help', () => {
  expect(Object.keys(run.options).filter((name) => name !== 'json')).toEqual(Object.keys(configFlags()));
  for (const { about } of SETTINGS.filter((s) => s.about.flag !== undefined)) {
    const option = run.options[about.flag!]!;
    expect(option.type).toBe(about.placeholder === undefined ? 'boolean' : 'string');
    if (about.placeholder !== undefined && about.default !== undefined) expect(option.help).toContain(`(${about.default})`);
  }
});

test('the page about settings names each of them, and is the one that is kept', () => {
  const page = configurationPage();
  for (const { name, variable, about } of SETTINGS)
    for (const word of [`\`${name}\``, `\`${variable}\``, about.help]) expect(page).toContain(word);
  expect(readFileSync(path.join(ROOT, 'docs/configuration.md'), 'utf8')).toBe(page);
});
