# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the genuine models, as the package registries carry them, into the files that the product deploys."""


class ConversionError(Exception):
    """A download is not what this converter knows, or a parameter could not be made."""
