# Starts and stops a chatd of its own for a script; to be sourced.
#
# Sets: bin (folder of the programs), CHATCTL_SERVER and CHATCTL_ADMIN (exported).

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

# start_chatd DATA_DIR LOG [FLAG …]: on ports that the system chooses; returns when it answers.
start_chatd() {
  local data=$1 log=$2
  shift 2
  # The line that says where it listens must be that of this start.
  : >"$log"
  "$bin/chatd" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$data" "$@" 2>"$log" &
  chatd_pid=$!
  local deadline=$((SECONDS + 30)) ready
  until ready=$(grep 'chatd is ready' "$log" | tail -n 1) && [ -n "$ready" ]; do
    kill -0 "$chatd_pid" 2>/dev/null || die "chatd did not start: $(tail -n 3 "$log")"
    [ "$SECONDS" -lt "$deadline" ] || die "chatd is not ready after 30 s; see $log"
    sleep 0.02
  done
  CHATCTL_SERVER=$(sed 's/.* api=\([^ ]*\).*/\1/' <<<"$ready")
  CHATCTL_ADMIN=$(sed 's/.* admin=\([^ ]*\).*/\1/' <<<"$ready")
  export CHATCTL_SERVER CHATCTL_ADMIN
}

# stop_chatd: asks it to stop and waits until it has.
stop_chatd() {
  [ -n "${chatd_pid:-}" ] || return 0
  kill -TERM "$chatd_pid" 2>/dev/null || true
  wait "$chatd_pid" 2>/dev/null || true
  chatd_pid=
}
