# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the collection's client with the real Xinference of this host.

The test copies module_utils beside this file. The program uses one wrong token. Ten would ban the address for an hour.
"""

from __future__ import annotations

import json
import pathlib

from module_utils.xinference import api

SECRETS = json.loads(pathlib.Path("/etc/voicefleet/secrets.json").read_text())
HERE = "http://127.0.0.1:9997"


def refused(kind: type[api.XinferenceError], call: object, *arguments: object) -> api.XinferenceError:
    try:
        call(*arguments)
    except kind as error:
        if "pid=" in str(error):
            raise AssertionError(f"the message contains an internal address: {error}") from None
        return error
    raise AssertionError(f"{kind.__name__} was expected")


# An API key may read.
client = api.XinferenceClient(HERE, token=SECRETS["client_key"])
assert client.status()["workers"]
assert client.wait_ready(5)["uptime"] >= 0
(instance,) = client.instances("kokoro")
assert (instance.uid, instance.name, instance.status) == ("kokoro", "Kokoro-82M", api.READY), instance
assert instance.replicas == 1
assert len(instance.workers) == 1
assert client.instances("nobody") == []
assert sorted(model["id"] for model in client.models()) == ["kokoro"]
assert sorted(found.uid for found in client.instances()) == ["kokoro"]
# Xinference forgets the progress some minutes after the model is ready.
assert client.progress("kokoro") in (0.0, 1.0)
assert client.progress("nobody") == 0.0
# It may do nothing else.
refused(api.Forbidden, client.autostart)
refused(api.Forbidden, client.terminate, "kokoro")
refused(api.Forbidden, client.launch, {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro"}, 10)

# A user's token may launch.
client.login("voicefleet-deploy", SECRETS["deploy_password"])
launches = {entry["launch"]["model_uid"]: entry["launch"] for entry in client.autostart()}
assert {uid: launch["lang_code"] for uid, launch in launches.items()} == {"kokoro": "a"}
launch = launches["kokoro"]
assert refused(api.AlreadyRunning, client.launch, launch, 60).status == 400
refused(api.BadRequest, client.terminate, "nobody")
lost = {**launch, "model_uid": "lost", "model_path": "/nowhere"}
assert "does not exist" in str(refused(api.BadRequest, client.launch, lost, 60))
refused(api.Unauthorized, client.login, "voicefleet-deploy", "not the password")

# A token that was rejected is never sent again.
wrong = api.XinferenceClient(HERE, token="xf-" + "0" * 48)
first = refused(api.Unauthorized, wrong.models)
assert refused(api.Unauthorized, wrong.models) is first

# Nothing listens on this port.
refused(api.Unreachable, api.XinferenceClient("http://127.0.0.1:1").status)
print("ok")
