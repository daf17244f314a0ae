/** The help texts: of tally as a whole, and of one command, all of it from what the commands declare. */
import type { Command } from './command.ts';

const WIDTH = 100;

export function helpOfAll(commands: readonly Command[]): string {
  const rows = commands.map((c): [string, string] => [c.name, c.summary]);
  return `tally counts every event exactly once, and proves it.

Usage: tally COMMAND ...

Commands:
${columns(rows)}
Options:
${columns([
  ['--help', 'this text; tally COMMAND --help: that of a command, with examples'],
  ['--version', 'the version'],
])}
Exit codes: 0 fine, 1 the answer is no, 2 wrong use or a faulty job or contract, 3 an operating fault, 70 a bug.
`;
}

export function helpOf(command: Command): string {
  const options = Object.entries(command.options).map(([name, o]): [string, string] => {
    const isRequired = command.required?.includes(name) === true;
    return [`--${name}${o.type === 'string' ? ` ${o.placeholder ?? 'VALUE'}` : ''}`, isRequired ? `${o.help} (required)` : o.help];
  });
  const examples = command.examples.map((e) => `  ${e}\n`).join('');
  return `tally ${command.name}: ${command.summary}

${wrap(`Usage: tally ${command.name} ${command.usage}`, WIDTH).join('\n         ')}

Options:
${columns([...options, ['--help', 'this text']])}
Examples:
${examples}`;
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const left = Math.min(28, Math.max(...rows.map(([name]) => name.length))) + 4;
  let text = '';
  for (const [name, about] of rows) {
    const lines = wrap(about, WIDTH - left);
    const isLong = name.length + 4 > left;
    text += isLong ? `  ${name}\n` : `  ${name.padEnd(left - 2)}${lines.shift() ?? ''}\n`;
    for (const line of lines) text += `${' '.repeat(left)}${line}\n`;
  }
  return text;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  lines.push(line);
  return lines;
}
