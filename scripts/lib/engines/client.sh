# The servers' own clients, and what they are good for: looking in, and removing what one run made.
# shellcheck shell=bash
# shellcheck disable=SC2154 # route, ports and the rest are the caller's

# client NAME ARGUMENT...: the server's own client, on either route.
client() {
  local name=${1:-}
  shift || true
  case $name in
    mariadb) "${route}_mariadb_client" "$@" ;;
    redis) "${route}_redis_client" "$@" ;;
    kafka) "${route}_kafka_client" "$@" ;;
    elasticsearch)
      local path=${1:-/}
      shift || true
      curl -sS "http://127.0.0.1:$CHAT_ELASTICSEARCH_PORT$path" "$@"
      ;;
    *) known "$name" ;;
  esac
}

packages_mariadb_client() {
  mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$CHAT_MARIADB_PORT" -u chat -pchat "$@"
}
packages_redis_client() { redis-cli -h 127.0.0.1 -p "$CHAT_REDIS_PORT" "$@"; }
packages_kafka_client() {
  find_java || fail "Kafka finds no Java 17" "neither JAVA_HOME nor the path has one" "install openjdk-17-jre-headless"
  kafka_java "$(kafka_programs)" org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$CHAT_KAFKA_PORT" "$@"
}

docker_mariadb_client() { compose exec -T mariadb mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u chat -pchat "$@"; }
docker_redis_client() { compose exec -T redis redis-cli "$@"; }
docker_kafka_client() { compose exec -T kafka /opt/kafka/bin/kafka-topics.sh --bootstrap-server 127.0.0.1:9092 "$@"; }

# drop NAME ...: of each the database chat_NAME, topics NAME.…, keys NAME:… and indices NAME-….
drop() {
  local name statements=""
  for name in "$@"; do
    [[ $name =~ ^[a-z0-9]+$ ]] ||
      fail "'$name' is no name of a run" "a run's name is lower-case letters and digits" "run scripts/engines drop NAME"
    statements+="DROP DATABASE IF EXISTS chat_$name;"
  done
  (($# > 0)) || return 0
  # What one server does not have any more keeps the others from nothing.
  client mariadb -e "$statements" || true
  for name in "$@"; do
    client redis --scan --pattern "$name:*" | xargs -r -n 500 "$scripts/engines" client redis UNLINK >/dev/null || true
    client elasticsearch "/${name}-messages-000001" -X DELETE >/dev/null || true
    client elasticsearch "/_index_template/${name}-messages" -X DELETE >/dev/null || true
  done
  # One call for all: the tool takes longer to start than to work.
  client kafka --delete --if-exists --topic "($(IFS='|'; echo "$*"))\\..*" >/dev/null 2>&1 || true
}

# runs PREFIX: the names of the runs that left a database and begin so.
runs() {
  client mariadb -N -B -e 'SHOW DATABASES' | sed -n "s/^chat_\(${1:-}[a-z0-9]*\)\$/\1/p"
}
