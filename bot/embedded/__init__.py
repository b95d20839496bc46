"""Starts and supervises Valkey, SeaweedFS, the bot and a worker, all as subprocesses."""

from __future__ import annotations

from bot.embedded.process import Process, Program, Server
from bot.embedded.seaweedfs import seaweedfs, start_seaweedfs
from bot.embedded.supervisor import Supervisor
from bot.embedded.up import up
from bot.embedded.valkey import start_valkey, valkey

__all__ = [
    "Process",
    "Program",
    "Server",
    "Supervisor",
    "seaweedfs",
    "start_seaweedfs",
    "start_valkey",
    "up",
    "valkey",
]
