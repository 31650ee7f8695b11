"""Workers that share a folder: whatever becomes of them, the zoo is that of one call, and nothing is made twice."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from populations import assert_same_weights, write_digits_config

import jaxzoo
from jaxzoo.commands.generate import main as generate
from jaxzoo.commands.status import main as status
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.storage.leases import Leases
from jaxzoo.storage.locks import take_lock
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.sharing import tell_differences

WORKER = Path(__file__).parent / "sharing_worker.py"
LEASE = "2"  # seconds
BOUND = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"]  # root that may not write everywhere
MADE = re.compile(r"is whole; this worker, .+, made (\d+) of 4 cohorts")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "zoo.toml"
    twins = '{ method = "magnitude", epochs = 1 }'
    cohorts = {"seeds": "{ first = 1, last = 4 }", "cohort_size": "2"}
    return write_digits_config(path, batch_size="100", epochs="2", twins=twins, **cohorts)


@pytest.fixture(scope="module")
def spec(config):
    (spec,) = jaxzoo.read_config(config)
    return spec


@pytest.fixture(scope="module")
def alone(config, spec, tmp_path_factory):
    return jaxzoo.generate(spec, tmp_path_factory.mktemp("alone") / "zoo")


def worker(config, out, *words, before=()):
    command = [*before, sys.executable, str(WORKER), str(config), str(out), LEASE, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def made_by(process):
    """How many cohorts a worker says that it made, once it ended well."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return int(MADE.search(text)[1])


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


def check_whole(out, alone):
    zoo = jaxzoo.open_zoo(out)
    assert_same_weights(zoo, alone)
    assert [*verify_zoo(out, deep=True)] == []
    assert set(jaxzoo.zoo_status(out)["state"]) == {"done"}
    assert [*(out / "leases").iterdir()] == []


def test_three_workers_one_killed_twice_and_one_with_other_clocks(config, alone, tmp_path):
    out = tmp_path / "zoo"
    others = [worker(config, out), worker(config, out, "-1", "kill", "ahead")]
    killed = worker(config, out, "2", "kill")
    killed.communicate(timeout=300)
    again = worker(config, out, "1", "kill")
    again.communicate(timeout=300)
    # one may find all done by others before it has saved an epoch
    assert killed.returncode in (0, -signal.SIGKILL)
    assert again.returncode in (0, -signal.SIGKILL)
    assert sum(map(made_by, others)) <= 4
    check_whole(out, alone)


def test_one_that_stands_still_for_longer_than_its_lease(config, alone, tmp_path):
    out = tmp_path / "zoo"
    stopped = worker(config, out, "2", "stop")
    try:
        wait_for(stopped, "stands")
        told = jaxzoo.zoo_status(out)
        assert [*told["state"]].count("silent") == 1
        assert made_by(worker(config, out)) == 4
        whole = {path: path.stat().st_mtime_ns for path in out.rglob("snapshots/*/default/manifest.ocdbt")}
    finally:
        stopped.send_signal(signal.SIGCONT)
    text, _ = stopped.communicate(timeout=300)
    assert stopped.returncode == 0
    assert "another worker has it: this one was silent for 2 s" in text
    assert MADE.search(text)[1] == "0"
    assert {path: path.stat().st_mtime_ns for path in whole} == whole  # nothing was made again
    check_whole(out, alone)


def test_a_folder_that_becomes_read_only(config, alone, tmp_path):
    out = tmp_path / "zoo"
    stopped = worker(config, out, "2", "stop", before=BOUND if os.geteuid() == 0 else [])
    try:
        wait_for(stopped, "stands")
        modes = {path: path.stat().st_mode for path in (out, *out.rglob("*")) if path.is_dir()}
        for path in modes:
            path.chmod(0o555)
    finally:
        stopped.send_signal(signal.SIGCONT)
    text, _ = stopped.communicate(timeout=300)
    for path, mode in modes.items():
        path.chmod(mode)
    assert stopped.returncode == 2, text
    assert re.search(r"refused: .* cannot be (written|used|removed) \(.*permission.denied", text, re.IGNORECASE)
    made_by(worker(config, out))
    check_whole(out, alone)


def test_a_call_that_does_not_share_keeps_out_of_the_way(config, spec, alone, tmp_path, capsys):
    out = tmp_path / "zoo"
    jaxzoo.generate(spec, out, cohorts=range(0, 1))
    with Leases(out, "worker-1").take(1), pytest.raises(jaxzoo.InputError, match="cohort 1 is being made by a worker"):
        jaxzoo.generate(spec, out)
    left = Leases(out, "dead", 1.0).take(2)  # by one that was killed
    assert left is not None
    assert [*jaxzoo.zoo_status(out, watch=False)["state"]][2] == "under way"
    assert status([str(out)]) == 0
    printed = capsys.readouterr().out
    assert "silent" in printed
    assert printed.splitlines()[-1] == f"{out}: 4 cohorts: 1 done, 1 silent, 2 free"
    assert_same_weights(jaxzoo.generate(spec, out), alone)


def test_one_that_shares_leaves_alone_what_another_call_makes(config, spec, alone, tmp_path):
    out = tmp_path / "zoo"
    jaxzoo.generate(spec, out, cohorts=range(0, 1))
    folder = cohort_folder(out, 2)
    folder.mkdir(parents=True)
    lock = take_lock(folder, [])
    sharing = worker(config, out)
    while jaxzoo.zoo_status(out, watch=False)["state"].tolist().count("done") < 3:
        assert sharing.poll() is None
        time.sleep(0.2)
    assert jaxzoo.zoo_status(out, watch=False)["state"][2] == "under way"
    lock.release()
    assert made_by(sharing) == 3
    check_whole(out, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lease": 0.0}, "lease is 0 seconds, expected 1 to 3600"),
        ({"lease": float("nan")}, "lease is nan seconds, expected 1 to 3600"),
        ({"repair": True}, "a zoo is repaired by one call alone, expected repair or share"),
    ],
)
def test_what_cannot_be_shared_is_one_line(spec, tmp_path, options, message):
    with pytest.raises(jaxzoo.InputError, match=re.escape(message)):
        jaxzoo.generate(spec, tmp_path / "zoo", share=True, **options)
    assert not (tmp_path / "zoo").exists()


def test_google_drive_is_not_shared(spec):
    with pytest.raises(jaxzoo.InputError, match="is on Google Drive, where no lease holds"):
        jaxzoo.generate(spec, "/content/drive/MyDrive/zoo", share=True)


def test_workers_with_other_settings_are_refused(config, spec, tmp_path):
    out = tmp_path / "zoo"
    jaxzoo.generate(spec, out, cohorts=range(0, 1), share=True)
    other = dataclasses.replace(spec, batch_size=50)
    with pytest.raises(jaxzoo.InputError, match="batch_size"):
        jaxzoo.generate(other, out, share=True)


def test_another_version_is_admitted_and_says_so(alone, tmp_path, monkeypatch):
    said = []
    run = types.SimpleNamespace(on_event=said.append)
    made = {"device": alone.record.made.device}
    tell_differences(tmp_path, alone.record, made, run)
    assert said == []
    monkeypatch.setattr("jaxzoo.training.sharing.__version__", "9.9")
    tell_differences(tmp_path, alone.record, made | {"device": "another CPU"}, run)
    assert "this worker has jaxzoo 9.9, not 0.1.0, device another CPU, not " in said[0].text


def test_a_format_that_is_not_known_is_refused(spec, alone, tmp_path):
    out = tmp_path / "zoo"
    shutil.copytree(alone.path, out)
    record = json.loads((out / "zoo.json").read_text())
    (out / "zoo.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(jaxzoo.InputError, match="format"):
        jaxzoo.generate(spec, out, share=True)


def test_the_command_line_shares(config, alone, tmp_path):
    assert generate(["--config", str(config), "--out", str(tmp_path), "--share", "--lease", "5"]) == 0
    (folder,) = tmp_path.iterdir()
    check_whole(folder, alone)
