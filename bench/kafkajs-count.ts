/** kafkajs that counts the records of the ads topics and does nothing else: `node bench/kafkajs-count.ts kafka://host:port RECORDS TOPIC...`. */
import kafkajs from 'kafkajs';
import { decompressFrameSync } from 'lz4-napi';
import { monotonicMs, randomHex } from '../src/clock.ts';

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: () => Promise.reject(new Error('nothing is written here')),
  decompress: (bytes: Buffer) => Promise.resolve(decompressFrameSync(bytes)),
});

const [url, wanted, topics] = [process.argv[2]!, Number(process.argv[3]), process.argv.slice(4)];
const kafka = new Kafka({ clientId: 'count', brokers: [url.replace('kafka://', '')], logLevel: logLevel.NOTHING });
const consumer = kafka.consumer({ groupId: `count-${randomHex(4)}`, maxBytes: 10 << 20, maxBytesPerPartition: 4 << 20 });
const began = monotonicMs();
let records = 0;
await consumer.connect();
await consumer.subscribe({ topics, fromBeginning: true });
await new Promise<void>((resolve) => {
  void consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      records += batch.messages.length;
      if (records >= wanted) resolve();
    },
  });
});
const { user, system } = process.cpuUsage();
process.stdout.write(`${JSON.stringify({ records, seconds: (monotonicMs() - began) / 1000, cpuSeconds: (user + system) / 1e6 })}\n`);
process.exit(0);
