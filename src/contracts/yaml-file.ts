/**
 * A YAML file as data, with the line and the source text of each value: messages name the line, and a number keeps the
 * digits that a double would lose. Every fault is one E_CONTRACT that names file, line, place and what is wrong.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { usage } from '../errors.ts';
import type { TallyError } from '../errors.ts';

export type Path = readonly (string | number)[];

export interface YamlFile {
  readonly file: string;
  readonly data: unknown;
  /** The text of a plain scalar as written; undefined for everything else. */
  text(path: Path): string | undefined;
  line(path: Path): number;
  fault(path: Path, wrong: string, hint: string): TallyError;
}

export function readYaml(file: string): YamlFile {
  const lines = new LineCounter();
  const document = parseDocument(readText(file), { lineCounter: lines, prettyErrors: false });
  const [first] = document.errors;
  if (first !== undefined) {
    throw usage(
      'E_CONTRACT',
      `${file}:${lines.linePos(first.pos[0]).line}: not YAML: ${first.message.split('\n')[0]}`,
      `Correct ${basename(file)} and try again.`,
    );
  }
  const data = toData(file, document);
  const line = (path: Path): number => {
    for (let to = path.length; to >= 0; to--) {
      const node = nodeAt(document, path.slice(0, to), to === path.length);
      if (node?.range) return lines.linePos(node.range[0]).line;
    }
    return 1;
  };
  return {
    file,
    data,
    line,
    text: (path) => {
      const node = nodeAt(document, path, false);
      return isScalar(node) ? node.source : undefined;
    },
    fault: (path, wrong, hint) => usage('E_CONTRACT', `${file}:${line(path)}: ${placeOf(path, data)}${wrong}`, hint),
  };
}

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw usage('E_CONTRACT', `${file} cannot be read: ${(cause as Error).message}`, 'Contracts are YAML files that can be read.');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw usage('E_CONTRACT', `${file} is not UTF-8 text`, 'Save it as UTF-8.');
  }
}

function toData(file: string, document: Document): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw usage('E_CONTRACT', `${file}: not YAML: ${(cause as Error).message}`, 'Write the values out, without aliases.');
  }
}

interface Node {
  readonly range?: readonly [number, number, number] | null | undefined;
}

/** `asKey`: of an entry of a map the key, whose line is the one to show. */
function nodeAt(document: Document, path: Path, asKey: boolean): Node | undefined {
  let node: unknown = document.contents;
  for (let i = 0; i < path.length; i++) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find((p) => String(isScalar(p.key) ? p.key.value : p.key) === path[i]);
      node = asKey && i === path.length - 1 ? pair?.key : pair?.value;
    } else {
      node = isSeq(node) ? node.items[Number(path[i])] : undefined;
    }
  }
  return (isAlias(node) ? node.resolve(document) : node) as Node | undefined;
}

/** "placement.quality.placement-ok.mustBe: ": entries of a list by their own name, and a field without all that is above it. */
function placeOf(path: Path, data: unknown): string {
  const parts: string[] = [];
  let value = data;
  for (const key of path) {
    value = (value as Record<string, unknown> | undefined)?.[key];
    if (typeof key === 'string') {
      parts.push(key);
      continue;
    }
    const named = value as { id?: unknown; name?: unknown } | null;
    const name = named?.name ?? named?.id;
    parts.push(typeof name === 'string' ? name : String(key + 1));
  }
  const isField = path[0] === 'schema' && path[2] === 'properties' && parts.length > 3;
  const shown = isField ? parts.slice(3) : parts;
  return shown.length === 0 ? '' : `${isField ? 'field ' : ''}${shown.join('.')}: `;
}
