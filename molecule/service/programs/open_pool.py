# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a pool of actors like Xinference's for 60 seconds, on 127.0.0.1 and a given port. Start it without a key."""

from __future__ import annotations

import asyncio
import sys

import xoscar


async def main() -> None:
    async with await xoscar.create_actor_pool(f"127.0.0.1:{sys.argv[1]}", n_process=0):
        print("ready", flush=True)
        await asyncio.sleep(60)


asyncio.run(main())
