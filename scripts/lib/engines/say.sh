# How scripts speak: progress and failures on stderr, data on stdout.
# shellcheck shell=bash

note() { echo "engines: $*" >&2; }

# fail WHAT WHY DO: says what went wrong, why, and what to do; then ends.
fail() {
  printf 'engines: error: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
  exit 1
}

# Prints the end of a log where a failure is told, so that nobody has to look
# for it.
show_end() {
  [[ -f $1 ]] || return 0
  echo "  the last lines of $1:" >&2
  tail -n 15 "$1" | sed 's/^/    /' >&2
}
