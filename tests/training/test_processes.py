"""What one of several processes of `jax.distributed` makes of a zoo, and who begins it."""

import jax
import pytest
from populations import small_spec

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.training import processes
from jaxzoo.training.checks import check_generate
from jaxzoo.training.job import choose_cohorts
from jaxzoo.training.processes import share_of, shared_out


@pytest.fixture
def spec():
    """Six cohorts, each of an activation and an optimizer."""
    return small_spec(seeds=1, activation=("tanh", "relu", "gelu"), optimizer=("adam", "sgd"))


@pytest.fixture
def be(monkeypatch):
    """Makes this process one of several, as far as JAX tells."""

    def be(number, several):
        monkeypatch.setattr(jax, "process_index", lambda: number)
        monkeypatch.setattr(jax, "process_count", lambda: several)

    return be


def numbers_of(job):
    return [cohort.number for cohort in job.chosen]


@pytest.mark.parametrize("several", [1, 2, 4, 6])
@pytest.mark.parametrize("cohorts", [None, range(0, 6), range(0, 6, 1)])
def test_every_cohort_is_one_processs(several, cohorts, spec, be, tmp_path):
    job = check_generate(spec, tmp_path / "z", cohorts=cohorts)
    shares = []
    for number in range(several):
        be(number, several)
        shares.append(numbers_of(share_of(job)))
    assert sorted(number for share in shares for number in share) == [0, 1, 2, 3, 4, 5]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_is_one_of_the_cohorts_that_a_call_asks_for(spec, be, tmp_path):
    job = check_generate(spec, tmp_path / "z", cohorts=range(1, 6, 2))
    be(1, 2)
    assert numbers_of(share_of(job)) == [3]
    be(1, 4)
    with pytest.raises(InputError, match="zoo 'small': 4 processes for 3 cohorts, expected at most one process for ea"):
        share_of(job)


def test_cohorts_backwards_are_one_line(spec):
    with pytest.raises(InputError, match="cohorts are 0:6:-1, expected a part of 0:6"):
        choose_cohorts(jaxzoo.plan_zoo(spec), range(0, 6, -1))


def test_the_first_process_begins_the_zoo_and_the_others_wait_for_it(spec, be, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "LOOK", 0.0)
    begun, looks = [], []

    def begin(job):
        begun.append(job)

    def check():
        looks.append(None)
        job = check_generate(spec, tmp_path / "z")
        ready = len(looks) > 3 or begun  # as another process would make it
        return job._replace(begun=object()) if ready else job

    be(1, 2)
    job = shared_out(check_generate(spec, tmp_path / "z"), check, begin)
    assert (len(looks), begun, numbers_of(job)) == (4, [], [1, 3, 5])
    be(0, 2)
    looks.clear()
    job = shared_out(check_generate(spec, tmp_path / "z"), check, begin)
    assert (len(looks), len(begun), numbers_of(job)) == (1, 1, [0, 2, 4])
    assert numbers_of(begun[0]) == [0, 1, 2, 3, 4, 5]  # how all of them are trained is chosen at once


def test_nobody_waits_for_ever(spec, be, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    monkeypatch.setattr(processes, "LOOK", 0.05)
    be(1, 2)
    check = check_generate
    with pytest.raises(InputError, match=r"z: is not begun after 0 s, expected that process 0 does that"):
        shared_out(check(spec, tmp_path / "z"), lambda: check(spec, tmp_path / "z"), lambda job: None)
