# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacement for get-pip.py, which ansible-test would download from the internet.

bin/test puts it where ansible-test keeps its copy. In a virtual environment without pip, it installs the pip that comes
with Python, and then the packages that ansible-test requests (arguments: packages, and options of get-pip.py).
"""

from __future__ import annotations

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
arguments = [argument for argument in sys.argv[1:] if argument not in {"--no-setuptools", "--no-wheel"}]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *arguments]))
