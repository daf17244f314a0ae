/**
 * What people with Docker get, held against the program as far as it goes without Docker: the image's files are put together by hand, by
 * the Dockerfile's own lines, and run as its user over a tree that this user cannot write. Where hadolint, check-jsonschema, promtool or
 * Docker are installed, they have their say too.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { startServer } from './clickhouse-server-fixture.ts';

const root = path.dirname(import.meta.dirname);
const at = (...parts: string[]): string => path.join(root, ...parts);
const read = (file: string): string => fs.readFileSync(at(file), 'utf8');
const has = (tool: string): boolean => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;
const said = (tool: string, ...words: string[]): [status: number | null, output: string] => {
  const { status, stdout, stderr } = spawnSync(tool, words, { cwd: root, encoding: 'utf8' });
  return [status, stdout + stderr];
};
const without = (tool: string): string => (has(tool) ? '' : ` [SKIPPED: ${tool} is not installed here]`);

interface Service {
  readonly image?: string;
  readonly command?: string[];
  readonly entrypoint?: string[];
  readonly environment?: Record<string, string>;
  readonly volumes?: string[];
  readonly secrets?: string[];
  readonly depends_on?: Record<string, { condition: string }>;
  readonly read_only?: boolean;
  readonly cap_drop?: string[];
  readonly ports?: string[];
  readonly stop_grace_period?: string;
}
interface Compose {
  readonly services: Record<string, Service>;
  readonly volumes: Record<string, unknown>;
  readonly secrets: Record<string, { file: string }>;
}
const compose = parse(read('docker-compose.yml'), { merge: true }) as Compose;
const services = Object.entries(compose.services);

/** Instructions of the Dockerfile with their stage, long lines joined. */
const instructions = read('Dockerfile')
  .replaceAll(/^\s*#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, '')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => ({ word: line.split(' ')[0]!, rest: line.slice(line.indexOf(' ') + 1) }));
const copied = instructions
  .filter(({ word, rest }) => word === 'COPY' && !rest.startsWith('--from'))
  .flatMap(({ rest }) => rest.split(' ').slice(0, -1));

let image: string;
beforeAll(() => {
  image = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-image-'));
});
afterAll(() => fs.rmSync(image, { recursive: true, force: true }));

test('images are pinned, and Node is the one that the program is tested with', () => {
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version: string }> };
  const bases = instructions.filter(({ word }) => word === 'FROM').map(({ rest }) => rest.split(' ')[0]!);
  const stages = instructions.filter(({ word }) => word === 'FROM').map(({ rest }) => rest.split(' AS ')[1]);
  expect(bases.length).toBeGreaterThan(3);
  for (const base of bases)
    if (!stages.includes(base)) expect(base).toBe(`node:${lock.packages['node_modules/node']!.version}-bookworm-slim`);
  for (const [name, { image: of }] of services) if (of !== 'tally') expect(of, name).toMatch(/^[a-z/-]+:v?\d+\.\d+(\.\d+)?$/);
});

test('the context has what is copied, and nothing that is not', () => {
  const ignore = read('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  expect(ignore[0]).toBe('*');
  expect([...new Set(copied)].toSorted()).toEqual(
    ignore
      .slice(1)
      .map((line) => line.slice(1))
      .toSorted(),
  );
  for (const name of copied) expect(fs.existsSync(at(name)), name).toBe(true);
});

test(
  'what the image is made of runs as its user, over a tree that it cannot write, and counts into a server',
  { timeout: 180_000 },
  async () => {
    const user = /^(\d+):(\d+)$/.exec(instructions.findLast(({ word }) => word === 'USER')!.rest)!;
    expect(Number(user[1])).toBeGreaterThan(0);
    const app = path.join(image, 'tally'),
      build = path.join(image, 'build'),
      data = path.join(image, 'data');
    for (const dir of [app, build, data]) fs.mkdirSync(dir);
    for (const name of copied) fs.cpSync(at(name), path.join(build, name), { recursive: true });
    fs.symlinkSync(at('node_modules'), path.join(build, 'node_modules'));
    execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: build, stdio: 'pipe' });
    for (const name of ['package.json', 'bin']) fs.cpSync(path.join(build, name), path.join(app, name), { recursive: true });
    fs.cpSync(path.join(build, 'dist'), path.join(app, 'dist'), { recursive: true });
    installWithoutEngine(path.join(app, 'node_modules'));
    const isRoot = process.getuid?.() === 0;
    const node = path.join(image, 'node');
    fs.copyFileSync(process.execPath, node);
    fs.chmodSync(node, 0o755);
    fs.chmodSync(image, 0o755);
    if (isRoot) fs.chownSync(data, Number(user[1]), Number(user[2]));
    else execFileSync('chmod', ['-R', 'a-w', app]);
    const server = await startServer();
    const tally = (...words: string[]): { status: number | null; stdout: string; stderr: string } => {
      const asUser = isRoot ? ['setpriv', `--reuid=${user[1]}`, `--regid=${user[2]}`, '--clear-groups'] : [];
      const [file, ...rest] = [...asUser, node, path.join(app, 'bin', 'tally.mjs'), ...words];
      return spawnSync(file!, rest, { cwd: '/', encoding: 'utf8', env: { PATH: process.env['PATH'], TALLY_CLICKHOUSE_PASSWORD: 'w' } });
    };
    try {
      const log = path.join(data, 'log'),
        url = `http://writer@${new URL(server.url).host}/tally`;
      expect(tally('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d/) });
      expect(tally('generate', '--job', 'ads-insights', '--log', log, '--events', '2000')).toMatchObject({ status: 0 });
      expect(tally('clickhouse', 'migrate', 'ads-insights', '--clickhouse', url)).toMatchObject({ status: 0 });
      const ran = tally('run', 'ads-insights', '--log', log, '--data', data, '--clickhouse', url, '--until-end', '--finish');
      expect([ran.status, ran.stderr]).toEqual([0, expect.stringMatching(/records/)]);
      expect(tally('verify', 'ads-insights', '--log', log, '--data', data, '--clickhouse', url)).toMatchObject({ status: 0 });
      // Without the engine, and said so.
      expect(tally('run', 'ads-insights', '--log', log, '--data', path.join(data, 'other')).stderr).toMatch(/E_ENGINE_MISSING/);
    } finally {
      await server.close();
      if (!isRoot) execFileSync('chmod', ['-R', 'u+w', app]);
    }
  },
);

/** What `npm ci --omit=dev` installs, less the engine, as links. */
function installWithoutEngine(into: string): void {
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { dev?: boolean; devOptional?: boolean }> };
  for (const [place, entry] of Object.entries(lock.packages)) {
    const name = place.slice('node_modules/'.length);
    if (!place.startsWith('node_modules/') || name.includes('node_modules/') || entry.dev === true || entry.devOptional === true) continue;
    if (/^(@chdb\/|chdb$|node$|node-bin)/.test(name) || !fs.existsSync(at(place))) continue;
    fs.mkdirSync(path.dirname(path.join(into, name)), { recursive: true });
    fs.cpSync(at(place), path.join(into, name), { recursive: true, filter: (file) => !/\/rocksdb\/(deps|prebuilds\.zip)/.test(file) });
  }
}

test('what compose mounts, keeps secret and waits for is there, and Tally knows each variable that it is given', () => {
  const document = read('docs/configuration.md');
  for (const [name, s] of services) {
    for (const volume of s.volumes ?? []) {
      const from = volume.split(':')[0]!;
      if (from.startsWith('.')) expect(fs.existsSync(at(from)), `${name}: ${from}`).toBe(true);
      else expect(compose.volumes, name).toHaveProperty(from);
    }
    for (const secret of s.secrets ?? []) expect(compose.secrets, name).toHaveProperty(secret);
    for (const other of Object.keys(s.depends_on ?? {})) expect(compose.services, name).toHaveProperty(other);
    for (const port of s.ports ?? []) expect(port, `${name} is for this machine alone`).toMatch(/^127\.0\.0\.1:/);
    if (s.image !== 'tally') continue;
    expect([s.read_only, s.cap_drop], name).toEqual([true, ['ALL']]);
    for (const [variable, value] of Object.entries(s.environment ?? {})) {
      expect(document, name).toContain(variable);
      const secret = /^\/run\/secrets\/(.*)$/.exec(value)?.[1];
      if (secret !== undefined) expect(s.secrets, name).toContain(secret);
    }
  }
  for (const { file } of Object.values(compose.secrets))
    expect(read('docker-compose.yml'), file).toContain(path.basename(file).replace('_password', ''));
  const clickhouse = compose.services['clickhouse']!,
    scripts = read('deploy/compose/clickhouse-passwords.sh') + clickhouse.entrypoint!.join('\n');
  const users = /for user in (.*); do/
    .exec(scripts)![1]!
    .split(' ')
    .map((user) => `tally_${user}_password`);
  expect([...users, 'clickhouse_admin_password'].toSorted()).toEqual(clickhouse.secrets!.toSorted());
  expect(scripts).toContain('/run/secrets/clickhouse_admin_password');
  for (const user of users)
    expect(read('deploy/clickhouse-users.sql')).toContain(`CREATE USER IF NOT EXISTS ${user.replace('_password', '')}\n`);
});

test('the configuration of compose is one that tally run takes', () => {
  const { environment, command } = compose.services['tally']!;
  expect(command!.slice(0, 1)).toEqual(['run']);
  const shown = JSON.parse(
    execFileSync(process.execPath, ['src/cli/main.ts', 'config', 'show', '--json'], {
      cwd: root,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], ...environment },
    }),
  ) as { settings: { variable: string; origin: string; value: unknown }[] };
  const given = shown.settings.filter((s) => s.origin !== 'default').map((s) => s.variable);
  expect(given.toSorted()).toEqual(Object.keys(environment!).toSorted());
  const within = shown.settings.find((s) => s.variable === 'TALLY_STOP_WITHIN')!.value;
  expect(Number.parseInt(compose.services['tally']!.stop_grace_period!, 10)).toBeGreaterThan(Number.parseInt(String(within), 10));
});

test('the topics that compose makes are those that the job reads', () => {
  const plan = JSON.parse(
    execFileSync(process.execPath, ['src/cli/main.ts', 'explain', 'ads-insights', '--json'], { cwd: root, encoding: 'utf8' }),
  ) as { plan?: { sources: { topic: string }[] }; sources?: { topic: string }[] };
  const topics = (plan.plan?.sources ?? plan.sources)!.map((s) => s.topic);
  expect(compose.services['topics']!.environment!['TOPICS']!.split(' ').toSorted()).toEqual(topics.toSorted());
});

test('the part of the configuration that ClickHouse gets is XML that it reads', async () => {
  const inner = /<clickhouse>([\s\S]*)<\/clickhouse>/.exec(read('deploy/compose/clickhouse.xml'))![1]!;
  const server = await startServer({ xml: inner });
  expect(await server.ask("SELECT 'ready' AS is")).toEqual([{ is: 'ready' }]);
  await server.close();
});

test.skipIf(!has('hadolint'))(`hadolint finds nothing in the Dockerfile${without('hadolint')}`, () => {
  expect(said('hadolint', 'Dockerfile')).toEqual([0, '']);
});

test.skipIf(!has('check-jsonschema'))(`docker-compose.yml holds to the schema of compose${without('check-jsonschema')}`, () => {
  expect(said('check-jsonschema', '--builtin-schema', 'vendor.compose-spec', 'docker-compose.yml')).toEqual([
    0,
    expect.stringContaining('ok'),
  ]);
});

test.skipIf(!has('promtool'))(`promtool takes the configuration of Prometheus${without('promtool')}`, () => {
  expect(said('promtool', 'check', 'config', 'deploy/compose/prometheus.yml')).toEqual([0, expect.stringContaining('SUCCESS')]);
});

test('shell scripts are ones that bash can read', () => {
  for (const name of fs.readdirSync(at('deploy/compose')).filter((f) => f.endsWith('.sh')))
    expect(spawnSync('bash', ['-n', at('deploy/compose', name)], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
});

const hasDocker = spawnSync('docker', ['info']).status === 0;
test.skipIf(!hasDocker)(
  `the image builds, is small and starts read-only${hasDocker ? '' : ' [SKIPPED: there is no Docker here]'}`,
  { timeout: 900_000 },
  () => {
    const docker = (...words: string[]): string =>
      execFileSync('docker', words, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    docker('build', '--platform', 'linux/amd64', '--tag', 'tally:test', '.');
    expect(docker('run', '--rm', '--read-only', '--cap-drop=ALL', 'tally:test', '--version')).toMatch(/^\d/);
    expect(Number(docker('image', 'inspect', '--format', '{{.Size}}', 'tally:test'))).toBeLessThan(350e6);
    docker('compose', 'config', '--quiet');
  },
);
