# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose file, quadlet and Kubernetes manifest of an image. The parser or schema of each program reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

pytestmark = pytest.mark.usefixtures("ansible_plugins")

ROLE = Path(__file__).resolve().parents[3] / "roles" / "image"
IMAGE = {
    "image": "voicefleet-kokoro:1.2.3-3f9a1c2b7d5e", "user_id": 10001, "port": 9997, "stop_seconds": 90,
    "accelerator": "cpu",
}  # fmt: skip
CUDA = {**IMAGE, "accelerator": "cuda"}
GENERATOR = next(
    (path for path in ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet") if Path(path).exists()),
    shutil.which("quadlet") or "",
)


def rendered(name: str, image: dict[str, Any], **more: Any) -> str:
    loader = DataLoader()
    values = dict(loader.load_from_file(str(ROLE / "defaults/main.yml"), trusted_as_template=True))
    values.update(loader.load_from_file(str(ROLE / "vars/main.yml"), trusted_as_template=True))
    values.update(__image=image, __image_memory="6G", **more)
    source = trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{ROLE / 'templates' / name}') }}}}")
    return str(Templar(loader=loader, variables=values).template(source))


@pytest.mark.parametrize("image", [IMAGE, CUDA], ids=["cpu", "cuda"])
def test_compose_accepts_its_file(image: dict[str, Any]) -> None:
    text = rendered("compose.yaml.j2", image)
    service = yaml.safe_load(text)["services"]["speech"]
    assert service["read_only"] is True
    assert service["image"] == IMAGE["image"]
    assert service["ports"] == ["127.0.0.1:9997:9997"]
    assert ("deploy" in service) == (image is CUDA)
    if image is CUDA:
        devices = service["deploy"]["resources"]["reservations"]["devices"]
        assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    compose_spec = pytest.importorskip("compose_spec")
    compose_spec.PyCompose.from_yaml(text).validate()


@pytest.mark.parametrize("image", [IMAGE, CUDA], ids=["cpu", "cuda"])
def test_kubernetes_accepts_its_manifest(image: dict[str, Any]) -> None:
    documents = list(yaml.safe_load_all(rendered("kubernetes.yaml.j2", image)))
    deployment, service, policy = documents
    assert [each["kind"] for each in documents] == ["Deployment", "Service", "NetworkPolicy"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if image is CUDA else None)
    two = list(yaml.safe_load_all(rendered("kubernetes.yaml.j2", image, image_gpus=2)))[0]["spec"]["template"]["spec"]
    assert two["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") == (2 if image is CUDA else None)
    assert policy["spec"]["egress"] == []
    assert policy["spec"]["podSelector"] == deployment["spec"]["selector"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("image", [IMAGE, CUDA], ids=["cpu", "cuda"])
def test_systemd_can_read_the_quadlet(image: dict[str, Any]) -> None:
    text = rendered("voicefleet.container.j2", image)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"\[[A-Z][a-z]+\]|[A-Z]\w+=\S.*", line)] == []
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Container]", "[Service]", "[Install]"]
    assert "Image=localhost/voicefleet-kokoro:1.2.3-3f9a1c2b7d5e" in lines
    assert ("AddDevice=nvidia.com/gpu=all" in lines) == (image is CUDA)
    assert "Image=reg.example.com/speech:1" in rendered(
        "voicefleet.container.j2", {**image, "image": "reg.example.com/speech:1"}
    )


def test_an_ipv6_address_is_published_in_brackets() -> None:
    compose = yaml.safe_load(rendered("compose.yaml.j2", IMAGE, image_address="::1"))
    assert compose["services"]["speech"]["ports"] == ["[::1]:9997:9997"]
    assert "PublishPort=[::1]:9997:9997\n" in rendered("voicefleet.container.j2", IMAGE, image_address="::1")


@pytest.mark.skipif(not GENERATOR, reason="Podman's generator is not installed")
@pytest.mark.parametrize("image", [IMAGE, CUDA], ids=["cpu", "cuda"])
def test_podmans_generator_accepts_the_quadlet(tmp_path: Path, image: dict[str, Any]) -> None:
    (tmp_path / "voicefleet.container").write_text(rendered("voicefleet.container.j2", image))
    done = subprocess.run(
        [GENERATOR, "-dryrun"], capture_output=True, text=True, check=False, env={"QUADLET_UNIT_DIRS": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert "voicefleet.service" in done.stdout
    assert "--read-only" in done.stdout
