"""Fixtures for all tests: real Redis-protocol and PostgreSQL servers of this run, and a real Chromium."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.browser import BrowserMissing, running_browser
from tests.support.servers import Keeper, Servers, ServerUnavailable, start_keeper

if TYPE_CHECKING:
    from playwright.async_api import Browser

KEEPER = pytest.StashKey[Keeper]()
SERVERS = pytest.StashKey[Servers]()

# A failing example prints what reproduces it; the machine's speed is no test result.
settings.register_profile(
    "pms", deadline=None, print_blob=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("pms-long", settings.get_profile("pms"), max_examples=2000)
settings.load_profile(os.environ.get("PMS_HYPOTHESIS_PROFILE", "pms"))


def pytest_configure(config: pytest.Config) -> None:
    """Starts the keeper in the controller; a worker takes the controller's."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[SERVERS] = Servers(worker_input["pms_servers"], worker_input["workerid"])
    elif not config.option.collectonly and not config.option.help:
        keeper = start_keeper()
        config.stash[KEEPER] = keeper
        config.stash[SERVERS] = Servers(keeper.address)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Passes the address of the keeper to a worker of pytest-xdist."""
    node.workerinput["pms_servers"] = node.config.stash[SERVERS].address


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops the servers at the end of the run; the keeper sees to it when the run has no orderly end."""
    keeper = config.stash.get(KEEPER, None)
    if keeper is not None:
        keeper.stop()


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Servers:
    """The servers of this run, as this worker sees them."""
    return request.config.stash[SERVERS]


def _had(ask: Callable[[], str]) -> str:
    """What `ask` answers; a missing server fails the test with one line that says what to install."""
    try:
        return ask()
    except ServerUnavailable as error:
        message = str(error)
    pytest.fail(message, pytrace=False)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The address of a real Redis-protocol server that only this worker uses, empty at the start."""
    return _had(servers.redis)


@pytest.fixture
def postgres_url(servers: Servers) -> Iterator[str]:
    """The address of a real, empty PostgreSQL database for one test, dropped after it."""
    yield _had(lambda: servers.create_database("test"))
    servers.drop_database("test")


@pytest.fixture
def fresh_database(servers: Servers) -> Iterator[Callable[[], str]]:
    """Makes one more empty PostgreSQL database a call and returns its address; all go after the test."""
    names: list[str] = []

    def fresh() -> str:
        names.append(f"extra_{len(names)}")
        return _had(lambda: servers.create_database(names[-1]))

    yield fresh
    for name in names:
        servers.drop_database(name)


@pytest.fixture
async def browser() -> "AsyncIterator[Browser]":
    """A headless Chromium for one test."""
    try:
        async with running_browser() as running:
            yield running
    except BrowserMissing as error:
        pytest.fail(str(error), pytrace=False)
