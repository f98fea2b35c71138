"""Logs: one JSON object a line, ours and the libraries', without any secret."""

import io
import json
import logging
from collections.abc import Iterator
from decimal import Decimal

import pytest
import structlog
from pydantic import SecretStr

from pms.logging import REDACTED, TOO_DEEP, configure_logging, get_logger, redact, redact_text


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(output: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_is_one_object_with_time_level_and_component(output: io.StringIO) -> None:
    log = get_logger("pms.test")
    log.debug("not shown")
    log.info("order sent", quantity=Decimal("0.5"), text="a\nb")
    (line,) = lines(output)
    assert line["timestamp"]
    assert {key: line[key] for key in ("event", "level", "component", "quantity", "text")} == {
        "event": "order sent",
        "level": "info",
        "component": "pms.test",
        "quantity": "0.5",
        "text": "a\nb",
    }


def test_secrets_are_blacked_out_by_name_by_type_and_by_shape(output: io.StringIO) -> None:
    get_logger("x").info(
        "login of hunter",
        password="hunter2",
        headers={"Authorization": "hunter2", "X-MBX-APIKEY": "hunter2", "Cookie": "hunter2"},
        key=SecretStr("hunter2"),
        nested=[{"listenKey": "hunter2"}, ("Bearer hunter2",)],
        url="redis://user:hunter2@host/0",
        query="/fapi/v1/order?symbol=BTCUSDT&signature=hunter2&timestamp=1",
        token="",
    )
    text = output.getvalue()
    assert "hunter2" not in text
    (line,) = lines(output)
    assert line["url"] == f"redis://user:{REDACTED}@host/0"
    assert line["query"] == f"/fapi/v1/order?symbol=BTCUSDT&signature={REDACTED}&timestamp=1"
    assert line["token"] == "", "an empty secret is worth seeing"


def test_an_exception_is_logged_with_its_trace_and_without_credentials(output: io.StringIO) -> None:
    try:
        raise ValueError("postgresql://pms:hunter2@db refused")
    except ValueError:
        get_logger("x").exception("failed")
    (line,) = lines(output)
    assert "ValueError" in str(line["exception"])
    assert "hunter2" not in output.getvalue()


def test_libraries_are_logged_in_the_same_form_from_warning_up(output: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("not shown")
    logging.getLogger("uvicorn.error").warning("token %s", "eyJhbGciOi.eyJpZCI6.c2ln")
    (line,) = lines(output)
    assert (line["logger"], line["level"], line["event"]) == ("uvicorn.error", "warning", f"token {REDACTED}")


def test_deep_or_odd_values_end_somewhere() -> None:
    deep: dict[str, object] = {"password": "hunter2"}
    for _ in range(20):
        deep = {"a": deep}
    assert "hunter2" not in str(redact(deep))
    assert TOO_DEEP in str(redact(deep))
    assert redact(3) == 3
    assert redact_text("sent {'password': 'hunter2', \"token\": \"hunter2\"}") == (
        f"sent {{'password': {REDACTED}, \"token\": {REDACTED}}}"
    )
