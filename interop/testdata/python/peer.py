"""Publishes or subscribes to a track with the Rust library of moq-dev, for TestMoqRs.

peer.py publish URL FINGERPRINT BROADCAST TRACK    a group every 50 ms until stdin ends
peer.py subscribe URL FINGERPRINT BROADCAST TRACK  a line of JSON for each group, until stdin ends
"""

import asyncio
import hashlib
import json
import sys

import moq

FRAMES = 5


def payload(group: int, frame: int) -> bytes:
    return hashlib.sha256(b"%d/%d" % (group, frame)).digest() * (1000 + frame)


async def publish(client, broadcast: str, track: str) -> None:
    b = client.create_broadcast(broadcast)
    t = b.publish_track(track)
    b.announce()
    for g in range(1 << 30):
        group = t.append_group()
        for i in range(FRAMES):
            group.write_frame(payload(group.sequence, i), timestamp_us=1000 * (FRAMES * g + i))
        group.finish()
        await asyncio.sleep(0.05)


async def subscribe(client, broadcast: str, track: str) -> None:
    b = await client.announced_broadcast(broadcast)
    t = b.subscribe_track(track)
    if asyncio.iscoroutine(t):
        t = await t
    async for group in t:
        frames = []
        try:
            async for f in group:
                frames.append(hashlib.sha256(bytes(f.payload)).hexdigest())
        except moq.Error:  # it left the group, as it is behind
            pass
        print(json.dumps({"group": group.sequence, "frames": frames}), flush=True)


async def main(role, url: str, fingerprint: str, *track: str) -> None:
    async with moq.connect(url, tls_fingerprints=[fingerprint], websocket_enabled=False, reconnect=False) as client:
        work = asyncio.create_task(role(client, *track))
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()


asyncio.run(main({"publish": publish, "subscribe": subscribe}[sys.argv[1]], *sys.argv[2:]))
