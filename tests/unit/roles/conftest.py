# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def ansible_plugins() -> Iterator[None]:
    """Load Ansible's own lookups and filters, as a play does.

    The other tests import the collection as plain packages, and Ansible's import hook breaks that. Remove it again.
    """
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

    init_plugin_loader()
    yield
    _AnsibleCollectionFinder._remove()
