# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration. stage.py copies it beside the pages."""

from __future__ import annotations

project = "voicefleet.kokoro"
author = "voicefleet"
project_copyright = "voicefleet. GPL-3.0-or-later"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
# Headings get the anchors that a Git forge gives them, so links work in both.
myst_heading_anchors = 4
html_theme = "furo"
html_title = "voicefleet.kokoro"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
# A page is read offline, so it names no source file and no repository.
html_show_sourcelink = False
html_copy_source = False
# A browser refuses to read other pages from a disk, so results have no excerpts.
html_show_search_summary = False
