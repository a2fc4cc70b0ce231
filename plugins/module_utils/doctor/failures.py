# SPDX-License-Identifier: GPL-3.0-or-later
"""Known failures, recognised by their messages: proxies, TLS, pip, uv, spaCy, Kokoro, Xinference, CUDA and systemd.

A line is compared with the table from top to bottom, so specific patterns stand before general ones. Codes never
change; docs/doctor.md lists them. The patterns match the messages of the locked packages (docs/versions.md), and of
pip, requests, httpx and systemd.
"""

from __future__ import annotations

from typing import NamedTuple

_FETCH = "Run fetch.yml again on the connected machine, carry the store to the controller, then deploy again."
_AGAIN = "Run deploy.yml again: it finds what differs from the sealed release and rebuilds it."
_BY_HAND = "A package was installed into the release by hand. "


class Failure(NamedTuple):
    """One known failure.

    ``pattern`` is a regular expression for one line; each of its repeats has a limit. ``general`` marks a message that
    other failures cause too. It counts only if none of them was found.
    """

    code: str
    pattern: str
    cause: str
    remedy: str
    general: bool = False


FAILURES: tuple[Failure, ...] = (
    # --- spaCy: the error that most people meet first
    Failure(
        "SP01",
        r"explosion/spacy-models/master/compatibility\.json",
        "Kokoro needs the spaCy model en_core_web_sm to turn English text into phonemes. The model is not installed "
        "as a package, so Kokoro tried to download it from GitHub at launch. A host without internet cannot reach "
        "GitHub.",
        "Run fetch.yml on a connected machine: it adds the tarball of en_core_web_sm to the store. "
        "artifact_store_spacy_source names a mirror, if you need one. Then deploy again.",
    ),
    Failure(
        "SP02",
        r"Couldn't fetch compatibility table|No compatible packages? found for",
        "spaCy tried to download a model and got no usable answer. The model's process then ended without a traceback.",
        "The release lacks its spaCy model. " + _FETCH,
    ),
    Failure(
        "SP03",
        r"No module named pip\b|No package installer found",
        "The spaCy model is missing. spaCy tried to install it with pip, but an environment made by uv has no pip.",
        "The release lacks its spaCy model. " + _FETCH,
    ),
    Failure(
        "SP04",
        r"\[E050\] Can't find model",
        "The environment that runs Kokoro lacks the spaCy model. Copying the model's files is not enough: spaCy "
        "reads the metadata of an installed package.",
        _AGAIN + " To add another model, set spacy_models_extra.",
    ),
    Failure(
        "SP05",
        r"\[E053\] Could not read .{0,300} from",
        "The spaCy model is incomplete, or it was built for another spaCy version.",
        "spaCy needs models of its own minor version. " + _AGAIN,
    ),
    Failure(
        "SP06",
        r"\[W095\] Model '",
        "The spaCy model is older than spaCy. It works, but some words may sound different.",
        "Fetch the version that docs/versions.md names and deploy again.",
    ),
    Failure(
        "SP07",
        r"setuptools>=40\.8\.0 \(from versions: none\)|setuptools was not found in the provided package locations",
        "pip tried to build a source package. The build needs setuptools from the package index.",
        "Build nothing on hosts. Install a spaCy model with the role spacy_models, and other packages as wheels from "
        "the store. fetch.yml builds wheels for packages that have none.",
    ),
    Failure(
        "SP08",
        r"Can't find factory for 'curated_transformer'|No module named 'spacy_curated_transformers'"
        r"|spacy-curated-transformers<1\.0\.0",
        "The environment that runs Kokoro has a spaCy transformer model (trf), but its helper package "
        "spacy-curated-transformers is missing or does not fit. The locks contain it.",
        _AGAIN + " To do without the model, set kokoro_english_model: en_core_web_sm.",
    ),
    # --- damaged or wrong artifacts
    Failure(
        "KM01",
        r"No such file or directory: '[^']{0,300}(config\.json|kokoro-v1_0\.pth)'"
        r"|model_path`?: .{0,300} does not exist",
        "The model folder is missing or incomplete. It must hold config.json, kokoro-v1_0.pth and voices/*.pt.",
        _AGAIN + " If the error remains, check xinference_model_path.",
    ),
    Failure(
        "HF07",
        r"invalid load key, 'v'",
        "A model file is a git-lfs pointer of a few hundred bytes instead of the weights.",
        "Clone the source named in artifact_store_kokoro_source with git-lfs, or download the files. " + _FETCH,
    ),
    Failure(
        "PX11",
        r"Missing `Content-Type` header for|Tunnel connection failed: 403|invalid load key, '<'",
        "A proxy or portal returned its own page instead of the file. It blocks the address, or it requires a sign-in.",
        "Ask the proxy's owner to allow the host in the message. Or take the files from a mirror or a folder "
        "(artifact_store_kokoro_source, artifact_store_spacy_source).",
    ),
    Failure(
        "HF08",
        r"PytorchStreamReader failed reading (zip archive|file)|unexpected EOF, expected|invalid load key",
        "The weights or a voice file are truncated, damaged or not a PyTorch file. A full disk or a broken transfer "
        "can be the reason.",
        "Check the store with store_verify, then deploy again. The deploy hashes every file on the host.",
    ),
    Failure(
        "HF09",
        r"Entry Not Found for url: .{0,300}voices/|404 Client Error.{0,300}voices/",
        "No voice has this name. The name is misspelt, or the voice was withdrawn.",
        "Correct kokoro_voices or the client's request. docs/voices.md lists all voices.",
    ),
    # --- proxies
    Failure(
        "PX01",
        r"407 Proxy Authentication Required|tunnel error: proxy authorization required",
        "The proxy requires a user and a password, or it rejected those it got. Both must be percent-encoded in the "
        "proxy's address. NTLM and Kerberos do not work this way.",
        "Set https_proxy to http://user:password@proxy:port with both percent-encoded, in a file that only root can "
        "read. For NTLM or Kerberos, run a local helper such as cntlm.",
    ),
    Failure(
        "PX02",
        r"Cannot connect to proxy|Unable to connect to proxy|tunnel error: failed to create underlying connection",
        "This machine cannot reach the proxy. The address or port is wrong, the proxy is down, or a firewall blocks "
        "the way.",
        "Test it on this machine: curl -v -x http://proxy:port https://pypi.org. Then correct https_proxy.",
    ),
    Failure(
        "PX03",
        r"Failed to parse: .{0,300}(is not a valid host or port|://)|Invalid IPv6 URL",
        "The proxy's address contains a character that must be escaped (# @ [ ] ? / %), usually in the password. uv "
        "accepts it, but pip and requests do not.",
        "Percent-encode the user and the password: # is %23, @ is %40, % is %25.",
    ),
    Failure(
        "PX05",
        r"Invalid port: ':1\]'|Invalid port: ':'",
        "NO_PROXY contains an IPv6 address in brackets or an IPv6 network. The HTTP library httpx fails on both.",
        "In NO_PROXY and no_proxy, write ::1 instead of [::1] and remove IPv6 networks.",
    ),
    Failure(
        "PX06",
        r"Missing dependencies for SOCKS support|Using SOCKS proxy, but the 'socksio' package is not installed",
        "ALL_PROXY names a SOCKS proxy, but the packages for SOCKS are not installed.",
        "Use the proxy's HTTP address, or remove ALL_PROXY from the environment.",
    ),
    Failure(
        "PX07",
        r"Unknown scheme for proxy URL",
        "ALL_PROXY begins with socks://, the form that desktops write. No Python client understands it.",
        "Write socks5h://, or remove ALL_PROXY from the environment.",
    ),
    Failure(
        "PX10",
        r"Auto-detected download hub: modelscope",
        "Xinference chose another model hub by itself, because a proxy is set or the usual hub is unreachable.",
        "XINFERENCE_MODEL_SRC is not pinned. Either the collection's unit did not start the service, or "
        "xinference_environment overrides the variable. Remove it there and deploy again.",
    ),
    Failure(
        "PX09",
        r"Status code was (-1|403|407|50[0-9]) and not \[200\]",
        "Ansible's own HTTP client used a proxy for an address that it should reach directly. In no_proxy it "
        "understands names and addresses, but no networks.",
        "Add the address itself to no_proxy, or set use_proxy: false on that task.",
    ),
    # --- TLS
    Failure(
        "TL04",
        r"InvalidCertificate\(UnknownIssuer\)",
        "The hub's download helper hf_xet does not know the company's CA and has no setting for it. Large files fail "
        "while small files arrive.",
        "Set HF_HUB_DISABLE_XET=1 for manual downloads. fetch.yml does not use hf_xet, and hosts download nothing.",
    ),
    Failure(
        "TL03",
        r"CaUsedAsEndEntity",
        "A private index uses a CA certificate as its server certificate. uv rejects that even if the CA is trusted.",
        "Give the server its own certificate, issued by that CA, with the server's name in subjectAltName.",
    ),
    Failure(
        "TL05",
        r"certificate (is not yet valid|has expired)",
        "By this machine's clock, the server's certificate is not valid. The clock is wrong, or the certificate has "
        "expired.",
        "Compare date -u with another machine and set up a time server. If the clock is right, renew the certificate.",
    ),
    Failure(
        "TL02",
        r"invalid peer certificate: UnknownIssuer",
        "uv does not know the CA that signed the server's certificate. uv has its own list of CAs and ignores "
        "REQUESTS_CA_BUNDLE.",
        "Set SSL_CERT_FILE to a file that holds your CA and the public CAs.",
    ),
    Failure(
        "TL01",
        r"CERTIFICATE_VERIFY_FAILED",
        "This machine does not know the CA that signed the server's certificate. Usually it is the CA of a company "
        "that inspects TLS.",
        "Install the CA in the system's trust store. Set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to a file that holds "
        "it and the public CAs.",
    ),
    # --- the model hubs
    Failure(
        "HF02",
        r"offline mode is enabled|outgoing traffic has been disabled",
        "A file was requested from the model hub, but hosts may not use the hub. The address in the message names "
        "the file.",
        "If the file is a voice, add it to kokoro_voices. " + _FETCH,
    ),
    Failure(
        "HF03",
        r"Distant resource does not (seem to be on huggingface\.co|have a Content-Length)",
        "A mirror of the model hub omits headers that the hub's own client needs.",
        "Name the mirror in artifact_store_kokoro_source. fetch.yml needs only the files themselves and checks their "
        "sha256.",
    ),
    Failure(
        "HF04",
        r"(cas-server|cas-bridge|transfer)[\w.-]{0,100}\.xethub",
        "Large files of the hub come from another host (xethub.hf.co). The mirror or the proxy does not cover that "
        "host.",
        "Allow *.xethub.hf.co for the connected machine, or name a mirror in artifact_store_kokoro_source.",
    ),
    Failure(
        "HF06",
        r"host='(www\.)?modelscope\.cn'.{0,500}(Max retries|Failed to establish)",
        "Xinference contacted ModelScope. It does so even if all files of the model are present.",
        "The model was launched by its hub name. Launch it with model_path, as the role xinference does.",
    ),
    Failure(
        "HF01",
        r"we cannot find the requested files in the local cache",
        "The release lacks a voice, a blend of voices or a model file. It was therefore requested from the model hub.",
        "Add the voice to kokoro_voices. " + _FETCH,
        True,
    ),
    Failure(
        "HF05",
        r"Failed to download model '[^']{0,200}' .{0,300}after multiple retries",
        "Xinference tried to download the model instead of loading it from the release.",
        "Run deploy.yml again: the role xinference launches the model with model_path.",
        True,
    ),
    # --- Python, pip, uv
    Failure(
        "PY02",
        r"numpy\.dtype size changed, may indicate binary incompatibility",
        "Packages built for numpy 2 run with numpy 1, or two copies of numpy are mixed.",
        _BY_HAND + _AGAIN,
    ),
    Failure(
        "PY05",
        r"XINFERENCE_VIRTUAL_ENV_OFFLINE_INSTALL=1 requires a",
        "Xinference's virtual environments for models are switched on. Their offline mode requires a private package "
        "index.",
        "Switch them off: remove XINFERENCE_ENABLE_VIRTUAL_ENV and similar variables from xinference_environment.",
    ),
    Failure(
        "PY06",
        r"Offline virtualenv installation does not support non-wheel direct references",
        "A model's virtual environment requests a source package by its address.",
        "Switch the virtual environments off in xinference_launch_options. Kokoro runs in the release's environment.",
    ),
    Failure(
        "PY07",
        r"virtual_env_find_links (path|only accepts|must be|entries)|Request-level virtualenv find-links are disabled",
        "A launch option names a folder of wheels, which this Xinference does not allow.",
        "Remove virtual_env_find_links from xinference_launch_options. The release holds all packages.",
    ),
    Failure(
        "PY09",
        r"module specification for 'xoscar\.backends\.indigen'|No module named 'xoscar'",
        "A model's virtual environment does not see Xinference's packages.",
        "Set enable_virtual_env to false, empty the folder virtualenv in xinference_home, and deploy again.",
    ),
    Failure(
        "PY10",
        r"is not visible to child venvs",
        "This Xinference was installed with pip install --user. It does not belong to the release.",
        "Stop it. The unit voicefleet-xinference.service runs the release's Xinference.",
    ),
    Failure(
        "PY11",
        r"has no attribute 'set_data_path'",
        "The package phonemizer overwrote phonemizer-fork, because both have the same import name.",
        _BY_HAND + _AGAIN,
    ),
    Failure(
        "PY12",
        r"huggingface[-_]hub[><=0-9., ]{1,60} is required for a normal functioning",
        "The installed versions of transformers and huggingface_hub do not work together.",
        _BY_HAND + "The lock names versions that do. " + _AGAIN,
    ),
    Failure(
        "PY13",
        r"GLIBC_2\.\d{1,4}' not found|GLIBCXX_3\.\d{1,4}\.\d{1,4}' not found",
        "The host's C library is too old for a wheel. espeak-ng's wheel needs glibc 2.29. With an older glibc, words "
        "that no dictionary holds are silently left out of the speech.",
        "Use RHEL 9, Debian 11, Ubuntu 20.04 or newer.",
    ),
    Failure(
        "PY14",
        r"exec format error|is not a supported wheel on this platform",
        "A file was built for another processor architecture or another Python than this host's.",
        "Fetch a profile that fits the host (artifact_store_profiles). preflight chooses the profile by architecture "
        "and Python.",
    ),
    Failure(
        "PY16",
        r"NumPy was built with baseline optimizations|CPU does not support x86-64-v\d|status=4/ILL|Illegal instruction",
        "The processor lacks instructions that the release's packages need: the level x86-64-v2. Usually the host is a "
        "virtual machine with an old processor model such as qemu64 or kvm64.",
        "Give the virtual machine the processor model host, or x86-64-v2-AES or newer. Then start it again.",
    ),
    Failure(
        "PY15",
        r"externally-managed-environment",
        "pip refuses to install into the distribution's own Python.",
        "Install into a virtual environment (python3 -m venv). On hosts, the role python_env creates it.",
    ),
    Failure(
        "PY08",
        r"satisfies the requirement (jieba|docopt|unidic|unidic-lite|pyopenjtalk)\b",
        "This package is published only as source, and hosts build nothing.",
        "fetch.yml builds a wheel of it on the connected machine. " + _FETCH,
    ),
    Failure(
        "PY04",
        r"Failed to fetch: `?https://[^/ ]{1,255}/(simple|packages|whl)",
        "The package index was contacted although the release holds all packages. Virtual environments for models "
        "are on, or uv runs without --offline.",
        "On hosts, leave XINFERENCE_ENABLE_VIRTUAL_ENV at 0 and enable_virtual_env at false. On the connected "
        "machine, check the proxy and the index's address.",
    ),
    Failure(
        "PY01",
        r"Requires-Python <3\.13,>=3\.10|kokoro requires Python <3\.13|No matching distribution found for kokoro",
        "Kokoro needs Python 3.10, 3.11 or 3.12. With a newer Python, pip installs an old Kokoro or none.",
        'Choose a profile with one of these, or add a Python to the store: artifact_store_pythons: ["3.11"].',
        True,
    ),
    Failure(
        "PY17",
        r"we can conclude that .{1,1000} are incompatible(?!.{0,1000}network was disabled)",
        "Two packages exclude each other: each needs another version of a third one. uv names all three.",
        "Name both packages in artifact_store_lock_versions, with versions that fit each other, or keep the shipped "
        "ones. Then run lock.yml again.",
    ),
    Failure(
        "PY03",
        r"Packages were unavailable because the network was disabled|was not found in the cache"
        r"|No solution found when resolving dependencies",
        "uv works offline, and the store lacks a package for this Python, architecture or C library. The message "
        "names the package.",
        _FETCH,
        True,
    ),
    # --- espeak-ng
    Failure(
        "ES01",
        r"Error processing file '.{0,1000}espeak-ng-data/phontab': No such file or directory",
        "The path of espeak-ng's data has 160 bytes or more. The library then ends the whole process without an "
        "exception.",
        "Choose a shorter voicefleet_root, and an xinference_home of at most 50 characters.",
    ),
    Failure(
        "ES02",
        r"failed to map segment from shared object|cannot change memory protections"
        r"|cannot load library '.{0,500}libespeak-ng",
        "A library cannot be loaded from the temporary folder. Its file system is mounted noexec, or SELinux forbids "
        "it. espeak-ng's library is copied there before it is loaded.",
        "The service's TMPDIR is xinference_home/tmp. Mount that file system with exec, or move xinference_home.",
    ),
    Failure(
        "ES03",
        r"failed to find espeak library|espeak not installed on your system|failed to load espeak library",
        "espeak-ng's library could not be loaded. This message hides the reason.",
        "The usual reason is a noexec temporary folder or a glibc older than 2.29. See the doctor's findings NOEXEC "
        "and GLIBC.",
    ),
    Failure(
        "ES04",
        r"EspeakFallback not Enabled: OOD words will be skipped",
        "espeak-ng does not work. Words that no dictionary holds are left out of the speech.",
        "Fix what the doctor reports as NOEXEC, GLIBC or PATH_LENGTH, then deploy again.",
    ),
    Failure(
        "ES05",
        r"data path not exists at|failed to retrieve espeak data directory|is not a readable directory"
        r"|Wrong version of espeak-ng-data",
        "espeak-ng's data files are missing or belong to another version.",
        "Remove ESPEAK_DATA_PATH from xinference_environment. " + _AGAIN,
    ),
    # --- GPU
    Failure(
        "GP01",
        r"no kernel image is available for execution on the device"
        r"|is not compatible with the current PyTorch installation|CU(BLAS|DNN)_STATUS_ARCH_MISMATCH",
        "The release's torch does not support this GPU's architecture. The GPU is too new or too old for it.",
        "Run nvidia-smi --query-gpu=compute_cap --format=csv and compare the number with docs/gpu.md. Set "
        "preflight_accelerator: cpu for such hosts until the locks hold a torch for their GPU.",
    ),
    Failure(
        "GP04",
        r"could not select device driver|nvidia-container-cli: (initialization error|requirement error)",
        "The container runtime gives the container no GPU. The NVIDIA toolkit is missing, or the image needs a newer "
        "driver.",
        "Repair the toolkit on the container's host, or upgrade its driver. The collection's own service needs no "
        "container.",
    ),
    Failure(
        "GP02",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime version"
        r"|unsatisfied condition: cuda>=",
        "The host's NVIDIA driver is too old for the release's CUDA. CUDA 13 needs driver 580, and CUDA 12 needs "
        "driver 525. torch may silently use the CPU.",
        "Upgrade the host's driver (nvidia-smi shows its version), or set preflight_accelerator: cpu for such hosts.",
    ),
    Failure(
        "GP03",
        r"Driver/library version mismatch",
        "The NVIDIA driver's packages were upgraded, but the old kernel module is still loaded.",
        "Reboot the host. Exclude the driver's packages from automatic upgrades.",
    ),
    Failure(
        "GP05",
        r"CUDA out of memory|CUDA error: out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
        "The GPU's memory is full. Kokoro itself takes up to 1.7 GB plus the CUDA context.",
        "Run nvidia-smi to see which process holds the memory. Choose another GPU with xinference_cards.",
    ),
    Failure(
        "GP06",
        r"Unable to load any of \{libcudnn|Could not load library libcudnn|cuDNN version incompatibility"
        r"|CUDNN_STATUS_\w{0,20}(VERSION_MISMATCH|LOADING_FAILED)",
        "Another cuDNN is loaded instead of the release's own.",
        "Remove LD_LIBRARY_PATH from xinference_environment and from the unit's drop-ins.",
    ),
    Failure(
        "GP07",
        r"operator torchvision::nms does not exist|torchvision' has no attribute 'extension'",
        "torch and torchvision come from different builds.",
        _BY_HAND + "The lock names versions that fit together. " + _AGAIN,
    ),
    Failure(
        "GP08",
        r"Device \S{1,60} is not available!|CUDA requested but not available|No CUDA GPUs are available"
        r"|no CUDA-capable device is detected",
        "A GPU was requested, but torch sees none.",
        "Run the doctor, which checks the driver and the GPUs. If xinference_devices is set, it must name all "
        "device nodes of the GPU.",
    ),
    Failure(
        "GP09",
        r"(?i:can'?t use gpu)|Providers: \['CPUExecutionProvider'\]",
        "The model runs on the CPU although a GPU was expected.",
        "Fetch a cuda profile for this host, and remove preflight_accelerator: cpu from its variables.",
    ),
    Failure(
        "GP10",
        r"No available slot found for the model|has been occupied with a vLLM model",
        "Other models of this Xinference use all GPUs.",
        "Set gpu_idx in xinference_launch_options, or stop the other model.",
    ),
    Failure(
        "GP11",
        r"CUDA unknown error - this may be due to an incorrectly set up environment|invalid device ordinal"
        r"|Error 999: unknown error|CUDA error: unknown error",
        "CUDA cannot start. The kernel module nvidia_uvm is not loaded, the unit hides the device nodes, or "
        "CUDA_VISIBLE_DEVICES names a missing GPU.",
        "Run modprobe nvidia_uvm, then nvidia-modprobe -u -c 0, which creates the device nodes. Check "
        "xinference_cards and gpu_idx.",
    ),
    Failure(
        "GP12",
        r"Unable to determine the device handle for|GPU is lost|GPU has fallen off the bus"
        r"|NVRM: Xid \([^)]{0,60}\): 79,",
        "A GPU no longer answers on the bus. The reason is power, heat, a riser or the GPU itself.",
        "Power the host off and on: a reboot alone may not bring the GPU back. Run journalctl -k and read the NVRM "
        "lines of that moment. If it happens again, replace the GPU. Until then, let the host serve without it.",
    ),
    Failure(
        "GP13",
        r"uncorrectable ECC error encountered|NVRM: Xid \([^)]{0,60}\): (48|63|64|94|95),",
        "The GPU's memory has errors that could not be corrected.",
        "Reboot the host: this takes the bad memory rows out of use. If errors return, replace the GPU. nvidia-smi "
        "-q -d ECC,ROW_REMAPPER shows them.",
    ),
    Failure(
        "GP14",
        r"couldn't communicate with the NVIDIA driver|Driver Not Loaded|Found no NVIDIA driver on your system",
        "The NVIDIA driver's kernel module is not loaded. It is not installed, it was not built for this kernel, or "
        "Secure Boot rejected it.",
        "Run modprobe nvidia to see the reason. Run dkms status to see the kernels it was built for. After a kernel "
        "upgrade, install the kernel's headers and reboot.",
    ),
    Failure(
        "GP15",
        r"Failed to initialize NVML: (Unknown Error|Insufficient Permissions)"
        r"|nvmlInit\w{0,20}: Insufficient Permissions",
        "The driver's device nodes cannot be opened. This user may not open them, or a container lost them, for "
        "example at a daemon-reload on its host.",
        "Check ls -l /dev/nvidia*. Start the container again and name each device to the runtime.",
    ),
    Failure(
        "GP16",
        r"No devices were found",
        "The NVIDIA driver is loaded but finds no GPU that it can use.",
        "journalctl -k | grep NVRM shows the reason. The GPU is too old for this driver, the open kernel module "
        "does not support it (older than Turing), or a virtual machine has it.",
    ),
    Failure(
        "GP17",
        r"Error 802\b|system not yet initialized",
        "The GPUs of this host are joined by NVSwitch, and the fabric manager has not set that up. CUDA refuses every "
        "GPU until then (error 802).",
        "Run systemctl status nvidia-fabricmanager. Install its package in exactly the driver's version, enable it and "
        "start it. In a virtual machine, it runs on the machine's host.",
    ),
    Failure(
        "GP18",
        r"Error 803\b|unsupported display driver / cuda driver combination",
        "The library libcuda and the loaded kernel module belong to different driver versions (error 803). The driver "
        "was upgraded without a reboot, or another libcuda hides the driver's own.",
        "Reboot the host. Remove LD_LIBRARY_PATH from xinference_environment, and other copies of libcuda.so.1: "
        "ldconfig -p shows them.",
    ),
    Failure(
        "GP19",
        r"Error 804\b|forward compatibility was attempted on non supported HW",
        "NVIDIA's compatibility package (cuda-compat) is in use, but this GPU does not support it (error 804). Only "
        "data-centre GPUs do.",
        "Remove cuda-compat and upgrade the driver itself. If it was just upgraded, reboot the host.",
    ),
    Failure(
        "GP20",
        r"CUDA-capable device(s|\(s\)) (is/)?are busy or unavailable",
        "The GPU admits no further process. Its compute mode is Exclusive or Prohibited and another process has it, or "
        "the GPU waits for a reset.",
        "Run nvidia-smi to see who has the GPU and its compute mode. nvidia-smi -c DEFAULT admits several processes. "
        "If nobody has it, reboot the host.",
    ),
    Failure(
        "GP22",
        r"CUDA error: (an illegal memory access|unspecified launch failure|misaligned address|device-side assert)"
        r"|NVRM: Xid \([^)]{0,60}\): (13|31),",
        "A computation on the GPU failed. The process that ran it cannot use the GPU any more.",
        "Restart the service. If it happens again, read the NVRM lines in journalctl -k, and try another GPU with "
        "xinference_cards.",
    ),
    Failure(
        "GP23",
        r"Unlicensed \((Restricted|Unrestricted)\)|[Ll]icense not found\. GPU features|Failed to acquire licen[sc]e",
        "This virtual GPU has no licence. Its driver slows it down after some minutes, and may refuse CUDA.",
        "Run systemctl status nvidia-gridd. Put the token of the licence server below /etc/nvidia/ClientConfigToken. "
        "The host must reach that server.",
    ),
    Failure(
        "GP21",
        r"CUBLAS_STATUS_\w{1,40}|CUDNN_STATUS_\w{1,40}|cuDNN error:",
        "The libraries cuBLAS or cuDNN failed on the GPU. Usually the GPU's memory is full, or an earlier error ended "
        "this process's use of the GPU.",
        "Read the first error before this one. Run nvidia-smi to see the free memory, then restart the service.",
        True,
    ),
    # --- audio and requests
    Failure(
        "AU01",
        r"sndfile library not found|cannot load library 'libsndfile",
        "The package soundfile was installed without its library. This happens with an old C library or on another "
        "architecture.",
        "Use a host with glibc 2.29 or newer and a profile that fits it. " + _AGAIN,
    ),
    Failure(
        "AU02",
        r"Unknown format: '(OPUS|AAC|PCM)'",
        "A client requested an audio format that this server cannot make. It can make mp3, wav, flac and ogg.",
        "Set response_format in the client to one of these.",
    ),
    Failure(
        "AU03",
        r"File contains data in an unimplemented format|Format not recognised",
        "The system's libsndfile cannot write MP3, which is Xinference's default format.",
        "The release's own libsndfile can. Remove LD_LIBRARY_PATH from xinference_environment, or request wav.",
    ),
    Failure(
        "AU04",
        r"need at least one array to concatenate",
        "A request contained nothing to speak. The text is empty, or the model's language cannot read its script.",
        "Correct the client's text. If ordinary sentences fail too, see the doctor's findings on espeak-ng.",
    ),
    Failure(
        "AU05",
        r"Kokoro does not support stream mode",
        "A client requested stream: true, but Kokoro in this Xinference cannot stream.",
        "Switch streaming off in the client.",
    ),
    Failure(
        "AU06",
        r"Language mismatch, loading .{0,60} voice into .{0,60} pipeline",
        "A voice was used with the front end of another language. The speech is wrong or silent.",
        "Add the voice's language to kokoro_languages, then fetch and deploy again.",
    ),
    Failure(
        "AU07",
        r"Phoneme string too long: \d{1,9} > 510|Truncating len\(ps\)",
        "A piece of text was longer than 510 phonemes. Its end was not spoken.",
        "Deploy with the repair kokoro-words (preflight_patches), or let the client send short sentences.",
    ),
    # --- languages
    Failure(
        "LG02",
        r"cotonoha-dic[\w.-]{0,100}amazonaws|polm/unidic-py/master/dicts\.json",
        "The Japanese dictionary UniDic was requested from the internet.",
        "Deploy from a store that was fetched with j in kokoro_languages. Such a store holds the dictionary.",
    ),
    Failure(
        "LG01",
        r"Failed initializing MeCab",
        "The Japanese dictionary UniDic is missing. Its Python package contains no dictionary by itself.",
        "Deploy from a store that was fetched with j in kokoro_languages. Such a store holds the dictionary.",
    ),
    Failure(
        "LG03",
        r"pip install misaki\[(ja|zh)\]|No module named '(pyopenjtalk|fugashi|jaconv|mojimoji|jieba|pypinyin"
        r"|pypinyin_dict|cn2an|ordered_set)'",
        "The release lacks the packages for Japanese or Chinese.",
        "Add the language to kokoro_languages, then fetch and deploy again. Its packages come with it.",
    ),
    Failure(
        "LG04",
        r"Dump cache file failed",
        "The Chinese word list cannot be saved in the temporary folder, because another user's file is there. The "
        "only effect is a slower start.",
        "The service has its own TMPDIR. Remove any other TMPDIR from xinference_environment.",
    ),
    # --- Xinference
    Failure(
        "XI03",
        r"\[Errno 98\]|[Aa]ddress already in use|Cannot listen on \S{1,255}:\d{1,5}",
        "Another process uses the port, perhaps an older Xinference.",
        "Run ss -ltnp to see which. Stop it, or choose another xinference_port.",
    ),
    Failure(
        "XI02",
        r"\[Errno 99\]|Cannot assign requested address",
        "xinference_host is an address that this host does not have.",
        "Set xinference_host to one of the host's own addresses, to 127.0.0.1, or to 0.0.0.0.",
    ),
    Failure(
        "XI04",
        r"Worker timeout\. address:",
        "The supervisor lost a worker. The worker stopped, or a firewall blocks its port.",
        "Check the unit on the worker's host. Open the cluster's ports between its hosts.",
    ),
    Failure(
        "XI07",
        r"API keys can only access model query and inference endpoints",
        "An API key was used to launch or stop a model. Only a signed-in user may do that.",
        "Use the role xinference, which signs in as xinference_deploy_user. Clients need only their key.",
    ),
    Failure(
        "XI06",
        r"Could not validate credentials|Not authenticated|Incorrect username or password",
        "The credentials were rejected. The key is wrong or missing, or it was changed on one side only.",
        "Clients use the key in /etc/voicefleet/client.key. If the host's own key is rejected, run deploy.yml again: "
        "it repairs accounts and keys.",
    ),
    Failure(
        "XI08",
        r"[Tt]emporarily banned|Too many failed attempts",
        "Xinference banned an address for an hour, after ten bad credentials within five minutes.",
        "Find the client that sends them: see logs/audit.log in xinference_home. A restart of the service lifts the "
        "ban.",
    ),
    Failure(
        "XI09",
        r"FIRST-RUN SETUP REQUIRED|Invalid setup token",
        "This Xinference has no administrator yet. Its database is new or was removed.",
        "Run deploy.yml again: the role xinference creates the accounts before it starts the service.",
    ),
    Failure(
        "XI10",
        r"Model is already in the model list, uid:",
        "A model was launched that already runs. This does no harm.",
        "Use the running model, or choose another xinference_model_uid.",
    ),
    Failure(
        "XI11",
        r"got multiple values for keyword argument 'gpu_idx'",
        "xinference launch was called with --gpu_idx. The option is spelt --gpu-idx.",
        "Launch the model with the role xinference, and set gpu_idx in xinference_launch_options.",
    ),
    Failure(
        "XI12",
        r"not ready within [\d.]{1,20} s\b|is still \w{1,40} after [\d.]{1,20} s\b",
        "The service or its model took longer to start than allowed. It is still starting. A busy or slow host needs "
        "more than half a minute.",
        "Check again in a minute. Raise xinference_ready_timeout for such hosts. If it never becomes ready, read the "
        "log.",
        True,
    ),
    # --- the unit
    Failure(
        "OS07",
        r"\[Errno 1\] Operation not permitted: '[^']{1,300}/bin/|EXEC spawning .{1,300}: Operation not permitted"
        r"|cannot execute: Operation not permitted",
        "A guard of the host, such as fapolicyd, does not let a program run that no package of the system brought.",
        "Allow voicefleet_root there, and the folder tmp of xinference_home. For fapolicyd, preflight names the rule.",
    ),
    Failure(
        "SD01",
        r"status=203/EXEC|Failed at step EXEC",
        "systemd cannot run the release's xinference-local. The release is missing or damaged.",
        _AGAIN,
    ),
    Failure(
        "SD02",
        r"Failed to load environment files",
        "The file with the service's secrets is missing, so systemd does not start the service.",
        "Run deploy.yml again: it writes /etc/voicefleet/xinference.env from the secrets beside it.",
    ),
    Failure(
        "SD03",
        r"status=217/USER|Failed to determine user credentials",
        "The service's user does not exist.",
        "Run deploy.yml again: it creates xinference_user.",
    ),
    Failure(
        "SD04",
        r"status=226/NAMESPACE|Failed to set up mount namespacing|status=200/CHDIR",
        "The service's home is missing, or the kernel refuses the unit its own mount namespace.",
        "Run deploy.yml again: it creates xinference_home. In a container, allow it to mount.",
    ),
    # --- the host
    Failure(
        "OS05",
        r"Out of memory: Killed process|oom-kill:|A process of this unit has been killed by the OOM killer"
        r"|\bMemoryError\b|Result=oom-kill|result 'oom-kill'",
        "Memory ran out, and the kernel killed a process.",
        "If the unit reached its own limit, raise xinference_memory_max. Otherwise give the host more memory.",
    ),
    Failure(
        "OS01",
        r"No space left on device|\[Errno 28\]|Not enough free disk space",
        "A file system is full.",
        "Run df -h to see which. Releases lie below voicefleet_root, logs and temporary files below xinference_home. "
        "releases_keep sets how many old releases stay.",
    ),
    Failure(
        "OS03",
        r"\[Errno 30\]|Read-only file system",
        "Something tried to write to a read-only place. The unit lets the service write only in its home.",
        "Move the file below xinference_home. If xinference_home itself is read-only, the disk has an error: see "
        "dmesg.",
    ),
    Failure(
        "OS06",
        r"(bind|connect)\(\) to \S{1,200} failed \(13: Permission denied\)"
        r"|cannot bind socket.{0,20}\(?Permission denied|General socket error \(Permission denied\)",
        "SELinux keeps nginx or HAProxy from a port. Its policy knows only the usual ports of a web server.",
        "For nginx, run setsebool -P httpd_can_network_connect 1, and semanage port -a -t http_port_t -p tcp PORT with "
        "gateway_port. For HAProxy, run setsebool -P haproxy_connect_any 1.",
    ),
    Failure(
        "OS02",
        r"\[Errno 13\]|Permission denied|Failed to read or create secret file",
        "A user may not read or write a file. For the service, this is a file in its home that another user owns.",
        "Run deploy.yml again: it corrects the owners. With SELinux, run restorecon -R on xinference_home.",
    ),
    Failure(
        "OS04",
        r"Too many open files|\[Errno 24\]",
        "The service has no file descriptors left. Each waiting client needs one.",
        "The unit allows 65536. Look for clients that do not close their connections, or raise LimitNOFILE in a "
        "drop-in.",
    ),
    # --- the network, for any purpose
    Failure(
        "PX04",
        r"Cannot send a request, as the client has been closed",
        "The model hub's client hides the real error. It stands one line above: a proxy refused, or TLS failed.",
        "Read the line above. Hosts never need the hub: add the voice to kokoro_voices.",
        True,
    ),
    Failure(
        "NW01",
        r"Temporary failure in name resolution|Name or service not known|Failed to resolve '"
        r"|failed to lookup address information",
        "Something tried to reach the internet by a name that cannot be resolved here. The name shows what is "
        "missing: huggingface.co stands for a model or voice, raw.githubusercontent.com for a spaCy model, an index "
        "for a package.",
        "On hosts, add what is missing to the store with fetch.yml. On the connected machine, check DNS and "
        "https_proxy.",
    ),
    Failure(
        "NW02",
        r"Network is unreachable|No route to host|Connection refused \(os error 111\)|\[Errno 111\] Connection refused",
        "Nothing answers at that address and port. There is no route, a firewall blocks the way, or nothing listens "
        "there.",
        "For the host's own service, run systemctl status voicefleet-xinference. Otherwise something tried to reach "
        "the internet: the address in the message shows what is missing.",
    ),
    Failure(
        "NW03",
        r"Read timed out|ConnectTimeout|operation timed out|Connection reset by peer|\[Errno 104\]",
        "A connection hangs or was cut, for example by a firewall that silently drops packets.",
        "On hosts, nothing should need the internet: the address in the message shows what did. On the connected "
        "machine, run fetch.yml again: it continues where it was cut.",
    ),
    Failure(
        "NW04",
        r"Max retries exceeded with url",
        "Something tried to reach the internet and failed.",
        "The name in the message shows what the release lacks. " + _FETCH,
    ),
    # --- messages that follow many different failures
    Failure(
        "PX08",
        r"Expecting value: line \d{1,9} column 1 \(char \d{1,9}\)",
        "An answer that should be JSON is a web page. A proxy stands between the client and the service.",
        "Add localhost, 127.0.0.1, ::1 and the host's own names to NO_PROXY and no_proxy of that client.",
        True,
    ),
    Failure(
        "XI01",
        r"Cluster is not available after multiple attempts|Xinference did not become ready at"
        r"|Local cluster failed to start",
        "Xinference's processes did not find each other in time. The disk is slow, the machine is busy, or "
        "xinference_host is wrong.",
        "Read the first error in logs/xinference.log below xinference_home, then start the service again.",
        True,
    ),
    Failure(
        "XI05",
        r"ServerClosed|Remote server \S{1,255} closed|Recreating model actor|Process \S{1,255}:\d{1,10} is down"
        r"|Model \S{1,255} is in stopping state",
        "The model's process ended while it was needed. Memory ran out, a library ended it, or somebody killed it.",
        "Xinference starts it again by itself. If it keeps ending, look for OOM lines in journalctl -k and read the "
        "lines before this one.",
        True,
    ),
)
