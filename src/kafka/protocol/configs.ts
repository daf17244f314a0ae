/** DescribeConfigs: the settings of a topic, as they are in force. */
import type { Api } from './api.ts';

export interface ConfigsRequest {
  readonly topic: string;
  readonly names: readonly string[];
}
export interface ConfigsAnswer {
  readonly error: number;
  readonly values: ReadonlyMap<string, string>;
}

const TOPIC = 2;

export const DESCRIBE_CONFIGS: Api<ConfigsRequest, ConfigsAnswer> = {
  name: 'DescribeConfigs',
  key: 32,
  versions: [4, 4],
  flexible: true,
  write(w, { topic, names }) {
    w.uvarint(2);
    w.int8(TOPIC);
    w.compactString(topic);
    w.compactArray(names, (name) => w.compactString(name));
    w.noTags();
    w.bool(false);
    w.bool(false);
    w.noTags();
  },
  read(r) {
    r.int32();
    const values = new Map<string, string>();
    let error = 0;
    r.compactArray(() => {
      error = r.int16();
      r.compactNullableString();
      r.int8();
      r.compactString();
      r.compactArray(() => {
        const name = r.compactString(),
          value = r.compactNullableString();
        if (value !== null) values.set(name, value);
        // Read only, source, sensitive.
        r.skip(3);
        r.compactArray(() => {
          r.compactString();
          r.compactNullableString();
          r.int8();
          r.skipTags();
        });
        r.int8();
        r.compactNullableString();
        r.skipTags();
      });
      r.skipTags();
    });
    return { error, values };
  },
};
