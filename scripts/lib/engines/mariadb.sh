# MariaDB from the distribution's packages.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # data, logs, scripts and become are the caller's

# In compose.yaml too, word for word.
MARIADB_SETTINGS=(
  --innodb-buffer-pool-size=512M
  --innodb-flush-log-at-trx-commit=1
  --max-allowed-packet=64M
  --max-connections=200
  --character-set-server=utf8mb4
  --skip-log-bin
  --skip-name-resolve
)

mariadb_port() { echo "$CHAT_MARIADB_PORT"; }
mariadb_ports() { mariadb_port; }

mariadb_start() {
  local home=$data/mariadb
  system_user chat-db
  become chat-db
  # Moved into place when it is complete: an interrupted install is made anew.
  if [[ ! -d $home ]]; then
    note "mariadb: making its tables"
    rm -rf "$home.new"
    mkdir -p "$home.new"
    own chat-db "$home.new"
    # Its root comes in by the socket, and not over the network.
    "${become[@]}" mariadb-install-db --no-defaults --datadir="$home.new" --skip-test-db \
      --auth-root-authentication-method=socket >"$logs/mariadb-install.log" 2>&1 </dev/null || {
      show_end "$logs/mariadb-install.log"
      fail "MariaDB could not make its tables" "its log, $logs/mariadb-install.log, says it" \
        "see that there is room on the disk, then run up again"
    }
    mv "$home.new" "$home"
  fi
  # A copy, for the server's user may not be able to reach the repository. Every
  # start carries it out, so the database and its user are always there.
  install -m 0644 "$scripts/lib/engines/mariadb.sql" "$home/init.sql"
  # The socket's path is relative to the data: a long one would be refused.
  launch mariadb "${become[@]}" mariadbd --no-defaults --datadir="$home" --socket=mariadb.sock \
    --pid-file="$home/mariadb.pid" --bind-address=127.0.0.1 --port="$CHAT_MARIADB_PORT" \
    --init-file="$home/init.sql" "${MARIADB_SETTINGS[@]}"
}

mariadb_answers() {
  mariadb --no-defaults --connect-timeout=2 --protocol=tcp -h 127.0.0.1 -P "$CHAT_MARIADB_PORT" \
    -u chat -pchat chat -e 'SELECT 1' >/dev/null 2>&1
}
