# SPDX-License-Identifier: GPL-3.0-or-later
"""A first deploy that fails its proof leaves nothing running."""

from __future__ import annotations

from deployed import UNIT
from deploys import ledger, struck
from testinfra.host import Host


def test_an_unproved_release_does_not_serve(host: Host) -> None:
    met = struck("first_deploy_that_fails")
    assert met.status != 0, met.said
    assert (met.current, met.answer) == ("", "000"), met.said
    assert "No release served before, so none serves now: nothing unproved keeps running." in met.said
    assert "did not reach the level intelligible" in met.said
    service = host.service(UNIT)
    assert (service.is_running, service.is_enabled) == (False, False)


def test_the_ledger_begins_with_the_failure(host: Host) -> None:
    (line,) = ledger(host)
    assert (line["event"], line["phase"], line["current"]) == ("failed", "proof", None)
