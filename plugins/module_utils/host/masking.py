# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secrets that a module reads on the host out of its result, with every ansible-core.

Until 2.21, AnsibleModule replaces the values of ``no_log_values`` in a result. From 2.22 on, the controller hides
secrets where it prints them, and only those that were arguments. The report would then hold the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HIDDEN = "********"


def without(value: Any, secrets: Iterable[str]) -> Any:
    """Return the value with each secret replaced, in texts at any depth. Keys stay."""
    ordered = sorted(filter(None, secrets), key=len, reverse=True)

    def clean(each: Any) -> Any:
        if isinstance(each, str):
            for secret in ordered:
                each = each.replace(secret, HIDDEN)
            return each
        if isinstance(each, dict):
            return {key: clean(inner) for key, inner in each.items()}
        if isinstance(each, (list, tuple)):
            return [clean(inner) for inner in each]
        return each

    return clean(value)


def hide(module: Any, secrets: Iterable[str]) -> None:
    """Replace secrets in whatever a module returns from now on."""
    known = set(secrets)
    module.no_log_values.update(known)
    for name in ("exit_json", "fail_json"):
        setattr(module, name, _cleaned(getattr(module, name), known))


def _cleaned(leave: Any, known: set[str]) -> Any:
    def cleaned(*arguments: Any, **result: Any) -> Any:
        return leave(*without(arguments, known), **without(result, known))

    return cleaned
