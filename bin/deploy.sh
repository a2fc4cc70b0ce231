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
    # Only the published files are accepted by default.
    preflight_accept_unpublished: $accept
YAML
}
