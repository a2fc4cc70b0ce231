# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure Kokoro on a GPU, in steps that each have a time limit. tests/gpu/run says how to call it.

Each step is a process of its own: one that hangs in the driver is ended, and the others still run. A step prints a line
of JSON for each result, so what it found before it was ended is kept. A step that cannot do its work fails.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

Json = dict[str, Any]
Rows = Iterator[tuple[str, str]]

PAGE = ROOT / "docs" / "gpu.md"
UNIT = ROOT / "roles" / "xinference" / "templates" / "voicefleet-xinference.service.j2"
CONFIG = ROOT / "tools" / "standins" / "kokoro-config.json"
BEGIN, END = "<!-- tests/gpu/run: begin -->", "<!-- tests/gpu/run: end -->"
# Seconds for each step. Together they make four minutes.
LIMITS = {"facts": 40, "cpu": 40, "gpu": 55, "replicas": 75, "policy": 30}
TITLES = {
    "facts": "Facts from the driver",
    "cpu": "Kokoro on the CPU",
    "gpu": "Kokoro on the GPU",
    "replicas": "Several replicas",
    "policy": "The unit's device policy",
}
NVIDIA_DEVICES = "char-nvidia*"
RATE, SEED, FRAMES, PITCH = 24000, 82, 2.4, 110.0
# Phonemes of a short sentence, and of the longest text that Kokoro takes at once.
SHORT, LONG = 60, 480
TINY = {SHORT: 8, LONG: 16}
# A service's process uses no more threads (roles/xinference).
THREADS = 8
# Paths that these settings of the unit hide.
HIDDEN = {"ProtectHome": ("/home", "/root", "/run/user"), "PrivateTmp": ("/tmp", "/var/tmp")}


class Skip(Exception):
    """This machine cannot run the step. The message says why."""


# --- the model --------------------------------------------------------------------------------------------------------


def config(tiny: bool) -> Json:
    """Kokoro's configuration. A tiny one only shows that this program works."""
    found: Json = json.loads(CONFIG.read_text(encoding="utf-8"))
    if tiny:
        found["plbert"]["num_hidden_layers"] = 1
        found["istftnet"] |= {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]]}
    return found


def build(tiny: bool) -> tuple[Any, str]:
    """The network with made-up weights, and where its code comes from."""
    import torch

    torch.manual_seed(SEED)
    settings = config(tiny)
    with contextlib.suppress(ImportError), tempfile.TemporaryDirectory() as folder:
        from kokoro.model import KModel

        # With an empty file of weights, the model keeps those that it made up.
        nothing = os.path.join(folder, "none.pth")
        torch.save({}, nothing)
        model = KModel(repo_id="hexgrad/Kokoro-82M", config=settings, model=nothing).eval()
        return _shape(model, model.predictor.duration_proj.linear_layer, settings, tiny), "the package kokoro"
    import network

    own = network.Kokoro(settings).eval()
    source = "plain torch, because kokoro is missing"
    return _shape(own, own.predictor.duration_proj["linear_layer"], settings, tiny), source


def _shape(model: Any, duration: Any, settings: Json, tiny: bool) -> Any:
    """Make phonemes last as long as in speech, and give the voice a pitch."""
    import torch

    model.tiny = tiny
    share = FRAMES / settings["max_dur"]
    with torch.no_grad():
        duration.weight.mul_(0.01)
        duration.bias.fill_(math.log(share / (1 - share)))
        model.predictor.F0_proj.weight.mul_(0.1)
        model.predictor.F0_proj.bias.fill_(PITCH)
    return model


def speak(model: Any, phonemes: int, device: str) -> tuple[float, float]:
    """Speak made-up phonemes. Return the seconds that it took, and the seconds of audio."""
    import torch

    phonemes = TINY[phonemes] if model.tiny else phonemes
    make = torch.Generator().manual_seed(phonemes)
    tokens = torch.randint(1, 170, (1, phonemes), generator=make).to(device)
    style = (torch.randn(1, 256, generator=make) * 0.3).to(device)
    begin = time.monotonic()
    # The service copies the audio to the host, too. That also waits for the GPU.
    audio = model.forward_with_tokens(tokens, style)[0].cpu()
    took = time.monotonic() - begin
    if not bool(torch.isfinite(audio).all()) or float(audio.abs().max()) == 0:
        raise RuntimeError("the audio is silent or not finite")
    return took, len(audio) / RATE


def measure(model: Any, phonemes: int, device: str, times: int) -> str:
    """The real-time factor of some runs, as a text."""
    runs = [speak(model, phonemes, device) for _each in range(times)]
    took, audio = statistics.median(run[0] for run in runs), runs[0][1]
    return f"{took:.3f} s for {audio:.1f} s of audio: real-time factor {took / audio:.4f} (median of {times})"


# --- the steps --------------------------------------------------------------------------------------------------------


def facts(arguments: argparse.Namespace) -> Rows:
    """What the collection reads from the driver."""
    from plugins.module_utils.host import gpu_facts

    begin = time.monotonic()
    found = gpu_facts.gather(seconds=25)
    took = time.monotonic() - begin
    yield "facts", f"{found['vendor']}; read from {found['source'] or 'nothing'} in {took:.1f} s"
    if found["vendor"] != "nvidia":
        if arguments.device == "cpu":
            return
        raise RuntimeError(f"no NVIDIA GPU is visible: {json.dumps(found)}")
    cuda = ".".join(map(str, found["cuda"]))
    yield "driver", f"{found['driver']}, CUDA {cuda}, kernel module {found['kernel'] or 'unknown'}"
    for card in found["cards"]:
        yield f"GPU {card['index']}", _card(card)
    yield "device nodes", ", ".join(found["nodes"]) or "none"
    yield "kernel modules", ", ".join(found["modules"]) or "none"
    yield "container", found["container"] or "no"
    yield "messages", "; ".join(found["messages"]) or "none"
    yield "NVML against nvidia-smi", _compare(found, gpu_facts.ask_nvml(10))
    if found["hung"] or not found["cards"]:
        raise RuntimeError(f"the driver reports no GPU: {json.dumps(found)}")


def _card(card: Json) -> str:
    memory = " of ".join(f"{card['memory'][name] / 1e9:.1f} GB" for name in ("used", "total"))
    more = {
        "compute capability": ".".join(map(str, card["capability"])),
        "MIG": f"on, {len(card['instances'])} instances" if card["mig"] else "off",
        "persistence": card["persistence"],
        "compute mode": card["compute_mode"],
        "memory errors": card["ecc"]["uncorrectable"],
        "recovery": card["recovery"] or "none",
    }
    return f"{card['name']}, {memory} in use, " + ", ".join(f"{name} {value}" for name, value in more.items())


def _compare(found: Json, answer: Json | None) -> str:
    """Whether NVML reports the same as nvidia-smi."""
    if not answer or "cards" not in answer:
        return f"NVML gives no answer: {answer}"
    keys = ("name", "uuid", "capability", "mig")
    pairs = zip(found["cards"], answer["cards"], strict=False)
    odd = [f"{key}: {a[key]!r} and {b[key]!r}" for a, b in pairs for key in keys if a[key] != b[key]]
    odd += [f"{key}: {found[key]!r} and {answer[key]!r}" for key in ("driver", "cuda") if found[key] != answer[key]]
    return "; ".join(odd) or "the same driver, CUDA, names, UUIDs and capabilities"


def cpu(arguments: argparse.Namespace) -> Rows:
    """The forward pass on the CPU, to compare."""
    import torch

    torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
    model, source = build(arguments.tiny)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    yield "network", f"{size:.1f} million parameters, from {source}{', tiny' if arguments.tiny else ''}"
    first = speak(model, SHORT, "cpu")[0]
    yield "CPU, first sentence", f"{first:.2f} s"
    yield f"CPU, {SHORT} phonemes, {torch.get_num_threads()} threads", measure(model, SHORT, "cpu", 3)


def gpu(arguments: argparse.Namespace) -> Rows:
    """The forward pass on the GPU: what the first call costs, speed, memory, and what the driver says about it."""
    begin = time.monotonic()
    import torch

    marks = [("import of torch", time.monotonic() - begin)]
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} (CUDA {torch.version.cuda}) sees no GPU")

    def mark(name: str, action: Callable[[], Any]) -> Any:
        start = time.monotonic()
        done = action()
        if device == "cuda":
            torch.cuda.synchronize()
        marks.append((name, time.monotonic() - start))
        return done

    mark("CUDA's context", lambda: torch.zeros(1, device=device))
    model, source = build(arguments.tiny)
    model = mark("weights to the GPU", lambda: model.to(device))
    mark("first sentence", lambda: speak(model, SHORT, device))
    mark("second sentence", lambda: speak(model, SHORT, device))
    mark("first long text", lambda: speak(model, LONG, device))
    yield "network", f"from {source}{', tiny' if arguments.tiny else ''}"
    yield "first calls", ", ".join(f"{name} {took:.2f} s" for name, took in marks)
    for phonemes in (SHORT, LONG):
        yield f"{device}, {phonemes} phonemes", measure(model, phonemes, device, 10 - phonemes // 100)
    if device == "cuda":
        yield from _card_rows(torch)


def _card_rows(torch: Any) -> Rows:
    """What torch and the driver say about the GPU while the model is on it."""
    from plugins.module_utils.host import gpu_facts

    kinds = " ".join(torch.cuda.get_arch_list())
    major, minor = torch.cuda.get_device_capability(0)
    used = f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB of tensors, {torch.cuda.max_memory_reserved() / 1e9:.2f}"
    found = gpu_facts.gather(seconds=15)
    mine = [row for row in found["processes"] if row["pid"] == os.getpid()]
    seen = (
        f"yes, with {mine[0]['memory'] / 1e9:.2f} GB" if mine else f"no; it lists {len(found['processes'])} processes"
    )
    yield from (
        ("torch", f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {kinds}"),
        ("torch's GPU 0", f"{torch.cuda.get_device_name(0)}, compute capability {major}.{minor}"),
        ("peak memory", f"{used} GB reserved by torch; a replica counts as {_replica_bytes() / 1e9:.1f} GB"),
        ("the driver lists this process", seen),
        ("preflight's judgement", _judgement(found, torch)),
    )


def _replica_bytes() -> int:
    data = json.loads((ROOT / "plugins/plugin_utils/fleet/data/gpu.json").read_text(encoding="utf-8"))
    return int(data["replica_bytes"])


def _judgement(found: Json, torch: Any) -> str:
    try:
        from plugins.plugin_utils.fleet import gpu as judge
    except (ImportError, SyntaxError) as error:
        return f"not asked: Python {platform.python_version()} cannot load the controller's code ({error})"
    numbers = tuple(int(part) for part in (torch.version.cuda or "0").split(".")[:2])
    build_of = judge.Build(torch.__version__.split("+")[0], numbers, platform.machine())
    usable = judge.check(found, build_of, (), 1, serving=True)
    faults = "; ".join(f"{fault.level} {fault.code}: {fault.cause}" for fault in usable.faults) or "no fault"
    return f"usable GPUs {list(usable.cards)}; {faults}"


def replica(arguments: argparse.Namespace) -> None:
    """One replica of the step ``replicas``. It says ready, waits for a line, then speaks for some seconds."""
    import torch

    if arguments.device == "cpu":
        torch.set_num_threads(1)
    model = build(arguments.tiny)[0].to(arguments.device)
    for _each in range(3):
        speak(model, SHORT, arguments.device)
    print("ready", flush=True)
    sys.stdin.readline()
    end, runs = time.monotonic() + arguments.seconds, []
    while time.monotonic() < end:
        runs.append(speak(model, SHORT, arguments.device))
    print(json.dumps(runs), flush=True)


def replicas(arguments: argparse.Namespace) -> Rows:
    """Replicas in processes of their own, as Xinference runs them, at the same time on one GPU."""
    idle = _used(arguments)
    for count in (1, 2) if arguments.tiny else (1, 2, 4):
        command = [sys.executable, __file__, "--step", "replica", "--device", arguments.device, "--seconds", "4"]
        command += ["--tiny"] if arguments.tiny else []
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _each in range(count)
        ]
        try:
            for process in started:
                if process.stdout.readline().strip() != "ready":  # type: ignore[union-attr]
                    raise RuntimeError(f"a replica of {count} ended with exit status {process.wait()}")
            held = _used(arguments) - idle
            for process in started:
                process.stdin.write("go\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            runs = [run for process in started for run in json.loads(process.communicate()[0])]
        finally:
            for process in started:
                process.kill()
        took = sorted(run[0] for run in runs)
        spoken = f"{len(runs)} sentences in 4 s, {sum(run[1] for run in runs) / 4:.1f} s of audio per second"
        delay = f"one takes {statistics.median(took):.3f} s (median) to {took[-1]:.3f} s"
        memory = f"; {held / 1e9:.1f} GB of the GPU" if arguments.device == "cuda" else ""
        yield f"{count} replica{'s' if count > 1 else ''}", f"{spoken}; {delay}{memory}"


def _used(arguments: argparse.Namespace) -> int:
    """The memory of all GPUs that is in use, in bytes."""
    if arguments.device == "cpu":
        return 0
    from plugins.module_utils.host import gpu_facts

    return sum(card["memory"]["used"] for card in gpu_facts.gather(seconds=10)["cards"])


def touch(arguments: argparse.Namespace) -> Rows:
    """Compute one thing on the device. The step ``policy`` runs this as a service."""
    import torch

    ones = torch.ones(64, 64, device=arguments.device)
    yield "result", str(float(ones.mm(ones).sum()))


def unit_properties(text: str) -> list[str]:
    """The settings of the unit's template that restrict a service with GPUs, for ``systemd-run``."""
    text = text[text.index("# --- file system") : text.index("[Install]")]
    text = re.sub(r"{% else %}.*?{% endif %}", "", text, flags=re.DOTALL)
    lines = [line.replace("{{ device }}", NVIDIA_DEVICES) for line in text.splitlines()]
    # The rest depends on the host: its folders and networks.
    return [line for line in lines if re.match(r"[A-Z]\w+=", line) and "{{" not in line and "IPAddress" not in line]


def policy(arguments: argparse.Namespace) -> Rows:
    """Whether CUDA works under the unit's restrictions, and whether they shut the GPU out without DeviceAllow."""
    if not os.path.isdir("/run/systemd/system"):
        raise Skip("systemd does not run here")
    if os.geteuid() != 0:
        raise Skip("only root may start a unit")
    names = unit_properties(UNIT.read_text(encoding="utf-8"))
    ours = [str(ROOT), os.path.realpath(sys.executable), sys.prefix]
    left = [line for line in names if any(path.startswith(HIDDEN.get(line.split("=")[0], "\0")) for path in ours)]
    kept = [line for line in names if line not in left]
    out = f"; left out, because they hide this program: {', '.join(left)}" if left else ""
    yield "settings", f"{len(kept)} of the unit's{out}"
    allowed = _as_service(kept, arguments.device)
    yield "with the unit's settings", "computes" if _computed(allowed) else f"fails: {_last(allowed)}"
    if arguments.device == "cuda":
        shut = _as_service([line for line in kept if not line.startswith("DeviceAllow=")], arguments.device)
        yield "without DeviceAllow", "COMPUTES" if _computed(shut) else f"refused: {_last(shut)}"
    if not _computed(allowed):
        raise RuntimeError("CUDA does not work under the unit's settings")


def _as_service(settings: list[str], device: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=RuntimeMaxSec=12"]
    command += [f"--property={line}" for line in settings]
    command += [sys.executable, "-B", __file__, "--step", "touch", "--device", device]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _computed(ran: subprocess.CompletedProcess[str]) -> bool:
    return ran.returncode == 0 and '"row"' in ran.stdout


def _last(ran: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (ran.stderr + ran.stdout).splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit status {ran.returncode}"


# --- the run ----------------------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "facts": facts,
    "cpu": cpu,
    "gpu": gpu,
    "replicas": replicas,
    "policy": policy,
    "touch": touch,
}


def run_step(name: str, arguments: argparse.Namespace, limit: float) -> Json:
    """Run a step as a process. Return its rows, or why it was skipped or failed."""
    command = [sys.executable, __file__, "--step", name, "--device", arguments.device]
    command += ["--tiny"] if arguments.tiny else []
    begin = time.monotonic()
    result: Json = {"name": name, "seconds": limit}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
        try:
            process.wait(timeout=limit)
            result["seconds"] = round(time.monotonic() - begin, 1)
        except subprocess.TimeoutExpired:
            # A process that hangs in the driver does not even end when it is killed, so do not wait for it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            result["failed"] = f"it took longer than {limit:.0f} s"
        output.seek(0)
        errors.seek(0)
        for line in output.read().splitlines():
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if "row" in found:
                    result.setdefault("rows", []).append(found["row"])
                else:
                    result.update(found)
        if process.returncode:
            lines = errors.read().strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
            result.setdefault("failed", lines[0][:400])
    return result


def machine() -> str:
    """The machine in words: operating system, processor, cores and memory."""
    with contextlib.suppress(OSError):
        text = Path("/etc/os-release").read_text(encoding="utf-8")
        system = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
        model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        name = f"{model[1]}, " if model else ""
        cores = len(os.sched_getaffinity(0))
        return f"{system[1] if system else 'Linux'}, {name}{cores} cores ({platform.machine()}), {memory:.0f} GB"
    return platform.platform()


def table(result: Json) -> str:
    """The figures as Markdown."""
    lines = [f"On {result['date']}, in {result['seconds']:.0f} s, on {result['machine']}:", ""]
    lines += ["| step | subject | result |", "| --- | --- | --- |"]
    for step in result["steps"]:
        title = TITLES[step["name"]]
        lines += [f"| {title} | {_cell(name)} | {_cell(value)} |" for name, value in step.get("rows", [])]
        lines += [f"| {title} | **{word}** | {_cell(step[word])} |" for word in ("skipped", "failed") if word in step]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def write_page(result: Json, page: Path) -> None:
    """Put the table between the markers of the page."""
    head, rest = page.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    page.write_text(f"{head}{BEGIN}\n{table(result)}\n{END}{tail}", encoding="utf-8")


def whole_run(arguments: argparse.Namespace) -> Json:
    """All steps, one after the other."""
    begin, steps = time.monotonic(), []
    whole = sum(LIMITS.values())
    for name, limit in LIMITS.items():
        print(f"{TITLES[name]} ...", flush=True)
        steps.append(run_step(name, arguments, min(limit, whole - (time.monotonic() - begin))))
        for row in steps[-1].get("rows", []):
            print(f"    {row[0]}: {row[1]}", flush=True)
        for word in ("skipped", "failed"):
            if word in steps[-1]:
                print(f"    {word.upper()}: {steps[-1][word]}", flush=True)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "device": arguments.device,
        "tiny": arguments.tiny,
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - begin, 1),
        "steps": steps,
    }


def one_step(arguments: argparse.Namespace) -> int:
    """Run a step in this process and print its result."""
    warnings.simplefilter("ignore")
    if arguments.step == "replica":
        replica(arguments)
        return 0
    try:
        if arguments.step not in ("facts", "policy") and importlib.util.find_spec("torch") is None:
            raise Skip(f"{sys.executable} has no torch. Name another Python in PYTHON")
        for row in STEPS[arguments.step](arguments):
            print(json.dumps({"row": row}), flush=True)
    except Skip as why:
        print(json.dumps({"skipped": str(why)}))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure Kokoro on a GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to try this program")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder of gpu.json and gpu.md")
    parser.add_argument("--from", dest="source", type=Path, help="write the table of docs/gpu.md from this gpu.json")
    parser.add_argument("--step", choices=(*STEPS, "replica"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        return one_step(arguments)
    if arguments.source:
        write_page(json.loads(arguments.source.read_text(encoding="utf-8")), PAGE)
        return 0
    result = whole_run(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (arguments.out / "gpu.md").write_text(table(result) + "\n", encoding="utf-8")
    print(f"{result['seconds']:.0f} s. Figures: {arguments.out}/gpu.json")
    if arguments.device == "cuda" and not arguments.tiny and any("rows" in step for step in result["steps"]):
        write_page(result, PAGE)
        print(f"Table: {PAGE}")
    return int(any("failed" in step for step in result["steps"]))


if __name__ == "__main__":
    sys.exit(main())
