# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that a module read on the host are not in its result, whatever ansible-core does with them."""

from __future__ import annotations

from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import masking


class Module:
    """A module of an ansible-core that does not replace anything in a result."""

    def __init__(self) -> None:
        self.no_log_values: set[str] = set()
        self.results: list[dict[str, Any]] = []

    def exit_json(self, **result: Any) -> None:
        self.results.append(result)

    def fail_json(self, msg: str, **result: Any) -> None:
        self.results.append({"msg": msg, **result})


def test_secrets_are_replaced_in_every_text_of_a_result() -> None:
    module = Module()
    masking.hide(module, ["key-1", "key-1-longer", ""])
    assert module.no_log_values == {"key-1", "key-1-longer", ""}
    module.exit_json(changed=True, lines=["a key-1-longer b", ("key-1", 7)], more={"key-1": {"x": "key-1"}}, none=None)
    module.fail_json("it said key-1", code=1)
    assert module.results == [
        {
            "changed": True, "lines": ["a ******** b", ["********", 7]], "more": {"key-1": {"x": "********"}},
            "none": None,
        },
        {"msg": "it said ********", "code": 1},
    ]  # fmt: skip
