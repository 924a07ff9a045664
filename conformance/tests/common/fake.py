# SPDX-License-Identifier: GPL-2.0-or-later
"""A map system that is none: python3 fake.py ADDRESS PORT MODE [NUMBER].

It takes Map-Registers of the sites 2001:db8:N::/48 (HMAC-SHA-1, "secretN") and answers Map-Requests about them. MODE is what is wrong
with it: honest, silent, garbage, flood; slow, late by NUMBER milliseconds; dies, with its datagram NUMBER; storm, which answers, and sends
without being asked to whoever has spoken to it once, NUMBER datagrams a second."""

import hashlib
import hmac
import os
import socket
import sys
import threading
import time

ADDRESS, PORT, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
NUMBER = int(sys.argv[4]) if len(sys.argv) > 4 else 0
RECORDS = {}
HEARD = set()


def tagged(message, prefix):
    secret = b"secret%d" % int.from_bytes(prefix[4:6], "big")
    blank = message[:16] + bytes(20) + message[36:]
    return message[:16] + hmac.new(secret, blank, hashlib.sha1).digest() + message[36:]


def notify(message):
    """The Map-Notify for a Map-Register with one IPv6 EID-record, if its tag is right."""
    record = message[36:]
    if message[3] != 1 or message[12:16] != b"\0\1\0\x14" or len(record) < 28 or record[10:12] != b"\0\2":
        return None
    prefix = record[12:28]
    if tagged(message, prefix) != message:
        return None
    RECORDS[prefix[:6]] = record
    return tagged(b"\x40\0\0\1" + message[4:], prefix) if message[2] & 1 else None


def reply(packet):
    """The Map-Reply for an ECM about one IPv6 EID, and the port that it goes to."""
    inner = packet[4:].ljust(56, b"\0")
    udp = inner[40:] if inner[0] >> 4 == 6 else inner[20:]
    port, message = int.from_bytes(udp[:2], "big"), udp[8:]
    if len(message) < 18 or message[0] >> 4 != 1 or message[-18:-16] != b"\0\2":
        return None, port
    eid = message[-16:]
    nothing = b"\0\0\0\1\0\x80\x20\0\0\0\0\2" + eid
    return b"\x20\0\0\1" + message[4:12] + RECORDS.get(eid[:6], nothing), port


def storm(server):
    while True:
        for end in list(HEARD):
            server.sendto(b"\xff" * 100, end)
            time.sleep(1 / NUMBER)
        time.sleep(0.001)


def serve():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, PORT))
    print("ready", flush=True)
    count = 0
    if MODE == "storm":
        threading.Thread(target=storm, args=(server,), daemon=True).start()
    while True:
        packet, (host, port) = server.recvfrom(65536)
        HEARD.add((host, port))
        count += 1
        if MODE == "silent":
            continue
        if MODE == "dies" and count >= NUMBER:
            os.abort()
        if MODE == "slow":
            time.sleep(NUMBER / 1000)
        if MODE in ("garbage", "flood"):
            for _ in range(1 if MODE == "garbage" else 3000):
                server.sendto(b"\xff" * 100, (host, port))
        if MODE == "garbage" or len(packet) < 28:
            continue
        answer = None
        if packet[0] >> 4 == 3:
            answer = notify(packet)
        elif packet[0] >> 4 == 8:
            answer, port = reply(packet)
        if answer:
            server.sendto(answer, (host, port))


serve()
