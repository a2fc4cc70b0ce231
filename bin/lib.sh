# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Shared functions for the scripts in bin/. Source it first:
#
#     . "$(dirname "$(readlink -f "$0")")/lib.sh"
#
# It assumes Debian 12 with git, python3 and root or sudo, and installs everything else that is missing. It offers:
#
#     say, die                     print a message; `die` also ends the script
#     step NAME COMMAND...         run a named, timed step; `try_step` continues after a failure
#     begin_step LOG NAME COMMAND...   run a step in the background, with its output in a file; `end_steps` waits
#     begin_steps FUNCTION         run a function of several steps in the background; `end_steps` waits
#     summary                      print a table of the steps so far; false if one failed
#     skip_step NAME REASON        note a step that cannot run here
#     steps_of COMMAND...          run a script of bin/; its steps join the table, instead of a table of its own
#     as_root COMMAND...           run as root, through sudo if needed
#     need COMMAND:PACKAGE...      install the Debian packages of missing commands
#     make_env NAME                make the environment of requirements/NAME.txt in $ENVS/NAME
#     docker_engine                make sure that Docker answers; starts it if needed
#     ansible_test ARGUMENT...     run the ansible-test in $BIN on the workspace
#     sanity ARGUMENT...           the same, for all its sanity tests
#     check_tarball BIN FOLDER     build, install and check the tarball with the Ansible in BIN
#     workspace                    copy this tree to $WORKSPACE/ansible_collections/voicefleet/kokoro
#
# Folders: $ROOT the checkout, $ENVS environments, $WORKSPACE the collection tree, $TREE the checkout itself as a
# collection tree (all ignored by git), and $CACHE, outside the checkout, for downloads that outlive it
# (VOICEFLEET_CACHE overrides it).

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${VOICEFLEET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/voicefleet}
# Programs of an environment name its path, so a clone that was moved makes its environments again.
ENVS=$(realpath -m "$ROOT/.cache/env")
WORKSPACE=$ROOT/.cache/ws
COLLECTION=$WORKSPACE/ansible_collections/voicefleet/kokoro
TREE=$ROOT/.cache/tree
export ROOT CACHE ENVS WORKSPACE COLLECTION TREE
export VOICEFLEET_CACHE=$CACHE

# dockerd, debootstrap and iptables are in sbin, which an ordinary user's PATH lacks.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# With this set, Ansible compiles itself at every start, which takes longer than its work.
unset PYTHONDONTWRITEBYTECODE
mkdir -p "$CACHE" "$TREE/ansible_collections/voicefleet"
ln -sfnT "$ROOT" "$TREE/ansible_collections/voicefleet/kokoro"

# --- messages and steps ------------------------------------------------------------------------------------------------

say() { printf '==> %s\n' "$*"; }
die() { printf '\nError: %s\n' "$*" >&2; exit 1; }

STEP_NAMES=() STEP_SECONDS=() STEP_RESULTS=()

_now() { date +%s.%N; }
_since() { awk -v a="$1" -v b="$(_now)" 'BEGIN { printf "%.1f", b - a }'; }

# Shows every minute that a silent step still runs. Ends with the script at the latest.
_heartbeat() {
    local seconds=0 sleeper=
    # A step may end before its first sleep begins.
    trap '[ -z "$sleeper" ] || kill "$sleeper"; exit' TERM
    while kill -0 $$ 2>/dev/null; do
        sleep 60 >/dev/null 2>&1 &
        sleeper=$!
        wait "$sleeper"
        seconds=$((seconds + 60))
        printf '    … %s: running for %s s\n' "$1" "$seconds"
    done
}

try_step() {
    local name=$1 start beat status seconds
    shift
    printf '\n'
    say "$name"
    start=$(_now)
    _heartbeat "$name" &
    beat=$!
    # Not in a condition, because bash ignores `set -e` inside conditions.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    kill "$beat" 2>/dev/null || true
    wait "$beat" 2>/dev/null || true
    seconds=$(_since "$start")
    STEP_NAMES+=("$name") STEP_SECONDS+=("$seconds")
    if [ "$status" = 0 ]; then
        STEP_RESULTS+=(passed)
    else
        STEP_RESULTS+=(FAILED)
        printf '%s failed with exit status %s after %s s.\n' "$name" "$status" "$seconds" >&2
    fi
    STEP_STATUS=$status
}

step() {
    try_step "$@"
    [ "$STEP_STATUS" = 0 ] || exit "$STEP_STATUS"
}

STEP_LOGS=()

# Commands in the background do not see Ctrl-C, so end them with the script.
_end_tree() {
    local child
    for child in $(pgrep -P "$1"); do _end_tree "$child"; done
    kill "$1" 2>/dev/null || true
}
_end_begun() {
    local pid
    for pid in $(jobs -p); do _end_tree "$pid"; done
    exit 130
}

# begin_step LOG NAME COMMAND...: waits while AT_ONCE steps run.
begin_step() {
    local log=$1 name=$2
    shift 2
    trap _end_begun INT TERM
    while [ "$(jobs -rp | wc -l)" -ge "${AT_ONCE:-2}" ]; do wait -n || true; done
    mkdir -p "$(dirname "$log")"
    rm -f "$log.ended"
    say "$name begins. Its output goes to $log."
    STEP_LOGS+=("$log")
    (
        try_step "$name" "$@" >"$log" 2>&1
        printf '%s\n' "$name" "${STEP_SECONDS[-1]}" "${STEP_RESULTS[-1]}" >"$log.ended"
        say "$name: ${STEP_RESULTS[-1]} after ${STEP_SECONDS[-1]} s."
        if [ "$STEP_STATUS" != 0 ]; then tail -n 60 "$log"; fi
    ) &
}

begin_steps() {
    local log=$ROOT/build/test/$1
    trap _end_begun INT TERM
    mkdir -p "$(dirname "$log")"
    rm -f "$log.ended"
    STEP_LOGS+=("$log")
    # shellcheck disable=SC2030,SC2031 # end_steps reads the results from the file
    (
        STEP_NAMES=() STEP_SECONDS=() STEP_RESULTS=()
        "$1"
        _write_steps "$log.ended"
    ) &
}

end_steps() {
    local log
    wait
    for log in "${STEP_LOGS[@]}"; do _read_steps "$log.ended"; done
    STEP_LOGS=()
}

# Three lines for each step: name, seconds, result.
# shellcheck disable=SC2031 # it is called where the steps ran
_write_steps() {
    local i
    for i in "${!STEP_NAMES[@]}"; do
        printf '%s\n' "${STEP_NAMES[i]}" "${STEP_SECONDS[i]}" "${STEP_RESULTS[i]}"
    done >"$1"
}
_read_steps() {
    local i ended
    mapfile -t ended <"$1"
    for ((i = 0; i < ${#ended[@]}; i += 3)); do
        # shellcheck disable=SC2031
        STEP_NAMES+=("${ended[i]}") STEP_SECONDS+=("${ended[i + 1]}") STEP_RESULTS+=("${ended[i + 2]}")
    done
}

# A script that ends before its table counts as a failed step.
steps_of() {
    local file status=0
    file=$(mktemp)
    STEPS_TO=$file "$@" || status=$?
    if [ -s "$file" ]; then
        _read_steps "$file"
    elif [ "$status" != 0 ]; then
        STEP_NAMES+=("${1##*/}") STEP_SECONDS+=(-) STEP_RESULTS+=(FAILED)
    fi
    rm -f "$file"
}

# skip_step NAME REASON: a row of the table for a step that cannot run here.
skip_step() { STEP_NAMES+=("$1") STEP_SECONDS+=(-) STEP_RESULTS+=("not run: $2"); }

# The last line is for machines: "N passed, N failed".
summary() {
    local i passed=0 failed=0 skipped=0
    if [ -n "${STEPS_TO:-}" ]; then  # the script that called this one prints the table
        _write_steps "$STEPS_TO"
        [[ " ${STEP_RESULTS[*]} " != *' FAILED '* ]]
        return
    fi
    printf '\n%-58s %9s  %s\n' step seconds result
    for i in "${!STEP_NAMES[@]}"; do
        printf '%-58s %9s  %s\n' "${STEP_NAMES[i]}" "${STEP_SECONDS[i]}" "${STEP_RESULTS[i]}"
        case ${STEP_RESULTS[i]} in
            passed) passed=$((passed + 1)) ;;
            'not run:'*) skipped=$((skipped + 1)) ;;
            *) failed=$((failed + 1)) ;;
        esac
    done
    printf '\n%s passed, %s failed%s\n' "$passed" "$failed" "$([ "$skipped" = 0 ] || echo ", $skipped not run")"
    [ "$failed" = 0 ]
}

# --- Debian packages ---------------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$*' needs root: run this script as root, or install sudo."
    fi
}

_apt_updated=
apt_install() {
    command -v apt-get >/dev/null || die "These Debian packages are missing, and there is no apt-get to install them: $*."
    say "Installing from Debian: $*"
    if [ -z "$_apt_updated" ]; then
        # A repository that does not answer does no harm if another one has the packages.
        as_root apt-get update -qq || say "apt-get update had errors (see above). Continuing with the existing package lists."
        _apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
        apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null ||
        die "apt-get could not install $*; its message is above."
}

need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# --- Python environments -----------------------------------------------------------------------------------------------

# The Python for the environments: 3.11 to 3.13, which ansible-core 2.19 needs. Debian's own comes first, because we
# can install its venv module.
base_python() {
    local python
    for python in "${VOICEFLEET_PYTHON:-}" /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        [ -n "$python" ] || continue
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "No Python 3.11, 3.12 or 3.13 found, which ansible-core 2.19 needs. Install one, or name it in VOICEFLEET_PYTHON."
}

_is_current() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

_bootstrap_uv() {
    local python=$1 lock=$ROOT/requirements/bootstrap.txt env=$ENVS/bootstrap stamp
    stamp="$(sha256sum <"$lock") $("$python" -VV) $env"
    if _is_current "$env/.stamp" "$stamp" && "$env/bin/uv" --version >/dev/null 2>&1; then return; fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    say "Installing uv, which installs all other packages."
    rm -rf "$env"
    "$python" -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock"
    printf '%s' "$stamp" >"$env/.stamp"
}

make_env() {
    local name=$1 python env=$ENVS/$1 lock=$ROOT/requirements/$1.txt stamp
    python=$(base_python)
    if [ -e "$ROOT/requirements/$1-py312.txt" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
        lock=$ROOT/requirements/$1-py312.txt
    fi
    stamp="$(sha256sum <"$lock") $("$python" -VV) $env"
    if _is_current "$env/.stamp" "$stamp" && "$env/bin/python" -V >/dev/null 2>&1; then return; fi
    _bootstrap_uv "$python"
    say "Making the $name environment from requirements/${lock##*/}."
    "$ENVS/bootstrap/bin/uv" venv --quiet --clear --python "$python" "$env"
    "$ENVS/bootstrap/bin/uv" pip sync --quiet --require-hashes --python "$env/bin/python" "$lock"
    printf '%s' "$stamp" >"$env/.stamp"
}

# --- Docker ------------------------------------------------------------------------------------------------------------

_docker_answers() { docker info >/dev/null 2>&1; }

# _wait_for_docker SECONDS [PID]: false after SECONDS, or if the process ended.
_wait_for_docker() {
    local i
    for i in $(seq "$1"); do
        if as_root docker info >/dev/null 2>&1; then return 0; fi
        if [ -n "${2:-}" ] && [ ! -d "/proc/$2" ]; then return 1; fi
        sleep 1
    done
    return 1
}

# A killed dockerd leaves its pid file. If another process has that pid now, the next dockerd takes it for a running
# dockerd and gives up.
_forget_dead() {
    local file
    for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
        # shellcheck disable=SC2016  # expanded by the inner shell
        case $(as_root sh -c 'readlink "/proc/$(cat "$1" 2>/dev/null)/exe"' sh "$file") in
            *dockerd | *containerd) ;;
            *) as_root rm -f "$file" ;;
        esac
    done
}

# Without an init system nobody else starts dockerd. It keeps running after the script.
_start_dockerd() {
    local log=$CACHE/dockerd.log pid
    say "Starting dockerd; its log is $log."
    _forget_dead
    # shellcheck disable=SC2016  # expanded by the inner shell
    pid=$(as_root sh -c 'log=$1; shift; setsid dockerd "$@" >>"$log" 2>&1 </dev/null & echo $!' sh "$log" "$@")
    _wait_for_docker 60 "$pid"
}

docker_engine() {
    if _docker_answers; then return; fi
    need dockerd:docker.io iptables:iptables
    need docker:docker-cli  # a separate package since Debian 13
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then need apparmor_parser:apparmor; fi
    if ! _wait_for_docker 2; then
        if [ -d /run/systemd/system ]; then
            say "Starting Docker with systemd."
            as_root systemctl start docker
            _wait_for_docker 30 || die "systemd started docker.service, but Docker does not answer; see: journalctl -u docker"
        else
            # Kernels without the firewall modules refuse the bridge. Our hosts need no network.
            _start_dockerd || _start_dockerd --iptables=false --bridge=none ||
                die "dockerd does not answer; the reason is at the end of $CACHE/dockerd.log."
        fi
    fi
    if ! _docker_answers; then
        say "Giving $(id -un) access to Docker's socket until Docker restarts."
        need setfacl:acl
        as_root setfacl -m "u:$(id -un):rw" /var/run/docker.sock
        _docker_answers || die "Docker runs, but $(id -un) may not use it: add the user to the group 'docker'."
    fi
}

# --- the collection's tree ---------------------------------------------------------------------------------------------

# ansible-test, ansible-lint and Molecule want the collection under ansible_collections/NAMESPACE/NAME. A link to the
# checkout would not do: ansible-test follows it.
workspace() {
    local file
    rm -rf "$WORKSPACE"
    mkdir -p "$COLLECTION"
    git -C "$ROOT" ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -r -d '' file; do
            # git still lists a file that was deleted but not committed.
            if [ -e "$ROOT/$file" ]; then printf '%s\0' "$file"; fi
        done | tar -C "$ROOT" --null --files-from=- -cf - | tar -C "$COLLECTION" -xf -
    # Without its own repository, ansible-test finds the surrounding one, which ignores all of this.
    git -C "$COLLECTION" init --quiet
}

# --- ansible-test and the tarball --------------------------------------------------------------------------------------

# ansible-test keeps its virtual environments and downloads below the home folder. Give it a home of its own: a fresh
# checkout then finds them, and the developer's home stays clean.
# ansible_test ARGUMENT...: in the workspace, with the ansible-test in $BIN.
ansible_test() {
    local file home=$CACHE/ansible-test log=$ROOT/.cache/ansible-test.log
    mkdir -p "$home/.ansible/test/cache" "$home/.config"
    # Each ansible-test names the file after the pip that it would install.
    for file in $(grep -hoE "\bpip='[0-9.]+'" "$(dirname "$BIN")"/lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py | grep -oE '[0-9.]+' | tr . _); do
        cp "$ROOT/tools/get_pip.py" "$home/.ansible/test/cache/get_pip_$file.py"
    done
    if [ -d "$HOME/.config/pip" ]; then ln -sfn "$HOME/.config/pip" "$home/.config/pip"; fi
    cd "$COLLECTION"
    env HOME="$home" PATH="$BIN:/usr/local/bin:/usr/bin:/bin" "$BIN/ansible-test" "$@" --venv --color no 2>&1 | tee "$log"
    if grep -qE 'No tests applicable|All targets skipped' "$log"; then
        echo "ansible-test $1 found nothing to test." >&2
        return 1
    fi
}

# Only what is shipped: ansible-test takes every file in bin/ for Python.
sanity() { ansible_test sanity --exclude bin/ --exclude tools/ --exclude bench/ "$@"; }

# check_tarball BIN FOLDER: builds FOLDER/dist/*.tar.gz, installs it in FOLDER/installed as users do, and checks the
# syntax of all playbooks, with the Ansible in BIN.
check_tarball() {
    local bin=$1 dist=$2/dist installed=$2/installed playbook
    rm -rf "$dist" "$installed"
    "$bin/ansible-galaxy" collection build --output-path "$dist" "$COLLECTION"
    export ANSIBLE_COLLECTIONS_PATH=$installed
    "$bin/ansible-galaxy" collection install --offline --no-deps -p "$installed" "$dist"/*.tar.gz
    cd /
    for playbook in "$installed"/ansible_collections/voicefleet/kokoro/playbooks/*.yml; do
        "$bin/ansible-playbook" "voicefleet.kokoro.$(basename "$playbook" .yml)" --syntax-check -i localhost,
    done
}
