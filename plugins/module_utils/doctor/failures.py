# SPDX-License-Identifier: GPL-3.0-or-later
"""The failures that are known by their messages: of proxies, TLS, pip, uv, spaCy, Kokoro, Xinference, CUDA, systemd.

One table, in the order in which a line is compared: what is specific stands before what is general. Codes are stable;
docs/doctor.md lists them. The messages are those of xinference 4.1.0, kokoro 0.9.4, misaki 0.9.4, spaCy 3.8,
huggingface_hub 1.16, uv 0.13, pip, requests, httpx and systemd.
"""

from __future__ import annotations

from typing import NamedTuple

_FETCH = "Run fetch.yml again on the connected machine, carry the store over, then deploy again."
_AGAIN = "Run deploy.yml again: it finds what is not as it was sealed and makes it anew."


class Failure(NamedTuple):
    """One known failure.

    ``pattern`` is a regular expression for one line. ``general`` marks a message that other failures bring about too:
    it counts only where none of them was seen.
    """

    code: str
    pattern: str
    cause: str
    remedy: str
    general: bool = False


FAILURES: tuple[Failure, ...] = (
    # --- spaCy: the error that brings most people here
    Failure(
        "SP01",
        r"explosion/spacy-models/master/compatibility\.json",
        "Kokoro turns English text into phonemes with the spaCy model en_core_web_sm. Where it is not installed as a "
        "package, GitHub is asked as the model is launched, and no air-gapped host reaches it.",
        "The release lacks the model: bring en_core_web_sm-3.8.0.tar.gz into the store (fetch.yml on a connected "
        "machine, artifact_store_spacy_source for a mirror), then deploy again.",
    ),
    Failure(
        "SP02",
        r"Couldn't fetch compatibility table|No compatible packages? found for",
        "spaCy looked for a model on the internet and got no answer that it could use, so the model's process ended "
        "without a traceback.",
        "The release lacks its spaCy model. " + _FETCH,
    ),
    Failure(
        "SP03",
        r"No module named pip\b|No package installer found",
        "spaCy wanted to install a model with pip, which an environment made by uv does not have: the model itself is "
        "missing.",
        "The release lacks its spaCy model. " + _FETCH,
    ),
    Failure(
        "SP04",
        r"\[E050\] Can't find model",
        "The spaCy model is not installed in the environment that runs Kokoro: copied files alone do not count, spaCy "
        "reads the package's metadata.",
        _AGAIN + " For a further model set spacy_models_extra.",
    ),
    Failure(
        "SP05",
        r"\[E053\] Could not read .* from",
        "The spaCy model is half there, or was made for another spaCy.",
        "Models of 3.8 belong to spaCy 3.8. " + _AGAIN,
    ),
    Failure(
        "SP06",
        r"\[W095\] Model '",
        "The spaCy model is older than spaCy. It works, and some words may sound different.",
        "Fetch the model that the catalogue names (3.8.0) and deploy again.",
    ),
    Failure(
        "SP07",
        r"setuptools>=40\.8\.0 \(from versions: none\)|setuptools was not found in the provided package locations",
        "A source package was to be built, and building asks the package index for setuptools.",
        "Nothing is built on hosts: take a spaCy model by the role spacy_models, and packages as wheels from the "
        "store (fetch.yml builds those that have none).",
    ),
    Failure(
        "SP08",
        r"Can't find factory for 'curated_transformer'|No module named 'spacy_curated_transformers'"
        r"|spacy-curated-transformers<1\.0\.0",
        "A transformer model of spaCy (trf) is asked for; its helper package is missing or too new. Kokoro never "
        "uses one.",
        "Take the trf model out of spacy_models_extra.",
    ),
    # --- artifacts that are not what they should be
    Failure(
        "KM01",
        r"No such file or directory: '[^']*(config\.json|kokoro-v1_0\.pth)'|model_path`?: .* does not exist",
        "The model's folder is missing or incomplete: it needs config.json, kokoro-v1_0.pth and voices/*.pt.",
        _AGAIN + " If it stays so, check xinference_model_path.",
    ),
    Failure(
        "HF07",
        r"invalid load key, 'v'",
        "A model file is a git-lfs pointer of some hundred bytes, not the weights.",
        "Clone the source of artifact_store_kokoro_source with git-lfs, or download the files. " + _FETCH,
    ),
    Failure(
        "PX11",
        r"Missing `Content-Type` header for|Tunnel connection failed: 403|invalid load key, '<'",
        "A proxy or portal answered with a page of its own instead of the file: it blocks the address, or wants a "
        "sign-in.",
        "Let the proxy's owner allow the host that the message names, or take the files from a mirror or a folder "
        "(artifact_store_kokoro_source, artifact_store_spacy_source).",
    ),
    Failure(
        "HF08",
        r"PytorchStreamReader failed reading (zip archive|file)|unexpected EOF, expected|invalid load key",
        "The weights or a voice are cut off or damaged: a full disk, a transfer that broke, or no PyTorch file at all.",
        "Check the store with store_verify, then deploy again: every file is hashed on the host.",
    ),
    Failure(
        "HF09",
        r"Entry Not Found for url: .*voices/|404 Client Error.*voices/",
        "There is no voice of that name: a typing error, or it was withdrawn.",
        "docs/voices.md lists the voices; mend kokoro_voices, or the client's request.",
    ),
    # --- proxies
    Failure(
        "PX01",
        r"407 Proxy Authentication Required|tunnel error: proxy authorization required",
        "The proxy wants a user and a password, or refuses those it got. In its address both must be "
        "percent-encoded; NTLM and Kerberos never work that way.",
        "Give https_proxy as http://user:password@proxy:port with both percent-encoded, from a file that root alone "
        "reads; for NTLM or Kerberos put a local helper such as cntlm between.",
    ),
    Failure(
        "PX02",
        r"Cannot connect to proxy|Unable to connect to proxy|tunnel error: failed to create underlying connection",
        "The proxy can't be reached from this machine: a wrong address or port, it is down, or a firewall is between.",
        "Test it from here: curl -v -x http://proxy:port https://pypi.org; mend https_proxy.",
    ),
    Failure(
        "PX03",
        r"Failed to parse: .*(is not a valid host or port|://)|Invalid IPv6 URL",
        "The proxy's address holds a character that must be escaped, mostly in the password: # @ [ ] ? / %. uv takes "
        "it, pip and requests do not.",
        "Percent-encode user and password: # is %23, @ is %40, % is %25.",
    ),
    Failure(
        "PX05",
        r"Invalid port: ':1\]'|Invalid port: ':'",
        "NO_PROXY holds an IPv6 address in brackets or an IPv6 network, at which the HTTP library httpx fails.",
        "Write ::1 instead of [::1] in NO_PROXY and no_proxy, and leave IPv6 networks out.",
    ),
    Failure(
        "PX06",
        r"Missing dependencies for SOCKS support|Using SOCKS proxy, but the 'socksio' package is not installed",
        "ALL_PROXY names a SOCKS proxy, for which the packages are not installed.",
        "Use the proxy's HTTP address, or take ALL_PROXY out of the environment.",
    ),
    Failure(
        "PX07",
        r"Unknown scheme for proxy URL",
        "ALL_PROXY begins with socks://, as desktops write it, which no Python client understands.",
        "Write socks5h://, or take ALL_PROXY out of the environment.",
    ),
    Failure(
        "PX10",
        r"Auto-detected download hub: modelscope",
        "Xinference chose another model hub by itself, as a proxy is set or the usual one can't be reached.",
        "XINFERENCE_MODEL_SRC is not pinned: the service was not started by our unit, or xinference_environment "
        "overrides it. Take it out there and deploy again.",
    ),
    Failure(
        "PX09",
        r"Status code was (-1|403|407|50[0-9]) and not \[200\]",
        "Ansible's own HTTP client went through a proxy to an address that it should reach directly. It knows no "
        "networks in no_proxy, only names and addresses.",
        "List the address itself in no_proxy, or set use_proxy: false on that task.",
    ),
    # --- TLS
    Failure(
        "TL04",
        r"InvalidCertificate\(UnknownIssuer\)",
        "The hub's download helper hf_xet does not know the company's CA and reads no setting for it: big files fail "
        "and small ones come.",
        "Set HF_HUB_DISABLE_XET=1 where you download by hand. fetch.yml does not use it, and hosts download nothing.",
    ),
    Failure(
        "TL03",
        r"CaUsedAsEndEntity",
        "A private index shows a CA's certificate as its own, which uv refuses even where it is trusted.",
        "Give the server a certificate of its own, issued by that CA, with its name in subjectAltName.",
    ),
    Failure(
        "TL05",
        r"certificate (is not yet valid|has expired)",
        "By this machine's clock the server's certificate is not valid: the clock is wrong, or it did expire.",
        "Compare date -u with another machine and set up a time server; else renew the certificate.",
    ),
    Failure(
        "TL02",
        r"invalid peer certificate: UnknownIssuer",
        "uv does not know who signed the server's certificate. It has roots of its own and does not read "
        "REQUESTS_CA_BUNDLE.",
        "Set SSL_CERT_FILE to a file with your CA and the public ones.",
    ),
    Failure(
        "TL01",
        r"CERTIFICATE_VERIFY_FAILED",
        "The server's certificate is signed by a CA that this machine does not know, mostly a company's that looks "
        "into TLS.",
        "Install the CA in the system's store, and set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to a file with it and the "
        "public ones.",
    ),
    # --- the model hubs
    Failure(
        "HF02",
        r"offline mode is enabled|outgoing traffic has been disabled",
        "A file was asked from the model hub, which is switched off on hosts. The address in the message names it.",
        "For a voice: add it to kokoro_voices. " + _FETCH,
    ),
    Failure(
        "HF03",
        r"Distant resource does not (seem to be on huggingface\.co|have a Content-Length)",
        "A mirror of the model hub leaves out headers that the hub's own client needs.",
        "Use the mirror with artifact_store_kokoro_source: fetch.yml needs the bytes alone and checks their sha256.",
    ),
    Failure(
        "HF04",
        r"(cas-server|cas-bridge|transfer)[\w.-]*\.xethub",
        "Big files of the hub come from another host (xethub.hf.co), which the mirror or the proxy does not cover.",
        "Allow *.xethub.hf.co on the connected machine, or name a mirror in artifact_store_kokoro_source.",
    ),
    Failure(
        "HF06",
        r"host='(www\.)?modelscope\.cn'.*(Max retries|Failed to establish)",
        "ModelScope was asked, which it is even where the model is all there.",
        "The model was launched by its hub name: launch it with model_path, as the role xinference does.",
    ),
    Failure(
        "HF01",
        r"we cannot find the requested files in the local cache",
        "A voice, a blend of voices or a model file is not in the release, so the hub was asked.",
        "Add the voice to kokoro_voices. " + _FETCH,
        True,
    ),
    Failure(
        "HF05",
        r"Failed to download model '.*' .*after multiple retries",
        "Xinference wanted to download the model instead of loading it from the release.",
        "Launch it with model_path, as the role xinference does: run deploy.yml again.",
        True,
    ),
    # --- Python, pip, uv
    Failure(
        "PY02",
        r"numpy\.dtype size changed, may indicate binary incompatibility",
        "Packages built for numpy 2 meet numpy 1, or two copies of numpy are mixed.",
        "Something was installed into the release by hand. " + _AGAIN,
    ),
    Failure(
        "PY05",
        r"XINFERENCE_VIRTUAL_ENV_OFFLINE_INSTALL=1 requires a",
        "Xinference's virtual environments for models are switched on; their offline mode wants a private index.",
        "Leave them off: take XINFERENCE_ENABLE_VIRTUAL_ENV and the like out of xinference_environment.",
    ),
    Failure(
        "PY06",
        r"Offline virtualenv installation does not support non-wheel direct references",
        "A model's virtual environment asks for a source package by address.",
        "Leave the virtual environments off (xinference_launch_options); Kokoro runs from the release's environment.",
    ),
    Failure(
        "PY07",
        r"virtual_env_find_links (path|only accepts|must be|entries)|Request-level virtualenv find-links are disabled",
        "A launch names a folder of wheels that this Xinference does not allow.",
        "Take virtual_env_find_links out of xinference_launch_options: the release has all packages.",
    ),
    Failure(
        "PY09",
        r"module specification for 'xoscar\.backends\.indigen'|No module named 'xoscar'",
        "A virtual environment of a model does not see Xinference's packages.",
        "Leave enable_virtual_env false, empty the folder virtualenv in xinference_home, and deploy again.",
    ),
    Failure(
        "PY10",
        r"is not visible to child venvs",
        "This Xinference was installed with pip install --user, not by the release.",
        "Stop that one; the unit voicefleet-xinference.service runs the release's.",
    ),
    Failure(
        "PY11",
        r"has no attribute 'set_data_path'",
        "The package phonemizer lies over phonemizer-fork, which has the same import name.",
        "Something was installed into the release by hand. " + _AGAIN,
    ),
    Failure(
        "PY12",
        r"huggingface[-_]hub[><=0-9., ]+ is required for a normal functioning",
        "transformers and huggingface_hub are of versions that do not go together.",
        "Something was installed into the release by hand; the lock has a pair that fits. " + _AGAIN,
    ),
    Failure(
        "PY13",
        r"GLIBC_2\.\d+' not found|GLIBCXX_3\.\d+\.\d+' not found",
        "The host's C library is too old for a wheel. espeak's needs glibc 2.29; below it, words that are in no "
        "dictionary go missing without a word.",
        "Use RHEL 9, Debian 11, Ubuntu 20.04 or newer.",
    ),
    Failure(
        "PY14",
        r"exec format error|is not a supported wheel on this platform",
        "A file is for another processor architecture or Python than this host's.",
        "Fetch a profile that fits the host (artifact_store_profiles); preflight chooses by architecture and Python.",
    ),
    Failure(
        "PY15",
        r"externally-managed-environment",
        "pip refuses to install into the distribution's own Python.",
        "Install into an environment: python3 -m venv. Hosts get theirs from the role python_env.",
    ),
    Failure(
        "PY08",
        r"satisfies the requirement (jieba|docopt|unidic|unidic-lite|pyopenjtalk)\b",
        "That package is published as source alone, and nothing is built on hosts.",
        "fetch.yml builds such packages to wheels on the connected machine. " + _FETCH,
    ),
    Failure(
        "PY04",
        r"Failed to fetch: `?https://[^/ ]+/(simple|packages|whl)",
        "The package index was asked, though all packages are in the release: virtual environments for models are on, "
        "or uv runs without --offline.",
        "Leave XINFERENCE_ENABLE_VIRTUAL_ENV at 0 and enable_virtual_env false. On the connected machine: check the "
        "proxy and the index's address.",
    ),
    Failure(
        "PY01",
        r"Requires-Python <3\.13,>=3\.10|kokoro requires Python <3\.13|No matching distribution found for kokoro",
        "Kokoro 0.9.4 needs Python 3.10, 3.11 or 3.12; on a newer one pip takes an old Kokoro or none.",
        'Choose such a profile, or let the store carry a Python: artifact_store_pythons: ["3.11"].',
        True,
    ),
    Failure(
        "PY03",
        r"Packages were unavailable because the network was disabled|was not found in the cache"
        r"|No solution found when resolving dependencies",
        "uv works offline and the store lacks a package for this Python, architecture or C library; the message names "
        "it.",
        _FETCH,
        True,
    ),
    # --- espeak-ng
    Failure(
        "ES01",
        r"Error processing file '.*espeak-ng-data/phontab': No such file or directory",
        "The path of espeak-ng's data has 160 bytes or more. Its library then ends the whole process without an "
        "exception.",
        "Choose a shorter preflight_root, and an xinference_home of 50 characters at most.",
    ),
    Failure(
        "ES02",
        r"failed to map segment from shared object|cannot change memory protections"
        r"|cannot load library '.*libespeak-ng",
        "A library can't be run from the temporary folder: its file system is mounted noexec, or SELinux forbids it. "
        "espeak's library is copied there first.",
        "TMPDIR of the service is xinference_home/tmp: mount that file system with exec, or move xinference_home.",
    ),
    Failure(
        "ES03",
        r"failed to find espeak library|espeak not installed on your system|failed to load espeak library",
        "espeak-ng's library could not be loaded; this message hides the reason.",
        "Mostly it is a noexec temporary folder or a glibc below 2.29: see the doctor's findings NOEXEC and GLIBC.",
    ),
    Failure(
        "ES04",
        r"EspeakFallback not Enabled: OOD words will be skipped",
        "espeak-ng does not work, so that words in no dictionary are left out of the speech.",
        "See the doctor's findings NOEXEC, GLIBC and PATH_LENGTH, then deploy again.",
    ),
    Failure(
        "ES05",
        r"data path not exists at|failed to retrieve espeak data directory|is not a readable directory"
        r"|Wrong version of espeak-ng-data",
        "espeak-ng's data files are gone or belong to another version.",
        "Take ESPEAK_DATA_PATH out of xinference_environment. " + _AGAIN,
    ),
    # --- GPU
    Failure(
        "GP01",
        r"no kernel image is available for execution on the device"
        r"|is not compatible with the current PyTorch installation",
        "The release's torch was built without this GPU's architecture: the card is too new or too old for it.",
        "Look at nvidia-smi --query-gpu=compute_cap --format=csv and docs/gpu.md; until a torch for their card is "
        "locked, set preflight_accelerator: cpu for such hosts.",
    ),
    Failure(
        "GP04",
        r"could not select device driver|nvidia-container-cli: (initialization error|requirement error)",
        "The container runtime gives the container no GPU: the NVIDIA toolkit is missing, or the image wants a newer "
        "driver.",
        "Mend the toolkit on the container's host, or upgrade its driver. Our service needs no container.",
    ),
    Failure(
        "GP02",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime version"
        r"|unsatisfied condition: cuda>=",
        "The host's NVIDIA driver is older than the release's CUDA needs: 13 wants driver 580, 12 wants 525. torch may "
        "quietly use the CPU.",
        "Upgrade the host's driver (nvidia-smi shows it), or set preflight_accelerator: cpu for such hosts.",
    ),
    Failure(
        "GP03",
        r"Driver/library version mismatch",
        "The NVIDIA driver's packages were upgraded while the old kernel module is still loaded.",
        "Reboot the host, and hold the driver's packages back from unattended upgrades.",
    ),
    Failure(
        "GP05",
        r"CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
        "The GPU's memory is full. Kokoro itself takes up to 1.7 GB and the CUDA context.",
        "nvidia-smi shows who holds it; choose another card with xinference_cards.",
    ),
    Failure(
        "GP06",
        r"Unable to load any of \{libcudnn|Could not load library libcudnn|cuDNN version incompatibility",
        "Another cuDNN hides the release's own.",
        "Take LD_LIBRARY_PATH out of xinference_environment and of the unit's drop-ins.",
    ),
    Failure(
        "GP07",
        r"operator torchvision::nms does not exist|torchvision' has no attribute 'extension'",
        "torch and torchvision are of different builds.",
        "Something was installed into the release by hand; the lock has the pair that fits. " + _AGAIN,
    ),
    Failure(
        "GP08",
        r"Device \S+ is not available!|CUDA requested but not available",
        "The GPU was asked for and torch sees none.",
        "Run the doctor, which looks at driver and cards; see that xinference_devices, if it is set, names all of the "
        "GPU's device nodes.",
    ),
    Failure(
        "GP09",
        r"(?i:can'?t use gpu)|Providers: \['CPUExecutionProvider'\]",
        "The model runs on the CPU though a GPU was expected.",
        "Fetch a cuda profile for this host, and take preflight_accelerator: cpu out of its variables.",
    ),
    Failure(
        "GP10",
        r"No available slot found for the model|has been occupied with a vLLM model",
        "All GPUs are taken by other models of this Xinference.",
        "Give gpu_idx in xinference_launch_options, or end the other model.",
    ),
    Failure(
        "GP11",
        r"CUDA unknown error - this may be due to an incorrectly set up environment|invalid device ordinal",
        "CUDA can't be started: the module nvidia_uvm is not loaded, the unit hides the device nodes, or "
        "CUDA_VISIBLE_DEVICES names a card that is not there.",
        "modprobe nvidia_uvm; nvidia-modprobe -u -c 0 makes the nodes; check xinference_cards and gpu_idx.",
    ),
    Failure(
        "GP12",
        r"Unable to determine the device handle for|GPU is lost|GPU has fallen off the bus|NVRM: Xid \([^)]*\): 79,",
        "A card no longer answers on the bus: power, heat, a riser or the card itself.",
        "Power the host off and on; a restart alone may not bring it back. journalctl -k has NVRM lines of the moment. "
        "If it happens again, exchange the card, and let the host serve without it until then.",
    ),
    Failure(
        "GP13",
        r"uncorrectable ECC error encountered|NVRM: Xid \([^)]*\): (48|63|64|94|95),",
        "The card's memory has errors that could not be corrected.",
        "Reboot the host, which takes bad rows out of use; where errors come again the card must be exchanged. "
        "nvidia-smi -q -d ECC,ROW_REMAPPER shows them.",
    ),
    Failure(
        "GP14",
        r"couldn't communicate with the NVIDIA driver|Driver Not Loaded|Found no NVIDIA driver on your system",
        "The NVIDIA driver's kernel module is not loaded: none is installed, none was built for this kernel, or Secure "
        "Boot refused it.",
        "modprobe nvidia says why; dkms status shows for which kernels it was built. After a new kernel install its "
        "headers and reboot.",
    ),
    Failure(
        "GP15",
        r"Failed to initialize NVML: (Unknown Error|Insufficient Permissions)|nvmlInit\w*: Insufficient Permissions",
        "The driver's device nodes can't be opened: they are closed to this user, or a container lost them, as after a "
        "daemon-reload on its host.",
        "ls -l /dev/nvidia*; start the container anew, with its devices named to the runtime.",
    ),
    Failure(
        "GP16",
        r"No devices were found",
        "The NVIDIA driver is loaded and knows no card that it can use.",
        "journalctl -k | grep NVRM tells why: a card too old for this driver, an open module on a card older than "
        "Turing, or a card given to a virtual machine.",
    ),
    # --- audio and requests
    Failure(
        "AU01",
        r"sndfile library not found|cannot load library 'libsndfile",
        "The package soundfile came without its library, as for an old C library or another architecture.",
        "Use a host with glibc 2.29 or newer and a profile that fits it. " + _AGAIN,
    ),
    Failure(
        "AU02",
        r"Unknown format: '(OPUS|AAC|PCM)'",
        "A client asked for a format that this server can't make; it has mp3, wav, flac and ogg.",
        "Set response_format in the client to one of these.",
    ),
    Failure(
        "AU03",
        r"File contains data in an unimplemented format|Format not recognised",
        "The system's libsndfile can't write MP3, which is what Xinference makes unless told otherwise.",
        "The release's own library can: take LD_LIBRARY_PATH out of xinference_environment, or ask for wav.",
    ),
    Failure(
        "AU04",
        r"need at least one array to concatenate",
        "A request held nothing to speak: an empty text, or a script that the model's language can't read.",
        "Mend the client's text. If ordinary sentences fail so, see the doctor's findings on espeak.",
    ),
    Failure(
        "AU05",
        r"Kokoro does not support stream mode",
        "A client asked for stream: true, which Kokoro on this Xinference can't do.",
        "Switch streaming off in the client.",
    ),
    Failure(
        "AU06",
        r"Language mismatch, loading .* voice into .* pipeline",
        "A voice of one language was used with a model of another: the speech is wrong or silent.",
        "A model speaks one language, the first of kokoro_languages; its voices begin with the same letter.",
    ),
    Failure(
        "AU07",
        r"Phoneme string too long: \d+ > 510|Truncating len\(ps\)",
        "A piece of text was longer than 510 phonemes, and its end was not spoken.",
        "Let the client send sentences instead of long texts.",
    ),
    # --- languages
    Failure(
        "LG02",
        r"cotonoha-dic[\w.-]*amazonaws|polm/unidic-py/master/dicts\.json",
        "The Japanese dictionary UniDic was asked from the internet.",
        "Carry a store that was fetched with j in kokoro_languages and deploy from it; it has a dictionary.",
    ),
    Failure(
        "LG01",
        r"Failed initializing MeCab",
        "The Japanese dictionary UniDic is missing; its package is empty at first.",
        "Carry a store that was fetched with j in kokoro_languages and deploy from it; it has a dictionary.",
    ),
    Failure(
        "LG03",
        r"pip install misaki\[(ja|zh)\]|No module named '(pyopenjtalk|fugashi|jaconv|mojimoji|jieba|pypinyin"
        r"|pypinyin_dict|cn2an|ordered_set)'",
        "The packages for Japanese or Chinese are not in the release.",
        "Fetch and deploy with the language in kokoro_languages: its packages come with it.",
    ),
    Failure(
        "LG04",
        r"Dump cache file failed",
        "The Chinese word list can't be kept in the temporary folder: another user's file is there. It only costs "
        "time at each start.",
        "TMPDIR of the service is its own; take another TMPDIR out of xinference_environment.",
    ),
    # --- Xinference
    Failure(
        "XI03",
        r"\[Errno 98\]|[Aa]ddress already in use|Cannot listen on \S+:\d+",
        "Another process holds the port, perhaps an older Xinference.",
        "ss -ltnp shows which. Stop it, or choose another xinference_port.",
    ),
    Failure(
        "XI02",
        r"\[Errno 99\]|Cannot assign requested address",
        "xinference_host is an address that this host does not have.",
        "Set xinference_host to one of the host's own, to 127.0.0.1, or to 0.0.0.0.",
    ),
    Failure(
        "XI04",
        r"Worker timeout\. address:",
        "The supervisor lost a worker: it ended, or a firewall closes its port.",
        "Look at the worker's own unit, and open the ports of the cluster between its hosts.",
    ),
    Failure(
        "XI07",
        r"API keys can only access model query and inference endpoints",
        "An API key was used to launch or end a model, which only a user's sign-in may.",
        "Use the role xinference, which signs in as xinference_deploy_user; clients need no more than their key.",
    ),
    Failure(
        "XI06",
        r"Could not validate credentials|Not authenticated|Incorrect username or password",
        "The credentials were refused: a wrong or missing key, or one that was changed on one side.",
        "Clients take the key of /etc/voicefleet/client.key. If the host's own is refused, run deploy.yml again: it "
        "puts accounts and keys right.",
    ),
    Failure(
        "XI08",
        r"[Tt]emporarily banned|Too many failed attempts",
        "Ten bad credentials within five minutes closed the door to an address for an hour.",
        "Find the client that sends them (logs/audit.log in xinference_home); a restart of the service lifts the ban.",
    ),
    Failure(
        "XI09",
        r"FIRST-RUN SETUP REQUIRED|Invalid setup token",
        "This Xinference has no administrator yet: its database is new or was removed.",
        "Run deploy.yml again: the role xinference makes the accounts before it starts the service.",
    ),
    Failure(
        "XI10",
        r"Model is already in the model list, uid:",
        "A second launch of a model that runs already. It does no harm.",
        "Use the running one, or another xinference_model_uid.",
    ),
    Failure(
        "XI11",
        r"got multiple values for keyword argument 'gpu_idx'",
        "xinference launch was called with --gpu_idx, which is written --gpu-idx.",
        "Launch by the role xinference: gpu_idx goes into xinference_launch_options.",
    ),
    Failure(
        "XI12",
        r"not ready within [\d.]+ s\b|is still \w+ after [\d.]+ s\b",
        "The service or its model took longer to start than was allowed; it is still at it. A busy or slow host needs "
        "more than half a minute.",
        "Look again in a minute; raise xinference_ready_timeout for such hosts. If it never comes, look at the log.",
        True,
    ),
    # --- the unit
    Failure(
        "SD01",
        r"status=203/EXEC|Failed at step EXEC",
        "systemd can't run the release's xinference-local: the release is missing or damaged.",
        _AGAIN,
    ),
    Failure(
        "SD02",
        r"Failed to load environment files",
        "The file with the service's secrets is gone, so that systemd starts nothing.",
        "Run deploy.yml again: it writes /etc/voicefleet/xinference.env anew from the secrets beside it.",
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
        "The service's home is not there, or the kernel refuses the unit its file system of its own.",
        "Run deploy.yml again: it makes xinference_home. In a container, allow it to mount.",
    ),
    # --- the host
    Failure(
        "OS05",
        r"Out of memory: Killed process|oom-kill:|A process of this unit has been killed by the OOM killer"
        r"|\bMemoryError\b|Result=oom-kill|result 'oom-kill'",
        "Memory ran out and the kernel ended a process.",
        "Raise xinference_memory_max where the unit's limit was met, else give the host more memory.",
    ),
    Failure(
        "OS01",
        r"No space left on device|\[Errno 28\]|Not enough free disk space",
        "A file system is full.",
        "df -h shows which: releases lie below preflight_root, logs and temporary files below xinference_home. "
        "releases_keep says how many old releases stay.",
    ),
    Failure(
        "OS03",
        r"\[Errno 30\]|Read-only file system",
        "Something was to be written where it can't: the unit lets the service write in its home alone.",
        "Move it below xinference_home. If that itself is read-only, the disk has an error: see dmesg.",
    ),
    Failure(
        "OS02",
        r"\[Errno 13\]|Permission denied|Failed to read or create secret file",
        "A user may not read or write a file: for the service, one in its home that is not its own.",
        "Run deploy.yml again: it puts owners right. With SELinux: restorecon -R on xinference_home.",
    ),
    Failure(
        "OS04",
        r"Too many open files|\[Errno 24\]",
        "The service has no file descriptors left: one is needed for each waiting client.",
        "The unit allows 65536; look for clients that do not close, or raise LimitNOFILE in a drop-in.",
    ),
    # --- the network, whatever wanted it
    Failure(
        "PX04",
        r"Cannot send a request, as the client has been closed",
        "The model hub's client hides the real reason, a proxy that refused or TLS that failed, one line above.",
        "Read the line before it. On hosts the hub is never needed: add the voice to kokoro_voices.",
        True,
    ),
    Failure(
        "NW01",
        r"Temporary failure in name resolution|Name or service not known|Failed to resolve '"
        r"|failed to lookup address information",
        "Something wanted the internet, by a name that can't be resolved here. The name tells what is missing: "
        "huggingface.co is a model or voice, raw.githubusercontent.com a spaCy model, an index a package.",
        "On hosts: bring it into the store with fetch.yml. On the connected machine: check DNS and https_proxy.",
    ),
    Failure(
        "NW02",
        r"Network is unreachable|No route to host|Connection refused \(os error 111\)|\[Errno 111\] Connection refused",
        "Nothing answers at that address and port: no route, a firewall, or nobody listens.",
        "For the host's own service: systemctl status voicefleet-xinference. Else something wanted the internet; the "
        "address in the message tells what.",
    ),
    Failure(
        "NW03",
        r"Read timed out|ConnectTimeout|operation timed out|Connection reset by peer|\[Errno 104\]",
        "A connection hangs or was cut, as by a firewall that drops packets without a word.",
        "On hosts nothing should want the internet: the address in the message tells what did. On the connected "
        "machine run fetch.yml again, it goes on where it was cut.",
    ),
    Failure(
        "NW04",
        r"Max retries exceeded with url",
        "Something wanted the internet and did not reach it.",
        "The name in the message tells what is missing in the release. " + _FETCH,
    ),
    # --- what is said when anything at all went wrong
    Failure(
        "PX08",
        r"Expecting value: line \d+ column 1 \(char \d+\)",
        "An answer that should be JSON is a page: a proxy stands between a client and the service.",
        "Put localhost, 127.0.0.1, ::1 and the host's own names into NO_PROXY and no_proxy of that client.",
        True,
    ),
    Failure(
        "XI01",
        r"Cluster is not available after multiple attempts|Xinference did not become ready at"
        r"|Local cluster failed to start",
        "Xinference's processes did not find each other in time: a slow disk, a busy machine, or a wrong "
        "xinference_host.",
        "Look at the first error in logs/xinference.log below xinference_home, then start the service again.",
        True,
    ),
    Failure(
        "XI05",
        r"ServerClosed|Remote server \S+ closed|Recreating model actor|Process \S+:\d+ is down"
        r"|Model \S+ is in stopping state",
        "The model's process ended while it was needed: memory ran out, a library ended it, or somebody killed it.",
        "Xinference starts it again by itself. If it keeps ending, look for OOM lines in journalctl -k and for the "
        "lines before this one.",
        True,
    ),
)
