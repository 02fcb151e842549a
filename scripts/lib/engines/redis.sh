# Redis from the distribution's packages.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # data is the caller's

# In compose.yaml too, word for word. It keeps nothing on the disk, so that each
# restart is a test of lost counters; production wants appendonly yes.
REDIS_SETTINGS=(
  --save ""
  --appendonly no
  --maxmemory-policy noeviction
)

redis_port() { echo "$CHAT_REDIS_PORT"; }
redis_ports() { redis_port; }

redis_start() {
  mkdir -p "$data/redis"
  launch redis redis-server --port "$CHAT_REDIS_PORT" --bind 127.0.0.1 --daemonize no \
    --dir "$data/redis" "${REDIS_SETTINGS[@]}"
}

redis_answers() {
  [[ $(printf 'PING\r\nQUIT\r\n' | exchange "$CHAT_REDIS_PORT") == +PONG* ]]
}
