"""Several processes of one job on this machine; also the program that each runs.

``python -m tests.processes COMMANDS`` joins the others and runs commands one after
another: a JSON list of their names and arguments.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax

from pixelcnn_jax import hosts
from pixelcnn_jax.commands.main import COMMANDS
from pixelcnn_jax.training import feed

ROOT = Path(__file__).parents[1]
SENT_AHEAD = "train, images sent ahead"


def launch(count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """A Python program in so many processes, each with one device, as one job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
    }
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**environment, "JAX_PROCESS_ID": str(number)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def run_jointly(commands: list[tuple[str, list[str]]]) -> None:
    """What this program does."""
    hosts.join()
    for name, arguments in commands:
        if name == SENT_AHEAD:
            name, feed.RESIDENT_BYTES_ON_CPU = "train", 0
        COMMANDS[name].run(arguments, name)


if __name__ == "__main__":
    run_jointly(json.loads(sys.argv[1]))
