# Processes that outlive this script: started, remembered, asked and stopped.
#
# run/NAME.pid has a line for each process that makes up a server, the serving
# one last: process id, start time in clock ticks, boot id, port. A number
# alone may have gone to another process since; with the other two it cannot.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # run, logs, names and limits are the caller's

# Prints the fields of /proc/PID/stat from the state on, for a living process.
stat_fields() {
  local line
  { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # The name before it is in parentheses and may hold blanks itself.
  line=${line##*) }
  # A zombie has ended; only its parent has not looked yet.
  [[ $line != [ZX]* ]] && echo "$line"
}

# Prints the one-letter state: T is suspended by a signal.
state() {
  local fields
  fields=$(stat_fields "$1") && echo "${fields%% *}"
}

identity() {
  local fields
  read -ra fields <<<"$(stat_fields "$1")"
  # Field 22 of the whole line: the time it started.
  [[ -n ${fields[19]:-} ]] && echo "${fields[19]} $(</proc/sys/kernel/random/boot_id)"
}

# remember NAME PID
remember() {
  local who
  who=$(identity "$2") || return 0
  echo "$2 $who $("${1}_port")" >>"$run/$1.pid"
}

# Prints the ids of the processes of NAME that are alive, the serving one last.
alive() {
  local pid start boot port
  [[ -f $run/$1.pid ]] || return 0
  while read -r pid start boot port; do
    if [[ $(identity "$pid" || true) == "$start $boot" ]]; then echo "$pid"; fi
  done <"$run/$1.pid"
}

# Prints the id of the serving process of NAME, or fails where none is left.
running() {
  local pids
  pids=$(alive "$1")
  [[ -n $pids ]] && tail -n 1 <<<"$pids"
}

# launch NAME COMMAND...: runs it in a session of its own, so that neither a
# key press in this terminal nor its end reaches the server.
launch() {
  local name=$1
  shift
  if [[ -f $logs/$name.log ]]; then mv -f "$logs/$name.log" "$logs/$name.log.1"; fi
  rm -f "$run/$name.pid"
  # Each wants more open files than a shell is given by habit.
  ulimit -S -n hard || true
  # Descriptors 8 and 9 are our locks: a server must not keep them held.
  setsid "$@" </dev/null >>"$logs/$name.log" 2>&1 8>&- 9>&- &
  remember "$name" "$!"
}

# Waits until NAME answers; fails when its process ends or the time is over.
await() {
  local name=$1 deadline=$((SECONDS + READY_TIMEOUT_S))
  until "${name}_answers"; do
    if ! running "$name" >/dev/null; then
      show_end "$logs/$name.log"
      fail "$name ended while it was starting" "its log says it" "see scripts/engines logs $name"
    fi
    if ((SECONDS >= deadline)); then
      show_end "$logs/$name.log"
      fail "$name did not answer within $READY_TIMEOUT_S s" "it runs, but is not ready, or the machine is very busy" \
        "see scripts/engines logs $name; run up again to wait on, or set CHAT_ENGINES_READY_TIMEOUT_S"
    fi
    sleep "$POLL_INTERVAL_S"
  done
}

# Stops NAME by the ids that were remembered, and forgets them once it is gone.
stop() {
  local name=$1 pid pids deadline=$((SECONDS + STOP_TIMEOUT_S))
  if ! pid=$(running "$name"); then
    rm -f "$run/$name.pid"
    note "$name is down"
    return
  fi
  kill -TERM "$pid" 2>/dev/null || true
  # A suspended process takes the signal only when it goes on.
  kill -CONT "$pid" 2>/dev/null || true
  while pids=$(alive "$name") && [[ -n $pids ]]; do
    if ((SECONDS >= deadline)); then
      note "$name did not stop within $STOP_TIMEOUT_S s: killing process(es) ${pids//$'\n'/ }"
      # Each launched process leads a group of its own: its children go with it.
      for pid in $pids; do kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true; done
      deadline=$((SECONDS + STOP_TIMEOUT_S))
    fi
    sleep "$POLL_INTERVAL_S"
  done
  rm -f "$run/$name.pid"
  note "$name is down"
}

# Refuses to talk of a server that runs on another port than the one asked for.
same_port() {
  local name=$1 port wanted
  wanted=$("${name}_port")
  port=$(tail -n 1 "$run/$name.pid" | cut -d ' ' -f 4)
  [[ $port == "$wanted" ]] ||
    fail "$name runs on port $port, not on $wanted" "it was started with another setting" \
      "run scripts/engines down $name first, or set CHAT_${name^^}_PORT=$port"
}

# Refuses to start NAME where its ports are taken.
ports_free() {
  local name=$1 port
  for port in $("${name}_ports"); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      fail "port $port, wanted for $name, is in use" \
        "another program listens there, perhaps a server of another checkout, or of this one from before target was removed" \
        "stop it, or choose other ports: scripts/engines help names the variables"
    fi
  done
}

# exchange PORT: sends what it reads to the port and prints the answer, within
# two seconds. It spares us a client program for each protocol.
exchange() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && cat <&3' _ "$1" 2>/dev/null || true
}

# One `up`, `down` or `reset` at a time: two would start each server twice.
lock() {
  exec 9>"$run/lock"
  flock -n 9 || note "waiting for another scripts/engines to finish"
  flock -w 900 9 ||
    fail "another scripts/engines has worked for 15 minutes" "it holds $run/lock" "see what it waits for, or end it"
}

# become USER: puts into `become` the words that run a command as that user.
# Only root can be somebody else, and only root has to: the servers that refuse
# to run do so for root alone.
become() {
  become=(env)
  if ((EUID == 0)); then
    become=(setpriv "--reuid=$1" "--regid=$(id -g "$1")" --clear-groups env "HOME=${data:-/}")
  fi
}

# Makes a user of the system that owns nothing but what we give it.
system_user() {
  ((EUID == 0)) || return 0
  id "$1" >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1" ||
    fail "the user $1 could not be made" "useradd says why above" "make it by hand, or see that the user database can be written"
}

# own USER DIRECTORY
own() {
  if ((EUID == 0)); then chown -R "$1:$1" "$2"; fi
}
