# Elasticsearch from Maven: the distribution that its makers test against, the
# real server with few modules.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # data, packages, logs, programs and become are the caller's

# In compose.yaml too, as name=value.
ELASTICSEARCH_SETTINGS=(
  "discovery.type: single-node"
  "xpack.security.enabled: false"
  "cluster.routing.allocation.disk.threshold_enabled: false"
  # Mapped files want a kernel setting that not every machine allows.
  "node.store.allow_mmap: false"
)
ELASTICSEARCH_HEAP="-Xms512m -Xmx512m"

elasticsearch_port() { echo "$CHAT_ELASTICSEARCH_PORT"; }
elasticsearch_ports() { echo "$CHAT_ELASTICSEARCH_PORT $CHAT_ELASTICSEARCH_TRANSPORT_PORT"; }
elasticsearch_zip() { echo "$packages/elasticsearch-$ELASTICSEARCH_VERSION.zip"; }

elasticsearch_start() {
  local home=$data/elasticsearch server=$programs/elasticsearch-$ELASTICSEARCH_VERSION
  find_java || fail "Elasticsearch finds no Java 17" "neither JAVA_HOME nor the path has one" "install openjdk-17-jre-headless"
  [[ -f $(elasticsearch_zip) ]] || elasticsearch_fetch
  # It refuses to run as root, and its user need not see the repository.
  system_user chat-es
  become chat-es
  "${become[@]}" test -x "$java_home/bin/java" ||
    fail "Elasticsearch cannot run $java_home/bin/java" "its user, chat-es, cannot reach that folder" \
      "set JAVA_HOME to a Java 17 that all users can run"
  [[ -d $server ]] || elasticsearch_unpack "$server"
  mkdir -p "$home"/{config,data,logs,tmp}
  cp "$server/config/log4j2.properties" "$home/config/"
  # The collector's log would go to where the server must not write.
  grep -v -e '-Xlog:' "$server/config/jvm.options" >"$home/config/jvm.options"
  elasticsearch_yml "$home" >"$home/config/elasticsearch.yml"
  own chat-es "$home"
  rm -f "$home/server.pid"
  launch elasticsearch "${become[@]}" ES_JAVA_HOME="$java_home" ES_PATH_CONF="$home/config" ES_TMPDIR="$home/tmp" \
    ES_JAVA_OPTS="$ELASTICSEARCH_HEAP" "$server/bin/elasticsearch" -p "$home/server.pid"
}

elasticsearch_yml() {
  cat <<YML
cluster.name: chat
node.name: chat
path.data: $1/data
path.logs: $1/logs
http.host: 127.0.0.1
http.port: $CHAT_ELASTICSEARCH_PORT
transport.host: 127.0.0.1
transport.port: $CHAT_ELASTICSEARCH_TRANSPORT_PORT
YML
  printf '%s\n' "${ELASTICSEARCH_SETTINGS[@]}"
}

elasticsearch_fetch() {
  local zip part=$packages/elasticsearch.part
  zip=$(elasticsearch_zip)
  note "elasticsearch: fetching version $ELASTICSEARCH_VERSION through Maven (about 100 MB)"
  rm -rf "$part"
  resolve elasticsearch "$MAVEN_COPY:copy" -DoutputDirectory="$part" \
    -Dartifact="org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ELASTICSEARCH_VERSION:zip"
  mv "$part/elasticsearch-$ELASTICSEARCH_VERSION.zip" "$zip"
  rm -rf "$part"
}

elasticsearch_unpack() {
  local server=$1 part=$1.part
  rm -rf "$part"
  mkdir -p "$part"
  unzip -q "$(elasticsearch_zip)" -d "$part" ||
    fail "Elasticsearch could not be unpacked" "unzip does not like $(elasticsearch_zip)" "remove that file and run up again"
  mv "$part/elasticsearch-$ELASTICSEARCH_VERSION" "$server"
  rm -rf "$part"
}

# A small Java program starts the server and stays beside it. Whoever suspends
# or kills "elasticsearch" means the server, so its id is remembered as well.
elasticsearch_adopt() {
  local starter server fields
  server=$(cat "$data/elasticsearch/server.pid" 2>/dev/null) || return 0
  [[ -n $server && -f $run/elasticsearch.pid ]] || return 0
  if grep -q "^$server " "$run/elasticsearch.pid"; then return; fi
  starter=$(head -n 1 "$run/elasticsearch.pid" | cut -d ' ' -f 1)
  # Field 6 of the whole line, the session, proves that the server is ours.
  read -ra fields <<<"$(stat_fields "$server")"
  if [[ ${fields[3]:-} == "$starter" ]]; then remember elasticsearch "$server"; fi
}

elasticsearch_answers() {
  elasticsearch_adopt
  printf 'GET /_cluster/health HTTP/1.0\r\n\r\n' | exchange "$CHAT_ELASTICSEARCH_PORT" |
    grep -q -e '"status":"green"' -e '"status":"yellow"'
}
