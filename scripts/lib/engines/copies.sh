# Copies of an engine's data, and putting them back: what a failover to a replica that lags behind, or
# a restored backup, does to a server that others go on using.
# shellcheck shell=bash
# shellcheck disable=SC2154 # data and the port are the caller's

# packages_copy NAME: keeps the data of NAME as they are now. The server stops meanwhile, except Redis,
# which writes a dump by itself.
packages_copy() {
  local name=$1
  if [[ $name == redis ]]; then
    redis-cli -h 127.0.0.1 -p "$CHAT_REDIS_PORT" SAVE >/dev/null
    copy_data "$name"
    return
  fi
  packages_down "$name"
  copy_data "$name"
  packages_up "$name"
}

# packages_rollback NAME: puts the kept data of NAME in the place of what it has now.
packages_rollback() {
  local name=$1
  [[ -d $data/$name.copy ]] ||
    fail "there is no copy of the data of $name" "'rollback' puts back what 'copy' has kept" "run scripts/engines copy $name"
  packages_down "$name"
  rm -rf "${data:?}/$name"
  cp -a "$data/$name.copy" "$data/$name"
  packages_up "$name"
}

copy_data() {
  rm -rf "${data:?}/$1.copy"
  cp -a "$data/$1" "$data/$1.copy"
}

docker_copy() { no_copies; }
docker_rollback() { no_copies; }

no_copies() {
  fail "the data of a container are not copied" "they are in a volume of the Docker engine" \
    "run scripts/engines with CHAT_ENGINES_ROUTE=packages"
}
