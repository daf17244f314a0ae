/** Contracts as they are read from ODCS files: what the gate gets, what is warned of, and what is refused with which sentence. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadContracts } from '../src/contracts/read.ts';
import { TallyError } from '../src/errors.ts';
import type { Field } from '../topology/contract/model.ts';

const root = mkdtempSync(join(tmpdir(), 'tally-contracts-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;

function directory(files: Record<string, string | Uint8Array>): string {
  const dir = join(root, String(made++));
  mkdirSync(dir);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}
const HEAD = 'apiVersion: v3.1.0\nkind: DataContract\nid: c\nversion: 1.0.0\nstatus: active\n';
const KEY = '  - {name: id, logicalType: string, required: true, primaryKey: true}\n';
const withFields = (fields: string): string => `${HEAD}schema:\n- name: c\n  physicalName: c.topic\n  properties:\n${KEY}${fields}\n`;
const withField = (field: string): string => withFields(`  - {name: f, ${field}}`);

function load(text: string) {
  return loadContracts(directory({ 'c.yaml': text }));
}
function field(text: string): Field {
  return load(withField(text)).contracts.get('c')!.fields[1]!;
}
/** The sentence without the directory: "c.yaml:11: field f: ...". */
function refusal(text: string | Uint8Array, more: Record<string, string> = {}): string {
  const dir = directory({ 'c.yaml': text, ...more });
  try {
    loadContracts(dir);
  } catch (error) {
    if (!(error instanceof TallyError)) throw error;
    expect([error.code, error.exit]).toEqual(['E_CONTRACT', 2]);
    expect(error.hint).not.toBe('');
    return error.message.replaceAll(`${dir}/`, '');
  }
  return 'loaded';
}
const refused = (fieldText: string): string => refusal(withField(fieldText)).replace(/^c\.yaml:11: /, '');

describe('the shipped contracts', () => {
  const { contracts, warnings } = loadContracts('contracts');

  test('load without a warning: nothing in them goes unexecuted', () => {
    expect([...contracts.values()].map((c) => [c.id, c.topic])).toEqual([
      ['ads-click', 'ads.click'],
      ['ads-conversion', 'ads.conversion'],
      ['ads-delivery', 'ads.delivery'],
      ['telemetry', 'telemetry.events'],
    ]);
    expect(warnings).toEqual([]);
  });

  test('give the gate their rules', () => {
    const of = (id: string, name: string) => contracts.get(id)!.fields.find((f) => f.name === name);
    expect(of('ads-delivery', 'cost_micros')).toMatchObject({ type: 'integer', required: true, minimum: '0', scale: 0 });
    expect(of('ads-delivery', 'placement')).toMatchObject({ validValues: ['feed', 'story', 'search', 'video', 'banner'] });
    expect(of('ads-delivery', 'country')).toMatchObject({ pattern: '^[A-Z]{2}$' });
    expect(of('ads-delivery', 'event_time')).toMatchObject({ type: 'timestamp', time: 'epoch_millis' });
    expect(of('ads-conversion', 'event_time')).toMatchObject({ type: 'timestamp', time: 'iso8601' });
    expect(of('telemetry', 'seconds')).toMatchObject({ type: 'number', required: false, multipleOf: '0.001', scale: 3 });
    expect(of('telemetry', 'bitrate_mbps')).toMatchObject({ type: 'number', exclusiveMinimum: '0', scale: null });
    expect(of('telemetry', 'build')).toMatchObject({ minimum: '1', maximum: '4294967295' });
  });
});

describe('a field', () => {
  test('keeps the digits of 64-bit bounds, which a double would lose', () => {
    const f = field('logicalType: integer, logicalTypeOptions: {minimum: -9223372036854775807, maximum: 9223372036854775806}');
    expect(f).toMatchObject({ minimum: '-9223372036854775807', maximum: '9223372036854775806' });
  });

  test.each([
    ['1e3', '1000'],
    ['1000.0', '1000'],
    ['+7', '7'],
    ['-0.50', '-0.5'],
    ['-0.0', '0'],
    ['1.5E-3', '0.0015'],
    ['.5', '0.5'],
    ['12.', '12'],
  ])('writes the bound %s as %s', (text, canonical) => {
    expect(field(`logicalType: number, logicalTypeOptions: {minimum: ${text}}`).minimum).toBe(canonical);
  });

  test.each([
    ['0.001', 3],
    ['1', 0],
    ['100', 0],
    ['1e-6', 6],
    ['0.10', 1],
    ['0.25', null],
    ['0.002', null],
    ['1e-18', 18],
    ['1e-19', null],
  ])('that is a multiple of %s has scale %j', (text, scale) => {
    expect(field(`logicalType: number, logicalTypeOptions: {multipleOf: ${text}}`).scale).toBe(scale);
  });

  test('takes the tighter of a format and a bound', () => {
    expect(field('logicalType: integer, logicalTypeOptions: {format: i8, minimum: 5}')).toMatchObject({ minimum: '5', maximum: '127' });
    expect(field('logicalType: integer, logicalTypeOptions: {format: u8, minimum: -5, maximum: 300}')).toMatchObject({
      minimum: '0',
      maximum: '255',
    });
  });

  test('that is a timestamp is iso8601 unless it says, its bounds whole milliseconds', () => {
    expect(field('logicalType: timestamp')).toMatchObject({ time: 'iso8601', notBefore: null, notAfter: null });
    expect(
      field('logicalType: timestamp, logicalTypeOptions: {minimum: "2026-01-01T00:00:00+01:00", exclusiveMaximum: "2027-01-01T00:00:00Z"}'),
    ).toMatchObject({ notBefore: Date.parse('2025-12-31T23:00:00Z'), notAfter: Date.parse('2027-01-01T00:00:00Z') - 1 });
  });

  test('gets a pattern from a quality check with mustBe 0', () => {
    expect(field('logicalType: string, quality: [{metric: invalidValues, arguments: {pattern: "^x"}, mustBe: 0}]').validPattern).toBe('^x');
  });

  test('may be written by reference', () => {
    const text = withFields(
      '  - {name: a, logicalType: integer, logicalTypeOptions: &big {maximum: 9223372036854775806}}\n  - {name: b, logicalType: integer, logicalTypeOptions: *big}',
    );
    expect(load(text).contracts.get('c')!.fields[2]!.maximum).toBe('9223372036854775806');
  });
});

describe('a digest', () => {
  const digest = (text: string): string => load(text).contracts.get('c')!.digest;
  const plain = withField('logicalType: integer, logicalTypeOptions: {maximum: 9223372036854775806}');

  test('is another when a rule, the version or the topic is another', () => {
    const others = [
      plain.replace('806}', '805}'),
      plain.replace('1.0.0', '1.0.1'),
      plain.replace('c.topic', 'd.topic'),
      plain.replace('name: f,', 'name: g,'),
      plain.replace('name: f,', 'name: f, required: true,'),
    ];
    expect(new Set([plain, ...others].map(digest)).size).toBe(6);
  });

  test("is the same when only people's text, or a notation, is another", () => {
    expect(digest(`${plain}description: {purpose: x}\nteam: {name: t}\n`)).toBe(digest(plain));
    expect(digest(withField('logicalType: number, logicalTypeOptions: {maximum: 1000.0}'))).toBe(
      digest(withField('logicalTypeOptions: {maximum: 1e3}, logicalType: number')),
    );
  });
});

describe('what is not executed is said', () => {
  test('for checks over many events', () => {
    const { warnings, warningsOf } = load(
      withField(
        'logicalType: string, quality: [{id: few, metric: invalidValues, arguments: {validValues: [a]}, mustBeLessThan: 5, unit: percent}, {metric: nullValues, mustBe: 0}, {name: q, type: sql, query: "SELECT 1", mustBe: 0}]',
      ),
    );
    expect(warnings.map((w) => w.replace(/^.*c\.yaml/, 'c.yaml'))).toEqual([
      'c.yaml:11: quality check "few" is not executed: only invalidValues with mustBe: 0 is, event by event',
      'c.yaml:11: quality check "nullValues" is not executed: only invalidValues with mustBe: 0 is, event by event',
      'c.yaml:11: quality check "q" is not executed: only invalidValues with mustBe: 0 is, event by event',
    ]);
    expect(warningsOf.get('c')).toEqual(warnings);
  });

  test('for checks of the whole topic, and for unique', () => {
    const { warnings } = load(
      `${withField('logicalType: string, unique: true')}  quality: [{id: rows, metric: rowCount, mustBeGreaterThan: 0}]\n`,
    );
    expect(warnings.map((w) => w.replace(/^.*c\.yaml/, 'c.yaml'))).toEqual([
      'c.yaml:11: field "f": unique is not executed: only the primary key is, by deduplication',
      'c.yaml:12: quality check "rows" is not executed: only invalidValues with mustBe: 0 is, event by event',
    ]);
  });
});

describe('a directory is refused', () => {
  test('that is not there, is a file or has no contract', () => {
    expect(() => loadContracts(join(root, 'gone'))).toThrow(`the directory of contracts ${join(root, 'gone')} does not exist`);
    const dir = directory({ 'x.txt': '' });
    expect(() => loadContracts(dir)).toThrow(`there is no contract in ${dir}`);
    expect(() => loadContracts(join(dir, 'x.txt'))).toThrow('is not a directory');
  });

  test('with a file that cannot be read as text', () => {
    expect(refusal(new Uint8Array([0xff, 0xfe, 0x41]))).toBe('c.yaml is not UTF-8 text');
    const dir = directory({});
    mkdirSync(join(dir, 'd.yaml'));
    expect(() => loadContracts(dir)).toThrow(/d\.yaml cannot be read: EISDIR/);
  });

  test('with two files of one id or one topic', () => {
    const one = withField('logicalType: string');
    expect(refusal(one, { 'd.yaml': one })).toBe('d.yaml:3: id: "c" is also the id of c.yaml');
    expect(refusal(one, { 'd.yaml': one.replace('id: c', 'id: d') })).toBe(
      'd.yaml:7: schema.c: topic "c.topic" is also the topic of c.yaml',
    );
  });
});

describe('a file is refused', () => {
  test('that is not YAML, or names a key twice', () => {
    expect(refusal('a: [1, 2')).toMatch(/^c\.yaml:1: not YAML: /);
    expect(refusal(`${HEAD}id: d\n`)).toBe('c.yaml:6: not YAML: Map keys must be unique');
    expect(refusal('')).toMatch(/^c\.yaml:1: null must be of type object$/);
    expect(refusal('a: 1\n---\nb: 2\n')).toMatch(/^c\.yaml:\d: not YAML: /);
  });

  test('that the standard does not allow', () => {
    expect(refusal(`${withField('logicalType: string')}domian: x\n`)).toBe(
      'c.yaml:12: domian: there is no such key in ODCS 3.1; did you mean "domain"?',
    );
    expect(refusal(HEAD.replace('version: 1.0.0\n', ''))).toBe('c.yaml:1: "version" is missing');
    expect(refusal(HEAD.replace('1.0.0', '1.0'))).toBe('c.yaml:4: version: 1 must be of type string');
    expect(refusal(HEAD.replace('DataContract', 'Table'))).toContain('kind: "Table" is not allowed');
    expect(refused('logicalType: strin')).toBe('field f.logicalType: "strin" is not allowed; did you mean "string"?');
    expect(refused('logicalType: string, logicalTypeOptions: {minLenght: 3}')).toBe(
      'field f.logicalTypeOptions.minLenght: there is no such key in ODCS 3.1; did you mean "minLength"?',
    );
    expect(refused('logicalType: integer, logicalTypeOptions: {pattern: x}')).toBe(
      'field f.logicalTypeOptions.pattern: there is no such key in ODCS 3.1',
    );
    expect(refused('logicalType: string, requird: true')).toBe(
      'field f.requird: there is no such key in ODCS 3.1; did you mean "required"?',
    );
    expect(refused('logicalType: string, required: "yes"')).toBe('field f.required: "yes" must be of type boolean');
    expect(refused('logicalType: string, quality: [{metric: invalidValue, mustBe: 0}]')).toContain(
      'metric: "invalidValue" is not allowed; did you mean "invalidValues"?',
    );
    expect(refused('logicalType: string, quality: [{metric: nullValues, mustBe: 0, mustNotBe: 1}]')).toBe(
      'field f.quality.1: a quality check has exactly one operator, such as mustBe: 0',
    );
    expect(refusal(HEAD.replace('v3.1.0', 'v2.2.2'))).toContain('apiVersion: v2.2.2 is too old');
  });

  test('without a topic, or with several', () => {
    expect(refusal(HEAD)).toBe('c.yaml:1: schema: a contract describes one topic, this one 0');
    expect(refusal(`${HEAD}schema: [{name: a}, {name: b}]\n`)).toBe('c.yaml:6: schema: a contract describes one topic, this one 2');
    expect(refusal(withField('logicalType: string').replace('c.topic', '"a b"'))).toBe(
      'c.yaml:8: schema.c.physicalName: "a b" cannot be a topic',
    );
    expect(refusal(withField('logicalType: string').replace('c.topic', 'c.topic\n  physicalType: table'))).toContain(
      'physicalType: "table" is not read by Tally',
    );
    expect(refusal(HEAD.replace('id: c', 'id: a b'))).toBe('c.yaml:3: id: "a b" cannot be a contract\'s id');
    expect(refusal(`${HEAD}schema: [{name: c}]\n`)).toBe('c.yaml:6: schema.c: the contract has no properties');
  });

  test('without one required primary key', () => {
    const of = (key: string): string => refusal(withField('logicalType: string').replace(KEY, key));
    expect(of('  - {name: id, logicalType: string, required: true}\n')).toBe('c.yaml:7: schema.c: no field is the primary key');
    expect(of('  - {name: id, logicalType: string, primaryKey: true}\n')).toBe('c.yaml:10: field id: the primary key must be required');
    expect(of('  - {name: id, logicalType: date, required: true, primaryKey: true}\n')).toBe(
      'c.yaml:10: field id.logicalType: the primary key cannot be of type date',
    );
    expect(of(KEY + KEY.replace('name: id', 'name: id2'))).toBe('c.yaml:11: field id2.primaryKey: a second primary key');
  });

  test('with a field that no gate could check', () => {
    expect(refused('logicalType: object')).toBe('field f.logicalType: object is not checked by the gate');
    expect(refused('logicalType: array')).toBe('field f.logicalType: array is not checked by the gate');
    expect(refused('logicalType: time')).toBe('field f.logicalType: time is not checked by the gate');
    expect(refused('description: x')).toBe('field f: logicalType is missing');
    expect(refused('logicalType: string, physicalName: g')).toBe(
      'field f.physicalName: the field is read under its name "f", not under another',
    );
    expect(refused('logicalType: string, logicalTypeOptions: {format: uid}')).toBe(
      'field f.logicalTypeOptions.format: format "uid" is not checked by the gate; did you mean "uuid"?',
    );
    expect(refused('logicalType: integer, logicalTypeOptions: {format: u64}')).toBe(
      'field f.logicalTypeOptions.format: format "u64" is not checked by the gate',
    );
    expect(refused('logicalType: timestamp, physicalType: epoch_milis')).toBe(
      'field f.physicalType: "epoch_milis" is not a way to write a timestamp; did you mean "epoch_millis"?',
    );
    expect(refused('logicalType: timestamp, logicalTypeOptions: {format: yyyy}')).toBe(
      'field f.logicalTypeOptions.format: formats of timestamps are not checked by the gate',
    );
    expect(refused('logicalType: timestamp, logicalTypeOptions: {timezone: false}')).toBe(
      'field f.logicalTypeOptions.timezone: timestamps must say their zone',
    );
    expect(refused('logicalType: date, logicalTypeOptions: {minimum: "2026-01-01"}')).toBe(
      'field f.logicalTypeOptions.minimum: is not checked by the gate for a date',
    );
    expect(refused('logicalType: boolean, logicalTypeOptions: {x: 1}')).toBe('field f.logicalTypeOptions.x: a boolean has no options');
    expect(refusal(withField('logicalType: string').replace('name: f', 'name: __proto__'))).toContain(
      '"__proto__" cannot be a field\'s name',
    );
    expect(refusal(withField('logicalType: string').replace('name: f', 'name: id'))).toBe('c.yaml:11: field id: the field is named twice');
  });

  test.each([
    ['string', '{minLength: 5, maxLength: 4}', ': no value can pass: minLength 5, maxLength 4'],
    ['string', '{pattern: "["}', '.pattern: not a regular expression: /[/u: Unterminated character class'],
    ['integer', '{minimum: 5, maximum: 4}', ': no value can pass: minimum 5, maximum 4'],
    ['integer', '{exclusiveMinimum: 4, exclusiveMaximum: 5}', ': no value can pass: exclusiveMinimum 4, exclusiveMaximum 5'],
    ['integer', '{minimum: 11, maximum: 19, multipleOf: 10}', ': no value can pass: minimum 11, maximum 19, multipleOf 10'],
    [
      'integer',
      '{minimum: 9223372036854775807, maximum: 9223372036854775806}',
      ': no value can pass: minimum 9223372036854775807, maximum 9223372036854775806',
    ],
    ['integer', '{minimum: 300, format: u8}', ': no value can pass: minimum 300, maximum 255'],
    ['integer', '{minimum: 0.5}', '.minimum: 0.5 is not a whole number, but the field is an integer'],
    ['integer', '{maximum: 9223372036854775808}', '.maximum: 9223372036854775808 is beyond 64 bits'],
    ['number', '{minimum: 1.5, maximum: 1}', ': no value can pass: minimum 1.5, maximum 1'],
    ['number', '{minimum: 1, exclusiveMaximum: 1}', ': no value can pass: minimum 1, exclusiveMaximum 1'],
    [
      'number',
      '{minimum: 0.0011, maximum: 0.0019, multipleOf: 0.001}',
      ': no value can pass: minimum 0.0011, maximum 0.0019, multipleOf 0.001',
    ],
    ['number', '{minimum: .inf}', '.minimum: Infinity is not a decimal number'],
    ['number', '{minimum: 0x1F}', '.minimum: 31 is not a decimal number'],
    [
      'timestamp',
      '{minimum: "2027-01-01T00:00:00Z", maximum: "2026-01-01T00:00:00Z"}',
      ': no time can pass: the bounds leave nothing between 1970 and 2105',
    ],
    ['timestamp', '{minimum: "2027-01-01"}', '.minimum: "2027-01-01" is not a time with a zone'],
  ])('with a %s that is %s', (type, options, sentence) => {
    const text = refused(`logicalType: ${type}, logicalTypeOptions: ${options}`);
    expect(text.replace('match "then" schema', '')).toBe(`field f.logicalTypeOptions${sentence}`);
  });

  test.each([
    ['number', '{exclusiveMinimum: 0, exclusiveMaximum: 0.1}'],
    ['number', '{minimum: 1, maximum: 1}'],
    ['integer', '{minimum: 11, maximum: 20, multipleOf: 10}'],
    ['integer', '{minimum: -15, maximum: -10, multipleOf: 10}'],
    ['string', '{minLength: 4, maxLength: 4}'],
  ])('but not with a %s that is %s: some value passes', (type, options) => {
    expect(refused(`logicalType: ${type}, logicalTypeOptions: ${options}`)).toBe('loaded');
  });

  test.each([
    ['string', '{validValues: [a, 1]}', '.validValues.2: 1 is not a value of type string'],
    ['string', '{validValues: [a, a]}', '.validValues.2: "a" is named twice'],
    ['string', '{validValues: []}', '.validValues: must be a list of at least one value'],
    ['string', '{validValue: [a]}', '.validValue: invalidValues takes no such argument; did you mean "validValues"?'],
    ['string', '{}', ': invalidValues needs validValues or a pattern'],
    ['string', '{pattern: "("}', '.pattern: not a regular expression: /(/u: Unterminated group'],
    ['integer', '{pattern: "1"}', '.pattern: a pattern is for text, but the field is of type integer'],
    ['integer', '{validValues: [1.5]}', '.validValues.1: 1.5 is not a value of type integer'],
    ['timestamp', '{validValues: [1]}', '.validValues: a timestamp has no list of valid values'],
    [
      'string, logicalTypeOptions: {maxLength: 3}',
      '{validValues: [four]}',
      '.validValues.1: "four" can never pass the field\'s other rules',
    ],
    ['integer, logicalTypeOptions: {minimum: 3}', '{validValues: [2]}', ".validValues.1: 2 can never pass the field's other rules"],
  ])('with a rule over %s that says %s', (type, rule, sentence) => {
    expect(refused(`logicalType: ${type}, quality: [{metric: invalidValues, arguments: ${rule}, mustBe: 0}]`)).toBe(
      `field f.quality.1.arguments${sentence}`,
    );
  });
});
