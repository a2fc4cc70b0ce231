# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for get-pip.py, which ansible-test would download from the internet.

bin/test puts it where ansible-test keeps its copy. Inside a virtual environment without pip it unpacks the pip that
Python carries with it, and installs what ansible-test asked for (arguments: packages, and options of get-pip.py).
"""

from __future__ import annotations

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
arguments = [argument for argument in sys.argv[1:] if argument not in {"--no-setuptools", "--no-wheel"}]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *arguments]))
