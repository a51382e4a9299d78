"""The benchmark of verdicts: its rows name cells that there are, and hold shares against an audit and a goal."""

import pytest

from tests.bench import crossovers, failures, families, noise, published, rows, variation, verdicts, winners

CELLS = {
    *noise.NOISE,
    *failures.KINDS,
    *families.FAMILIES,
    *crossovers.GAINS,
    *rows.CELLS,
    *(f"best of {n}" for n in winners.ARMS),
    *(f"share, {kind}" for kind in variation.NOISE),
}


def test_every_published_figure_is_of_a_cell_that_is_run():
    tables = (published.WRONG, published.COVERS, published.STATED, published.NEVER, published.FOUND)
    assert {name for table in tables for name in table} <= CELLS
    assert published.AT_LOOKS.keys() == families.AT_LOOKS.keys()


@pytest.mark.parametrize(
    ("share", "aim", "fewer", "is_reached"),
    [
        (0.05, 5, True, True),
        (0.064, 5, True, True),  # three standard errors of 2,000 experiments are 1.5 %
        (0.066, 5, True, False),
        (0.0, 5, True, True),  # better
        (0.93, 93, False, True),
        (0.99, 93, False, True),
        (0.91, 93, False, False),
        (0.0, 100, False, False),
        (float("nan"), 93, False, True),
    ],
)
def test_a_share_reaches_an_aim_within_three_standard_errors(share, aim, fewer, is_reached):
    assert verdicts.reached(share, aim, fewer, 2000) == is_reached


def test_a_figure_repeats_another_one_within_three_times_the_root_of_two_standard_errors():
    far, near = 0.05 + 3 * (2 * 0.05 * 0.95 / 2000) ** 0.5 + 1e-6, 0.05 + 3 * (2 * 0.05 * 0.95 / 2000) ** 0.5 - 1e-6
    assert not verdicts.reached(far, 5, True, 2000, 2000) and verdicts.reached(near, 5, True, 2000, 2000)


def test_the_bench_prints_a_line_a_figure_with_audit_and_goal(capsys):
    verdicts.main(["--experiments", "2", "--only", "variation", "crossovers"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 15 and all(text.count("|") == 6 for text in lines)
    assert any(text.startswith("| share, normal: covers | ") and "| 92, 91, 93, 93 |" in text for text in lines)


def test_arms_that_are_alike_are_judged_as_a_run_judges_them():
    wrong, covered = noise.simulated("counts of 100 rows", 8, 20)
    assert 0 <= wrong <= 0.2 and covered >= 0.8
