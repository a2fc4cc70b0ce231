#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs inside a host. Does the bare work of an installation, without Ansible, checks or a user of its own.
#
#     sh floor.sh environment|start|launch|synthesis      the store is in /bench/store
set -eu
cd /bench
API=http://127.0.0.1:9997
LOCK=store/locks/pylock.cpu-py311-x86_64.toml

case $1 in
    environment)
        python3 - <<'PY'
import glob, zipfile
wheel = zipfile.ZipFile(glob.glob("store/wheels/uv-*.whl")[0])
member = next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))
open("uv", "wb").write(wheel.read(member))
PY
        chmod +x uv
        ./uv venv --quiet --python /usr/bin/python3 env
        ./uv pip sync --quiet --offline --no-index --compile-bytecode --python env/bin/python "$LOCK"
        # spaCy looks for the metadata of a package, which not every tarball holds. So it is built.
        ./uv pip install --quiet --offline --no-index --no-deps --no-build-isolation --python env/bin/python \
            store/spacy/en_core_web_sm-*.tar.gz
        ;;
    start)
        systemd-run --quiet --unit bench-xinference --setenv HOME=/bench --setenv XINFERENCE_HOME=/bench/home \
            --setenv HF_HUB_OFFLINE=1 --setenv XINFERENCE_MODEL_SRC=huggingface \
            --setenv XINFERENCE_ENABLE_VIRTUAL_ENV=0 --setenv XINFERENCE_HEALTH_CHECK_INTERVAL=1 \
            --setenv XINFERENCE_AUTH_ADVANCED=0 /bench/env/bin/xinference-local -H 127.0.0.1 -p 9997
        until curl -sf -m 2 $API/status | grep -q '"workers":{"'; do
            systemctl is-active --quiet bench-xinference || exit 1
            sleep 0.2
        done
        ;;
    launch)
        curl -sSf -m 300 -H 'Content-Type: application/json' $API/v1/models -d '{"model_name": "Kokoro-82M",
            "model_type": "audio", "model_uid": "bench", "model_path": "/bench/store/kokoro/Kokoro-82M"}' >/dev/null
        ;;
    synthesis)
        curl -sSf -m 300 -H 'Content-Type: application/json' -o out.wav $API/v1/audio/speech -d '{"model": "bench",
            "input": "The quick brown fox jumps over the lazy dog.", "voice": "af_heart", "response_format": "wav"}'
        test "$(head -c 4 out.wav)" = RIFF
        ;;
esac
