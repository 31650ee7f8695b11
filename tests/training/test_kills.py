"""Killed at any of its storage calls, a run goes on and ends in the same numbers."""

import os
import subprocess
import sys
from pathlib import Path


def test_killed_at_every_storage_call_it_goes_on_and_ends_in_the_same_numbers():
    """With epochs that are let go, so that the calls that delete are among those where it is killed."""
    command = [sys.executable, Path(__file__).with_name("kill_server.py"), "last"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=True)
    *wrong, summary = done.stdout.splitlines()
    assert wrong == []
    calls = int(summary.split()[0])
    assert calls > 60  # six checkpoints of more than ten calls each: the calls were seen
