# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import lines


def test_a_long_list_of_names_is_cut() -> None:
    assert lines.names(list("abcde")) == "a, b, c, d, e"
    assert lines.names([f"h{n}" for n in range(30)]).endswith("h11 and 18 more")
    assert lines.names([f"h{n}" for n in range(2000)]).endswith("h11 and 1,988 more")


def test_a_sentence_is_said_once_for_all_its_hosts() -> None:
    assert lines.notes([("a", "No."), ("b", "Yes."), ("c", "No.")], "on the page") == ["a, c: No.", "b: Yes."]


def test_there_are_few_notes_and_the_last_line_counts_the_others() -> None:
    found = lines.notes([(f"h{n}", f"Fault {n}.") for n in range(1500)], "on the page")
    assert len(found) == lines.MOST_NOTES + 1
    assert found[-1] == "1,488 more notes are on the page."
