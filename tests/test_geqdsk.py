"""EQDSK files and COCOS: real equilibria, the same in three conventions; what is broken says where."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.cocos import candidates, cocos, factors, power
from assets.geqdsk import GeqdskError, equilibrium

DATA = Path(__file__).parents[2] / "shared/data/fusion"
NUMBERS = [*range(1, 9), *range(11, 19)]


def real(name: str) -> str:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path.read_text()


def written(width: int = 3, height: int = 2, numbers: list[float] | None = None, tail: str = "") -> str:
    count = 20 + 5 * width + width * height
    numbers = numbers or [1.0, 2.0, 1.5, 0.5, -0.1, *[-0.5] * (count - 5)]
    lines = ["".join(f"{number:16.9E}" for number in numbers[at : at + 5]) for at in range(0, count, 5)]
    return "\n".join([f"{'  made':48}{0:4}{width:4}{height:4}", *lines, tail]) + "\n"


def test_numbers_that_run_together_are_read_apart():
    found = equilibrium(written(tail="    2    1\n 1.0E+00-2.0E+00 3.0E+00-4.0E+00\n 5.0E+00-6.0E+00\n"))
    assert (found.rdim, found.zmid, found.psirz.shape) == (1.0, -0.1, (2, 3))
    assert found.boundary.tolist() == [[1.0, -2.0], [3.0, -4.0]]
    assert found.limiter.tolist() == [[5.0, -6.0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (written()[:200], "scalars has 9 of 20 numbers, then it ends"),
        (written().replace("-5.000000000E-01", "****************", 1), "scalars has 5 of 20 numbers, then line 3 has"),
        (written().replace("   3   2", "   3   3", 1), "numbers, then it ends"),
        (written().replace("   3   2", "   2   2", 1), "more numbers than this grid has"),
        (written().replace("   3   2", " big size", 1), "expected the width and height"),
        (written(numbers=[-1.0] * 41), "the box is -1.0 by -1.0 m"),
        ("", "expected the width and height"),
    ],
)
def test_a_broken_file_says_what_and_where(text, says):
    with pytest.raises(GeqdskError, match=says.replace("(", r"\(")):
        equilibrium(text)


@pytest.mark.parametrize("number", [2, 11, 17])
def test_the_power_of_two_pi_is_found_from_the_currents(number):
    found = equilibrium(real(f"iter/iterhybrid_cocos{number:02}.eqdsk"))
    assert power(found.current, found.current_of_sources()) == cocos(number).exp_bp
    said = candidates(found.current, found.bcentr, found.simag, found.sibry, found.qpsi[5], cocos(number).exp_bp)
    # The file named for COCOS 11 is that of COCOS 2 with psi in Wb, and so in 11 or 12.
    assert number in said


def test_one_equilibrium_in_two_conventions_is_one():
    one, other = (equilibrium(real(f"iter/iterhybrid_cocos{name}.eqdsk")) for name in ("02", "17"))
    turn = factors(2, 17)
    assert one.current * turn.ip == pytest.approx(other.current)
    assert one.bcentr * turn.b0 == pytest.approx(other.bcentr)
    np.testing.assert_allclose(one.psirz * turn.psi, other.psirz, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.fpol * turn.b0, other.fpol, rtol=1e-6)
    np.testing.assert_allclose(one.pprime / turn.psi, other.pprime, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.qpsi * turn.q, other.qpsi, rtol=1e-6)


def test_a_public_equilibrium_of_sparc_is_read_whole():
    found = equilibrium(real("sparc/equilibrium.geqdsk"))
    assert found.psirz.shape == (129, 129)
    assert found.current == -8.5e6
    assert len(found.boundary) > 50
    assert power(found.current, found.current_of_sources()) == 0


@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_there_and_back_and_on_is_the_same(one, other, third):
    there, back, on = factors(one, other), factors(other, one), factors(other, third)
    assert there.psi * back.psi == pytest.approx(1)
    assert tuple(a * b for a, b in zip(there, on, strict=True)) == pytest.approx(tuple(factors(one, third)))
    assert factors(one, one) == (1.0, 1, 1, 1)


@pytest.mark.parametrize("number", [0, 9, 10, 19, 21, -1])
def test_there_are_sixteen_conventions(number):
    with pytest.raises(ValueError, match="1 to 8 and 11 to 18"):
        cocos(number)
