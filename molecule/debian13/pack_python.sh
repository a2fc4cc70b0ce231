#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# pack_python.sh FOLDER: a stand-in for the interpreter that a store carries, out of the image of a Debian 12 host.
set -euo pipefail
folder=$1
name=$(python3 - "$(dirname "$(readlink -f "$0")")/../../plugins/plugin_utils/store/data/pythons.json" <<'PYTHON'
import json, sys
for build in json.load(open(sys.argv[1]))["builds"]:
    if build["version"].startswith("3.11.") and build["architecture"] == "x86_64":
        print("cpython-{version}+{date}-{architecture}-unknown-linux-gnu-install_only_stripped.tar.gz".format(**build))
PYTHON
)
[ -n "$name" ]
mkdir -p "$folder"
# Debian's own additions lead out of the tree, to /etc; caches would be made for another path.
docker run --rm --network none voicefleet-host:debian12 tar -C /usr -cf - --sort=name --owner=0 --group=0 \
    --exclude=__pycache__ --exclude=sitecustomize.py --exclude=EXTERNALLY-MANAGED --transform='s,^,python/,S' \
    bin/python3.11 lib/python3.11 | gzip -n >"$folder/$name.new"
mv "$folder/$name.new" "$folder/$name"
echo '{"source": "made-up", "note": "Debian 12'"'"'s own Python, packed for tests."}' >"$folder/SOURCE.json"
