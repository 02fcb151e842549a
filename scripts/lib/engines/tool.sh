# Each engine's own client, turned to the server that was started here: for people
# who look at what is in it, and for scripts/chaos, which makes bad days with them.
# shellcheck shell=bash
# shellcheck disable=SC2154 # java_home, ports and the route are the caller's

# packages_tool NAME ARGUMENT...
packages_tool() {
  local name=$1
  shift
  "${name}_tool" "$@"
}

redis_tool() { exec redis-cli -h 127.0.0.1 -p "$CHAT_REDIS_PORT" "$@"; }

mariadb_tool() {
  exec mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$CHAT_MARIADB_PORT" -u chat -pchat \
    --batch --skip-column-names "$@"
}

# kafka_tool topics|produce|consume|offsets ARGUMENT...
kafka_tool() {
  find_java || fail "Kafka's tools find no Java 17" "neither JAVA_HOME nor the path has one" "install openjdk-17-jre-headless"
  local class
  class=$(kafka_class "${1:-}")
  exec "$java_home/bin/java" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$(kafka_programs)/*" "$class" \
    --bootstrap-server "127.0.0.1:$CHAT_KAFKA_PORT" "${@:2}"
}

kafka_class() {
  case $1 in
    topics) echo org.apache.kafka.tools.TopicCommand ;;
    produce) echo org.apache.kafka.tools.ConsoleProducer ;;
    consume) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    offsets) echo org.apache.kafka.tools.GetOffsetShell ;;
    *)
      fail "Kafka has no tool '$1' here" "the tools are topics, produce, consume and offsets" \
        "run scripts/engines tool kafka topics --list, for example"
      ;;
  esac
}

# elasticsearch_tool METHOD PATH [BODY]
elasticsearch_tool() {
  local method=${1:-GET} path=${2:-/} body=()
  if (($# > 2)); then body=(-H 'Content-Type: application/json' -d "$3"); fi
  exec curl -fsS -X "$method" "${body[@]}" "http://127.0.0.1:$CHAT_ELASTICSEARCH_PORT$path"
}

# docker_tool NAME ARGUMENT...: the same programs, from within the containers.
docker_tool() {
  local name=$1 program=()
  shift
  case $name in
    redis) program=(redis-cli) ;;
    mariadb) program=(mariadb -u chat -pchat --batch --skip-column-names) ;;
    kafka)
      case ${1:-} in
        topics) program=(/opt/kafka/bin/kafka-topics.sh) ;;
        produce) program=(/opt/kafka/bin/kafka-console-producer.sh) ;;
        consume) program=(/opt/kafka/bin/kafka-console-consumer.sh) ;;
        offsets) program=(/opt/kafka/bin/kafka-get-offsets.sh) ;;
        *) kafka_class "${1:-}" ;;
      esac
      program+=(--bootstrap-server localhost:9092)
      shift
      ;;
    elasticsearch)
      # Its port is published, so the host's curl does.
      elasticsearch_tool "$@"
      ;;
  esac
  # shellcheck disable=SC2154 # scripts is the caller's
  exec docker compose -f "$scripts/compose.yaml" exec -T "$name" "${program[@]}" "$@"
}
