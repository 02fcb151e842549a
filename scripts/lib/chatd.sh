# Starts and stops a chatd of its own for a script; to be sourced.
#
# Sets: bin (folder of the programs), CHATCTL_SERVER and CHATCTL_ADMIN (exported), pids (of what runs).

# Tells what happens; data goes to standard output.
say() { printf '%s\n' "$*" >&2; }

die() { say "$(basename "$0"): $*"; exit 1; }

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing; install it and run this again"
  done
}

# Builds both programs. The release profile, because what is shown are its figures.
# CHAT_BIN names a folder with programs that were built before.
build() {
  if [ -n "${CHAT_BIN:-}" ]; then
    [ -x "$CHAT_BIN/chatd" ] && [ -x "$CHAT_BIN/chatctl" ] || die "CHAT_BIN is $CHAT_BIN, which holds no chatd and chatctl"
    bin=$CHAT_BIN
    return
  fi
  need cargo cc
  say "building chatd and chatctl (the first time takes some minutes)"
  cargo build --release --locked --quiet -p chat-server -p chat-cli
  bin=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
}

pids=()
chatd_pid=

# launch LOG ARGUMENT …: one chatd on ports that the system chooses; returns at once, with its pid in chatd_pid.
launch() {
  local log=$1
  shift
  # The line that says where it listens must be that of this start.
  : >"$log"
  "$bin/chatd" "$@" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 2>"$log" &
  chatd_pid=$!
  pids+=("$chatd_pid")
}

# until_ready LOG PID: prints the line that says where it listens.
until_ready() {
  local log=$1 pid=$2 deadline=$((SECONDS + 60)) ready
  until ready=$(grep 'chatd is ready' "$log" | tail -n 1) && [ -n "$ready" ]; do
    kill -0 "$pid" 2>/dev/null || die "chatd did not start: $(tail -n 3 "$log")"
    [ "$SECONDS" -lt "$deadline" ] || die "chatd is not ready after 60 s; see $log"
    sleep 0.02
  done
  printf '%s\n' "$ready"
}

# use READY: the clients speak to the process that said this.
use() {
  CHATCTL_SERVER=$(sed 's/.* api="\{0,1\}\([^ "]*\).*/\1/' <<<"$1")
  CHATCTL_ADMIN=$(sed 's/.* admin=\([^ ]*\).*/\1/' <<<"$1")
  export CHATCTL_SERVER CHATCTL_ADMIN
}

# start_chatd DATA_DIR LOG [FLAG …]: the embedded default in one process; returns when it answers.
start_chatd() {
  local data=$1 log=$2 ready
  shift 2
  launch "$log" --data-dir "$data" "$@"
  ready=$(until_ready "$log" "$chatd_pid")
  use "$ready"
}

# stop_chatd: asks everything that runs to stop and waits until it has.
stop_chatd() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=() chatd_pid=
}

# engines_up: the four servers, started here unless they run already; engines_down ends what this started.
engines_up() {
  engines_ours=
  if ! scripts/engines status >/dev/null 2>&1; then
    engines_ours=yes
    scripts/engines up >&2
  fi
  # shellcheck source=/dev/null
  . <(scripts/engines env)
}

engines_down() {
  [ -z "${engines_ours:-}" ] || scripts/engines down >&2
}

# name_run NAME: database, topics, keys and index of this run alone.
name_run() {
  run=$1
  DATABASE_URL=${DATABASE_URL%/*}/chat_$run
  export DATABASE_URL CHATD_TOPIC_PREFIX="$run." CHATD_REDIS_PREFIX="$run:" CHATD_INDEX_PREFIX="$run-"
  # There is one node here: a copy would have no place.
  export CHATD_INDEX_REPLICAS=0
}

# start_processes LOG_DIR: migrate, then the API and each worker as a process of its own.
# Sets api_pid and worker_pids; returns when all are ready.
start_processes() {
  local logs=$1 worker ready
  mkdir -p "$logs"
  "$bin/chatd" migrate 2>"$logs/migrate.log" || die "chatd migrate failed: $(tail -n 3 "$logs/migrate.log")"
  start_api "$logs"
  worker_pids=()
  for worker in applications chats messages search; do
    launch "$logs/$worker.log" worker "$worker"
    worker_pids+=("$chatd_pid")
  done
  for worker in applications chats messages search; do
    ready=$(until_ready "$logs/$worker.log" "${worker_pids[0]}")
    worker_pids=("${worker_pids[@]:1}" "${worker_pids[0]}")
  done
  ready=$(until_ready "$logs/api.log" "$api_pid")
  use "$ready"
}

# start_api LOG_DIR: the API alone.
start_api() {
  launch "$1/api.log" api
  api_pid=$chatd_pid
}
