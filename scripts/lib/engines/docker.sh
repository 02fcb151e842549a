# The route through a Docker engine: the same four, from compose.yaml.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # scripts, ENGINES and limits are the caller's

# Tells whether a Docker engine answers, and can do compose. The client alone
# is no engine.
docker_answers() {
  command -v docker >/dev/null || return 1
  timeout 10 docker info >/dev/null 2>&1 || return 1
  docker compose version >/dev/null 2>&1 && return 0
  note "a Docker engine answers, but it has no compose: taking packages instead"
  return 1
}

compose() { docker compose -f "$scripts/compose.yaml" "$@"; }

docker_up() {
  # compose says by itself which container is not healthy, and why.
  compose up --detach --wait --wait-timeout "$READY_TIMEOUT_S" "$@" >&2 ||
    fail "not all containers are up and healthy" "docker compose says it above" "see scripts/engines logs NAME"
}

docker_down() {
  compose rm --stop --force "$@" >&2 ||
    fail "the containers could not be stopped" "docker compose says it above" "see docker compose -f scripts/compose.yaml ps"
}

docker_reset() {
  local name project
  project=$(compose config --format json | sed -n 's/^  "name": "\(.*\)",$/\1/p')
  docker_down "$@"
  for name in "$@"; do
    if docker volume inspect "${project}_$name" >/dev/null 2>&1; then
      note "removing the data of $name"
      docker volume rm "${project}_$name" >/dev/null ||
        fail "the data of $name could not be removed" "docker says it above" "stop what uses the volume ${project}_$name"
    fi
  done
  docker_up "$@"
}

docker_status() {
  local healthy
  compose ps --all "${ENGINES[@]}"
  healthy=$(compose ps --format '{{.Health}}' "${ENGINES[@]}" | grep -c '^healthy$' || true)
  ((healthy == ${#ENGINES[@]}))
}

docker_logs() { compose logs --no-color --tail "$LOG_LINES" "$@"; }

docker_pid() {
  local container
  container=$(compose ps --quiet "$1")
  [[ -n $container ]] || fail "$1 does not run" "it has no running container" "run scripts/engines up $1"
  docker inspect --format '{{.State.Pid}}' "$container"
}
