"""What a stranger hands over is read, or refused by a line; nothing of it is run. `.ci/fuzz.py` has more cases."""

from fuzzing import run_cases


def test_damaged_zoos_and_strange_command_lines_are_answered_by_a_line(tmp_path):
    counts, wrong = run_cases(tmp_path, cases=150, seed=1)
    assert wrong == []
    assert min(counts.values()) > 5
