# Compares this script with compose.yaml and the Dockerfile, so that a server
# behaves the same on either route.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # scripts, repository, versions and settings are the caller's

check() {
  local item service
  differences=0 compared=0

  expect mariadb "image: mariadb:$MARIADB_VERSION"
  expect redis "image: redis:$REDIS_VERSION"
  expect kafka "image: apache/kafka:$KAFKA_VERSION"
  expect elasticsearch "image: elasticsearch:$ELASTICSEARCH_VERSION"

  # The defaults, read from this script: the environment may have others now.
  expect mariadb "\${CHAT_MARIADB_PORT:-$(default_of CHAT_MARIADB_PORT)}:3306"
  expect redis "\${CHAT_REDIS_PORT:-$(default_of CHAT_REDIS_PORT)}:6379"
  expect kafka "\${CHAT_KAFKA_PORT:-$(default_of CHAT_KAFKA_PORT)}:9094"
  expect kafka "HOST://127.0.0.1:\${CHAT_KAFKA_PORT:-$(default_of CHAT_KAFKA_PORT)}"
  expect elasticsearch "\${CHAT_ELASTICSEARCH_PORT:-$(default_of CHAT_ELASTICSEARCH_PORT)}:9200"

  for item in "${MARIADB_SETTINGS[@]}"; do expect mariadb "- $item"; done
  expect mariadb "./lib/engines/mariadb.sql:/docker-entrypoint-initdb.d/chat.sql:ro"
  for item in "${REDIS_SETTINGS[@]}"; do expect redis "- ${item:-\"\"}"; done
  for item in "${KAFKA_SETTINGS[@]}"; do expect kafka "$(kafka_variable "$item")"; done
  expect kafka "KAFKA_HEAP_OPTS: \"$KAFKA_HEAP\""
  for item in "${ELASTICSEARCH_SETTINGS[@]}"; do expect elasticsearch "- ${item/: /=}"; done
  expect elasticsearch "- ES_JAVA_OPTS=$ELASTICSEARCH_HEAP"

  for service in migrate api applications chats messages search; do
    expect "$service" "<<: *chatd"
  done
  check_rust

  if ((differences > 0)); then
    fail "$differences of $compared facts differ" "scripts/engines and compose.yaml describe the same servers" \
      "change the one that is wrong"
  fi
  note "scripts/engines, compose.yaml and the Dockerfile agree in $compared facts"
}

# expect SERVICE TEXT: the part of compose.yaml about SERVICE has a line that
# ends in TEXT, apart from quotes.
expect() {
  compared=$((compared + 1))
  if ! service_lines "$1" | ends_in "${2//\"/}"; then
    differences=$((differences + 1))
    note "compose.yaml, $1: not found: $2"
  fi
}

# Reads lines to the end: a reader that leaves early would break the pipe.
ends_in() {
  local line found=1
  while IFS= read -r line; do
    line=${line//\"/}
    [[ $line != *"$1" ]] || found=0
  done
  return "$found"
}

service_lines() {
  awk -v head="  $1:" '/^[^ #]/ {section = $1} /^  [^ #]/ {inside = ($0 == head && section == "services:")} inside' \
    "$scripts/compose.yaml"
}

# message.max.bytes=1 becomes KAFKA_MESSAGE_MAX_BYTES: "1", as the image reads it.
kafka_variable() {
  local name=${1%%=*} value=${1#*=}
  name=${name//./_}
  echo "KAFKA_${name^^}: \"$value\""
}

default_of() { sed -n "s/^export $1=.*:-\([0-9]*\)}\$/\1/p" "$scripts/engines"; }

# The image that builds has the compiler that the repository names.
check_rust() {
  local channel
  channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$repository/rust-toolchain.toml")
  compared=$((compared + 1))
  if ! grep -q "^FROM rust:${channel%.0}-" "$scripts/Dockerfile"; then
    differences=$((differences + 1))
    note "Dockerfile: rust-toolchain.toml names $channel, and the image another"
  fi
}
