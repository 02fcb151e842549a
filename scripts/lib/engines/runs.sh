# What one run of the demo, the bench or a test made under a name of its own, and removing it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts is the caller's

tool() { "$scripts/engines" tool "$@"; }

# runs [PREFIX]: the names of the runs that left a database and begin so.
runs() {
  tool mariadb -e 'SHOW DATABASES' | sed -n "s/^chat_\\(${1:-}[a-z0-9]*\\)\$/\\1/p"
}

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
  tool mariadb -e "$statements" || true
  for name in "$@"; do
    # One client for all of them: a run of load leaves a key for each create.
    tool redis --scan --pattern "$name:*" | xargs -r -n 500 echo UNLINK | tool redis >/dev/null || true
    tool elasticsearch DELETE "/${name}-messages-000001" >/dev/null 2>&1 || true
    tool elasticsearch DELETE "/_index_template/${name}-messages" >/dev/null 2>&1 || true
  done
  # One call for all: Kafka's tool takes longer to start than to work.
  tool kafka topics --delete --if-exists --topic "($(IFS='|'; echo "$*"))\\..*" >/dev/null 2>&1 || true
}
