# Apache Kafka from Maven's artifacts: one node that is broker and controller.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # data, packages, logs and java_home are the caller's

# In compose.yaml too, as KAFKA_… variables.
KAFKA_SETTINGS=(
  # A batch of 768 KiB grows when it becomes JSON in an envelope.
  message.max.bytes=1310720
  auto.create.topics.enable=false
  offsets.topic.num.partitions=1
  offsets.topic.replication.factor=1
  transaction.state.log.num.partitions=1
  transaction.state.log.replication.factor=1
  transaction.state.log.min.isr=1
  share.coordinator.state.topic.replication.factor=1
  share.coordinator.state.topic.min.isr=1
  group.initial.rebalance.delay.ms=0
  log.cleaner.dedupe.buffer.size=4194304
)
KAFKA_HEAP="-Xms128m -Xmx384m"

kafka_port() { echo "$CHAT_KAFKA_PORT"; }
kafka_ports() { echo "$CHAT_KAFKA_PORT $CHAT_KAFKA_CONTROLLER_PORT"; }
kafka_programs() { echo "$packages/kafka-$KAFKA_VERSION"; }

kafka_start() {
  local home=$data/kafka programs log=$logs/kafka-format.log
  programs=$(kafka_programs)
  find_java || fail "Kafka finds no Java 17" "neither JAVA_HOME nor the path has one" "install openjdk-17-jre-headless"
  [[ -d $programs ]] || kafka_fetch "$programs"
  mkdir -p "$home"
  kafka_properties "$home" >"$home/server.properties"
  if [[ ! -f $home/data/meta.properties ]]; then
    note "kafka: formatting its storage"
    # Kafka wants 16 bytes in base64 for URLs, with no leading hyphen.
    local id
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'Az' | tr -d '=')
    kafka_java "$programs" kafka.tools.StorageTool format --ignore-formatted \
      -t "$id" -c "$home/server.properties" >"$log" 2>&1 </dev/null || {
      show_end "$log"
      fail "Kafka could not format its storage" "its log, $log, says it" "run scripts/engines reset kafka"
    }
  fi
  # shellcheck disable=SC2086 # the heap is two words
  launch kafka "$java_home/bin/java" $KAFKA_HEAP -cp "$programs/*" kafka.Kafka "$home/server.properties"
}

kafka_java() {
  local programs=$1
  shift
  "$java_home/bin/java" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$programs/*" "$@"
}

kafka_properties() {
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$CHAT_KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$CHAT_KAFKA_PORT,CONTROLLER://127.0.0.1:$CHAT_KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$CHAT_KAFKA_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$1/data
PROPERTIES
  printf '%s\n' "${KAFKA_SETTINGS[@]}"
}

# Fetches the server, the command-line tools that people look at topics with,
# and somewhere for both to log to.
kafka_fetch() {
  local programs=$1 part=$1.part
  note "kafka: fetching version $KAFKA_VERSION through Maven"
  rm -rf "$part"
  mkdir -p "$part"
  cat >"$part/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>chat</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  resolve kafka -f "$part/pom.xml" "$MAVEN_COPY:copy-dependencies" \
    -DincludeScope=runtime -DoutputDirectory="$part"
  mv "$part" "$programs"
}

# Asks for the versions that the broker speaks, the first thing that any client
# does: four bytes of length, then key 18, version 0, number 1, no client name.
kafka_answers() {
  grep -q 'Kafka Server started' "$logs/kafka.log" 2>/dev/null &&
    [[ $(printf '\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff' | kafka_exchange) == 00000001 ]]
}

# Prints the number in the answer, in hexadecimal. Kafka keeps the connection
# open, so only as much is read as is wanted.
kafka_exchange() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && head -c 8 <&3' _ "$CHAT_KAFKA_PORT" 2>/dev/null |
    tail -c 4 | od -An -tx1 | tr -d ' \n'
}
