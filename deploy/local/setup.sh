#!/bin/sh
# Brings a bare Debian 12 machine to where Assize can start. Called by `make setup`; any number of times.
#
# Theory of operation: each step first asks whether its work is there and then costs nothing; else it builds beside
# the goal and renames into place, so that a call that was cut off leaves nothing half-done for the next to trip over.
# Debian packages and the checkout's .venv are made here, with nothing but sh, coreutils and apt; what is slow and the
# same for every checkout (Kafka, language images) is made by `python -m deploy.local.provision` in the cache folder.
# No index or mirror is named: apt, pip and Maven are asked as this machine has them set up.
set -eu
cd "$(dirname "$0")/../.."
CHECKOUT=$PWD
CACHE=${ASSIZE_CACHE_DIR:-/var/cache/assize}
PYTHON=/usr/bin/python3.11
WITH_TESTS=no
for argument in "$@"; do
  case $argument in
    --tests) WITH_TESTS=yes ;;
    *) echo "setup.sh: expected nothing or --tests, got: $argument" >&2; exit 2 ;;
  esac
done

# What runs the stack: the engines, the runner's compiler, the image builder; and what the tests drive beside it.
PACKAGES="ca-certificates make gcc libc6-dev musl-tools python3.11 python3.11-venv openjdk-17-jre-headless maven
  postgresql-15 docker.io runc containerd mmdebstrap debian-archive-keyring procps passwd"
TEST_PACKAGES="chromium kcat git"

say() { printf '%s\n' "$*"; }
fail() { # fail WHAT WHAT-TO-DO
  printf 'setup: %s\n  what to do: %s\n' "$1" "$2" >&2
  exit 1
}

# run STEP LOG WHAT-TO-DO COMMAND...: shows that it goes on, how long, and the last line of the log if it fails.
run() {
  step=$1; log=$2; advice=$3; shift 3
  began=$(date +%s)
  "$@" >"$log" 2>&1 9>&- &
  child=$!
  told=0
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    elapsed=$(($(date +%s) - began))
    [ "$elapsed" -eq "$told" ] && continue
    if [ -t 1 ]; then
      printf '\r\033[K%s … %s s  %s' "$step" "$elapsed" "$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-60)"
      told=$elapsed
    elif [ $((elapsed % 15)) -eq 0 ]; then
      say "$step … $elapsed s"
      told=$elapsed
    fi
  done
  code=0
  wait "$child" || code=$?
  [ -t 1 ] && printf '\r\033[K'
  if [ "$code" -ne 0 ]; then
    tail -n 15 "$log" >&2
    fail "$step failed (exit $code; all of it: $log)" "$advice"
  fi
  say "$step: done in $(($(date +%s) - began)) s"
}

[ "$(id -u)" -eq 0 ] || fail "expected to run as root, running as $(id -un)" "run it with sudo, or in a machine of its own"
command -v apt-get >/dev/null || fail "expected Debian 12, found no apt-get" "use a Debian 12 machine or virtual machine"
mkdir -p "$CACHE/logs"
exec 9>"$CACHE/setup.lock"
if ! flock -n 9; then
  say "another set-up is running; waiting for it"
  flock 9
fi

# --- 1. Debian packages -------------------------------------------------------------------------------------------
missing_packages() {
  wanted=$PACKAGES
  [ "$WITH_TESTS" = yes ] && wanted="$wanted $TEST_PACKAGES"
  for package in $wanted; do
    # shellcheck disable=SC2016  # the format is dpkg's, not the shell's
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
      installed) ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}
POLICY=/usr/sbin/policy-rc.d
drop_policy() { if grep -qs 'placed by assize setup' "$POLICY"; then rm -f "$POLICY"; fi; }
install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  # We start engines of our own; the distribution's must not begin to serve because a package came in.
  [ -e "$POLICY" ] || { printf '#!/bin/sh\n# placed by assize setup\nexit 101\n' >"$POLICY"; chmod 755 "$POLICY"; }
  trap drop_policy EXIT
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  mkdir -p /usr/share/man/man1 # slim machines lack it and Java's package wants it
  dpkg --configure -a --force-confold
  apt-get -qq -o DPkg::Lock::Timeout=600 update
  # shellcheck disable=SC2086  # a list on purpose
  apt-get -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold --no-install-recommends install $1
}
drop_policy
missing=$(missing_packages)
if [ -n "$missing" ]; then
  say "Debian packages to install: $missing"
  run "[1/3] Debian packages" "$CACHE/logs/packages.log" \
    "see that 'apt-get update' works on this machine, then call make setup again" install_packages "$missing"
fi

# --- 2. uv, the installer (takes a second where pip takes twenty) ----------------------------------------------------
digest() { sha256sum | cut -c1-16; }
UV_HOME=$CACHE/uv/$(digest <deploy/local/uv-requirements.txt)
make_uv() {
  rm -rf "$UV_HOME".new
  "$PYTHON" -m venv "$UV_HOME".new
  "$UV_HOME".new/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r deploy/local/uv-requirements.txt
  mv -T "$UV_HOME".new "$UV_HOME"
}
if [ ! -x "$UV_HOME/bin/uv" ]; then
  mkdir -p "$CACHE/uv"
  run "[2/3] Python installer" "$CACHE/logs/uv.log" \
    "see that pip can install a package on this machine, then call make setup again" make_uv
fi

# --- 3. The checkout's own .venv, exactly requirements.lock, and the project itself in place ---------------------------
STAMP=$(cat requirements.lock pyproject.toml deploy/local/uv-requirements.txt - <<END | digest
$CHECKOUT $("$PYTHON" -c 'import sys; print(sys.version)')
END
)
pip_setting() { "$UV_HOME/bin/python" -m pip config list 2>/dev/null | sed -n "s/^$1='\(.*\)'\$/\1/p" | head -n 1; }
make_venv() {
  export UV_CACHE_DIR="$CACHE/uv-cache" UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=180
  export UV_SYSTEM_CERTS=1 # those of the machine, as apt and pip use them
  # uv does not read pip's configuration: what this machine tells pip, we pass on.
  if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    index=${PIP_INDEX_URL:-$(pip_setting global.index-url)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
  fi
  if [ -z "${SSL_CERT_FILE:-}" ]; then
    certificates=${PIP_CERT:-$(pip_setting global.cert)}
    [ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
  fi
  if ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    "$UV_HOME/bin/uv" venv -q --python "$PYTHON" .venv
  fi
  rm -f .venv/assize-setup
  "$UV_HOME/bin/uv" pip sync --python .venv/bin/python --require-hashes requirements.lock
  "$UV_HOME/bin/uv" pip install --python .venv/bin/python --no-deps -e .
  .venv/bin/python -c 'import services.cli.__main__'
  printf '%s\n' "$STAMP" >.venv/assize-setup
}
if [ "$(cat .venv/assize-setup 2>/dev/null)" != "$STAMP" ] || [ ! -x .venv/bin/assize ]; then
  run "[3/3] Python packages" "$CACHE/logs/venv.log" \
    "see that pip can install a package on this machine, then call make setup again" make_venv
fi

# --- What is the same for every checkout: Kafka and the language images ------------------------------------------------
exec .venv/bin/python -m deploy.local.provision 9>&-
