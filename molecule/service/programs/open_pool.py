# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool of actors as Xinference makes them, on 127.0.0.1 and the port given, for 60 seconds; run it without a key."""

from __future__ import annotations

import asyncio
import sys

import xoscar


async def main() -> None:
    async with await xoscar.create_actor_pool(f"127.0.0.1:{sys.argv[1]}", n_process=0):
        print("ready", flush=True)
        await asyncio.sleep(60)


asyncio.run(main())
