# What the package route needs from outside: programs of the distribution
# through apt-get, everything of Java through Maven, each as it is configured.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # base, packages, logs and versions are the caller's

MAVEN_COPY=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# install_missing NAME...: the programs that the named engines are made of, in
# one call of apt-get, and none where nothing is missing.
install_missing() {
  local name missing=()
  for name in "$@"; do
    case $name in
      mariadb)
        # The bare programs: the full package would also run a server of its
        # own on the usual port.
        command -v mariadbd >/dev/null || missing+=(mariadb-server-core)
        command -v mariadb >/dev/null || missing+=(mariadb-client-core)
        ;;
      redis) command -v redis-server >/dev/null || missing+=(redis-server) ;;
      kafka)
        find_java || missing+=(openjdk-17-jre-headless)
        [[ -d $(kafka_programs) ]] || command -v mvn >/dev/null || missing+=(maven)
        ;;
      elasticsearch)
        find_java || missing+=(openjdk-17-jre-headless)
        [[ -f $(elasticsearch_zip) ]] || command -v mvn >/dev/null || missing+=(maven)
        command -v unzip >/dev/null || missing+=(unzip)
        ;;
    esac
  done
  if ((${#missing[@]} > 0)); then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    apt_install "${missing[@]}"
  fi
  same_series "$@"
}

apt_install() {
  local log=$logs/apt.log policy=/usr/sbin/policy-rc.d status=0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    fail "missing on this machine: $*" "only root can install them, and only with apt-get" \
      "install these packages by hand, or run as root on Debian 12"
  fi
  note "installing $*"
  # Debian starts a service as soon as it is installed, unless this file says
  # no. We want the program, not a second Redis on the usual port.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  else
    policy=
  fi
  {
    apt-get -q -o DPkg::Lock::Timeout=300 update &&
      DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || status=$?
  if [[ -n $policy ]]; then rm -f "$policy"; fi
  if ((status != 0)); then
    show_end "$log"
    fail "apt-get could not install $*" "its log, $log, says it" "see that package lists can be fetched, then run up again"
  fi
}

# A distribution may ship another series than the one that compose.yaml names.
same_series() {
  local name version
  for name in "$@"; do
    case $name in
      mariadb)
        version=$(mariadbd --no-defaults --version)
        [[ $version == *"Ver $MARIADB_VERSION."* ]] ||
          note "warning: this is not MariaDB $MARIADB_VERSION, but ${version#*Ver }"
        ;;
      redis)
        version=$(redis-server --version)
        [[ $version == *"v=$REDIS_VERSION."* ]] || note "warning: this is not Redis $REDIS_VERSION, but $version"
        ;;
    esac
  done
}

# Sets java_home to a Java that both servers run on, or fails.
find_java() {
  local program major
  for program in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java)" /usr/lib/jvm/java-17-openjdk-*/bin/java; do
    [[ -x $program ]] || continue
    major=$("$program" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if ((${major:-0} >= 17)); then
      java_home=$(dirname "$(dirname "$(readlink -f "$program")")")
      return 0
    fi
  done
  return 1
}

# resolve NAME ARGUMENT...: runs Maven with these arguments. Two at a time could
# spoil each other's local repository, hence the lock.
resolve() {
  local name=$1 log=$logs/maven-$1.log
  shift
  (
    flock 8
    mvn -B -ntp -Dstyle.color=never "$@" >"$log" 2>&1 </dev/null
  ) 8>"$run/maven.lock" || {
    # The reason comes first, and advice on Maven itself after it.
    grep -m 2 '^\[ERROR\]' "$log" | sed 's/^/    /' >&2 || true
    fail "Maven could not fetch $name" "its log, $log, says it" \
      "see that Maven reaches a repository, then run up again: what was fetched is kept"
  }
}
