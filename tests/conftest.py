"""What the whole suite has in common: one thread, what a test costs, and the programs that some tests need.

    pytest --cpu 20                  the twenty tests that take most CPU time, with their fixtures and children
    pytest -m "not (jackd or slow)"  the markers below are those of pyproject.toml

A test that needs another program has its marker: without the program it is skipped, and under CI=true it fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

# Models this small lose by sharing: idle threads spin. Set before NumPy and PyTorch come, also for child processes.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# marker -> its programs, each by any of its names, and the Debian packages that bring them
PROGRAMS: dict[str, tuple[tuple[tuple[str, ...], ...], str]] = {
    "jackd": ((("jackd",), ("jack_lsp",)), "jackd2"),
    "chromium": ((CHROMIUMS,), "chromium"),
    "puredata": ((("pd",),), "puredata-core"),
    "supercollider": ((("sclang",),), "supercollider-language and supercollider-server"),
    "qemu": ((("aarch64-linux-gnu-g++",), ("qemu-aarch64",)), "g++-aarch64-linux-gnu and qemu-user"),
    "fluidsynth": ((("fluidsynth",),), "fluidsynth, fluid-soundfont-gm and timgm6mb-soundfont"),
    "liblo": ((("oscsend",), ("oscdump",)), "liblo-tools"),
}
# what takes seconds to make: whoever asks for it is slow, though each is made once a run
SLOW_FIXTURES = {"live_bundle", "wavenet_bundle", "guided_bundle"}
COSTS = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu",
        type=int,
        default=0,
        metavar="N",
        help="print the N tests that take most CPU time, fixtures and all",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COSTS] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


# ---- programs


def missing(marker: str) -> str:
    """Why a test with that marker cannot run here; "" where it can."""
    programs, packages = PROGRAMS[marker]
    lacking = [names[0] for names in programs if not any(map(shutil.which, names))]
    return f"{' and '.join(lacking)} not found (Debian: {packages})" if lacking else ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in PROGRAMS:
        if item.get_closest_marker(marker) and (reason := missing(marker)):
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)  # there, everything is installed
            pytest.skip(reason)


# ---- costs


def spent() -> float:
    """CPU seconds, user and system, of this process and of those children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = spent()
    answer = yield
    item.config.stash[COSTS][item.nodeid] = spent() - before
    return answer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    costs = sorted(config.stash[COSTS].items(), key=lambda cost: -cost[1])
    if not (shown := costs[: config.getoption("--cpu")]):
        return
    terminalreporter.section(f"CPU seconds of {len(shown)} of {len(costs)} tests")
    for name, seconds in shown:
        terminalreporter.write_line(f"{seconds:8.2f} {name}")
    terminalreporter.write_line(f"{sum(cost for _, cost in costs):8.2f} all; {spent():.2f} with collection")


# ---- what many tests want, made once


@pytest.fixture(scope="session")
def traces_once() -> Iterator[None]:
    """Exporting the same module again takes no time (see `tests.traces`)."""
    pytest.importorskip("torch")
    from tests.traces import remembered

    with remembered():
        yield
