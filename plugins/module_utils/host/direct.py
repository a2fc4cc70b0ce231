# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to hosts of the fleet: without a proxy, and without redirects, which could carry a key elsewhere."""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def opener(context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """An opener for direct requests. ``context`` verifies the servers' certificates."""
    tls = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), tls, _NoRedirect())
