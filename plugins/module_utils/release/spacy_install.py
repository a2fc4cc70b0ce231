# SPDX-License-Identifier: GPL-3.0-or-later
"""Install spaCy's models into the environment of a release, from the tarballs that the host holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ..host.layout import Paths
from . import python_env, spacy_sdist


def is_installed(site: str, name: str, version: str) -> bool:
    """Whether site-packages hold a model's package and its RECORD, which installers write last."""
    return os.path.isfile(os.path.join(site, f"{name}-{version}.dist-info", "RECORD")) and os.path.isdir(
        os.path.join(site, name, f"{name}-{version}")
    )


def install(
    rows: Sequence[Mapping[str, Any]],
    release: str,
    spacy_version: str,
    artifacts: Sequence[Mapping[str, Any]],
    uv_version: str,
    paths: Paths,
) -> None:
    """Install the models ``rows``. ``artifacts`` are all of the release, with uv among them.

    Raises SpacyModelError, EnvError, OSError.
    """
    scratch = os.path.join(release, ".spacy")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    os.mkdir(scratch, 0o700)
    try:
        wheels = []
        for row in rows:
            tarball = paths.artifact(row["sha256"], row["path"])
            model = spacy_sdist.read_model(tarball)
            if (model.name, model.version) != (row["name"], row["version"]):
                raise spacy_sdist.SpacyModelError(
                    f"{row['path']} holds {model.name} {model.version}, which does not match its file name"
                )
            if not spacy_sdist.suits(model.spacy_version, spacy_version):
                raise spacy_sdist.SpacyModelError(
                    f"{row['path']} needs spaCy {model.spacy_version}, but the release has {spacy_version}. "
                    "Fetch the model's version for that spaCy"
                )
            wheel = os.path.join(scratch, model.wheel_name)
            spacy_sdist.write_wheel(tarball, wheel)
            wheels.append(wheel)
        uv = python_env.uv_of(artifacts, uv_version, paths)
        command = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--link-mode", "copy"]
        env = os.path.join(release, "env")
        python_env.run_uv(uv, [*command, "--python", os.path.join(env, "bin", "python"), *wheels], scratch)
        # uv would compile all packages of the environment.
        site = python_env.site_packages(env)
        python_env.compile_code(env, [os.path.join(site, row["name"]) for row in rows])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
