import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client's own batches: COUNT records, known in advance, into the topic java-CODEC for each codec named. */
class KafkaProducerOfEveryCodec {
  public static void main(String[] args) throws Exception {
    int count = Integer.parseInt(args[1]);
    for (int c = 2; c < args.length; c++) {
      Properties p = new Properties();
      p.put("bootstrap.servers", args[0]);
      p.put("compression.type", args[c]);
      p.put("batch.size", "20000");
      p.put("linger.ms", "20");
      p.put("key.serializer", StringSerializer.class.getName());
      p.put("value.serializer", StringSerializer.class.getName());
      try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
        for (int i = 0; i < count; i++) {
          String key = i % 7 == 0 ? null : "k" + i;
          String value = i % 11 == 0 ? null : ("value " + i + " ").repeat(1 + i % 40);
          ProducerRecord<String, String> record = new ProducerRecord<>("java-" + args[c], 0, 1700000000000L + i, key, value);
          if (i % 5 == 0) record.headers().add("trace", ("h" + i).getBytes());
          producer.send(record);
        }
      }
    }
  }
}
