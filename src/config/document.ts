/** docs/configuration.md, made from the schema, so that the page says what the program does. */
import { SETTINGS } from './settings.ts';
import type { Setting } from './settings.ts';

const GROUPS: Readonly<Record<string, string>> = {
  '': 'What is counted',
  commit: 'When it is committed',
  memory: 'What may wait',
  stop: 'How it stops',
  snapshots: 'Copies of the state',
  takeover: 'When a shard changes hands',
  clickhouse: 'ClickHouse',
  kafka: 'Kafka',
  http: 'Metrics and health',
  logs: 'What is told on stderr',
};

const HEAD = `# Configuration

<!-- Made by scripts/configuration.mjs from src/config/schema.ts: do not edit. -->

A setting comes from an option of \`tally run\`, else from the environment, else from the file that \`--config FILE\` (or \`TALLY_CONFIG\`) names, else it has
its default. The file is YAML or JSON; a dot in a setting's name is a group:

    log: kafka://broker-1:9092,broker-2:9092
    data: /var/lib/tally
    shards: 4
    kafka:
      group: tally
      sasl: { mechanism: SCRAM-SHA-512, user: tally, passwordFile: /run/secrets/kafka }
    http:
      listen: 0.0.0.0:9464
    logs: { format: json }

Times are written with their unit (\`200ms\`, \`5s\`, \`10m\`, \`6h\`, \`30d\`), sizes too (\`64KiB\`, \`96MiB\`, \`2GiB\`). Paths in a file are relative to that file. An
empty variable is as good as none. A setting that there is none of is refused with the one that may have been meant, and a value out of its bounds wherever it
stands; so is a variable that begins with \`TALLY_\` and is no setting, but for what Kubernetes sets for a service.

Secrets stand in no file of settings and in no option: they come from a file of their own or from the environment, and are shown nowhere.

\`tally config show\` lists every setting with its value and where that comes from; it takes the same options as \`tally run\`.
`;

export function configurationPage(): string {
  let page = HEAD;
  for (const [group, title] of Object.entries(GROUPS)) {
    const settings = SETTINGS.filter((s) => (s.path.length === 1 ? '' : s.path[0]) === group);
    page += `\n## ${title}\n\n| setting | takes | default | option, variable | |\n|---|---|---|---|---|\n${settings.map(row).join('')}`;
  }
  const without = SETTINGS.find((s) => s.path.length > 1 && !Object.hasOwn(GROUPS, s.path[0]!));
  if (without !== undefined) throw new Error(`the group of ${without.name} has no title`);
  return page;
}

function row({ name, variable, about }: Setting): string {
  const { help, takes, flag, isSecret } = about;
  const given = [flag === undefined ? '' : `\`--${flag}\``, `\`${variable}\``].filter((x) => x !== '').join(', ');
  const cells = [
    `\`${name}\``,
    isSecret === true ? 'a secret' : takes,
    about.default === undefined ? '' : `\`${about.default}\``,
    given,
    help,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
}
