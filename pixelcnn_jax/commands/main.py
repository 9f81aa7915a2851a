"""The one entry: python -m pixelcnn_jax COMMAND [OPTIONS]"""

import os
import signal
import sys
import traceback

import jax

from pixelcnn_jax import config, hosts
from pixelcnn_jax.commands import (
    compress,
    demo,
    evaluate,
    export,
    lost_peers,
    publish,
    sample,
    train,
)
from pixelcnn_jax.commands.faults import line_of
from pixelcnn_jax.commands.flags import DISTRIBUTED, Command, name_flags
from pixelcnn_jax.commands.program_cache import watched_cache
from pixelcnn_jax.machine import configure_jax
from pixelcnn_jax.output import discard, open_closed, say

PROGRAM = "pixelcnn-jax"

STOPPED = 128
"""The exit status of a stopped command, less its signal's number."""

BROKEN_PIPE = 13
"""SIGPIPE, which Python turns into an error."""

COMMANDS = {
    command.name: command
    for command in (
        train.COMMAND,
        sample.COMMAND,
        evaluate.COMMAND,
        compress.COMPRESS,
        compress.DECOMPRESS,
        publish.COMMAND,
        export.COMMAND,
        demo.COMMAND,
    )
}


def main() -> None:
    """The console script: run the command that the first argument names."""
    name, *args = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        say(overview())
        return
    if name not in COMMANDS:
        print(
            f"error: the command must be one of {', '.join(COMMANDS)}, got {name}; see"
            f" {PROGRAM} --help",
            file=sys.stderr,
        )
        sys.exit(2)
    _end_at_once(COMMANDS[name], args, f"{PROGRAM} {name}")


def overview() -> str:
    """The commands and the presets."""
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [OPTIONS]",
            "",
            "commands (each has --help):",
            *(f"  {name:21} {command.about}" for name, command in COMMANDS.items()),
            "",
            f"presets ({PROGRAM} train PRESET):",
            *(f"  {name:21} {about}" for name, (about, _) in config.PRESETS.items()),
        ]
    )


def door(command: Command) -> None:
    """Run a command as ``python train.py`` and the like do."""
    _end_at_once(command, sys.argv[1:], f"{command.name}.py")


def _end_at_once(command: Command, args: list[str], program: str) -> None:
    """`run_command`; a process that was stopped waits for no thread of its own."""
    try:
        run_command(command, args, program)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
        # At its normal end it would wait for a program that is compiled or runs, or for
        # the other processes.
        if status > STOPPED or (status and jax.distributed.is_initialized()):
            sys.stderr.flush()
            os._exit(status)
        raise
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        os._exit(1)


def run_command(command: Command, args: list[str], program: str) -> None:
    """Run a command and end the process with its exit status.

    0 if all went well, 2 after a mistake or a fault of the machine, which is shown in
    one line (`line_of`), 128 plus the signal's number if it was stopped: 130 by Ctrl-C,
    143 by SIGTERM, 141 if nobody reads its output.
    """
    open_closed()
    configure_jax()
    try:
        if command.spreads:
            args = _joined(args)
        with watched_cache():
            command.run(args, program)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(STOPPED + BROKEN_PIPE)
    except Exception as error:
        if hosts.are_several() and lost_peers.tells_of_loss(str(error)):
            lost_peers.say_lost()
            sys.exit(1)
        line = line_of(error)
        if line is None:
            raise
        print(f"error: {name_flags(line, command.flags)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        kept = f" ({interrupt}); the same command goes on" if str(interrupt) else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        sys.exit(STOPPED + getattr(interrupt, "number", signal.SIGINT))
    finally:
        # An output that is closed or full ends in no second error at exit.
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            discard()


def _joined(args: list[str]) -> list[str]:
    """The arguments of a command, once the processes that share it are one job."""
    rest = [arg for arg in args if arg != DISTRIBUTED]
    if len(rest) < len(args) or hosts.is_launched(os.environ):
        hosts.join()
        lost_peers.summarise_errors()
        if not hosts.is_first():
            # One speaks for all; of errors, each tells its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return rest
