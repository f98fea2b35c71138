"""Long answers without a long step: rows are rendered in batches, others get the loop in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from fastapi import Response
from pydantic import BaseModel

BATCH_ROWS = 50


async def rendered(items: Iterable[BaseModel]) -> str:
    """Return a JSON list of the items, taken one by one, yielding to the loop after each 50."""
    return "[" + ",".join([text async for text in _texts(items)]) + "]"


async def listed(items: Iterable[BaseModel]) -> Response:
    """Answer with a JSON list."""
    return Response(await rendered(items), media_type="application/json")


async def _texts(items: Iterable[BaseModel]) -> AsyncIterator[str]:
    for number, item in enumerate(items, 1):
        yield item.model_dump_json(by_alias=True)
        if number % BATCH_ROWS == 0:
            await asyncio.sleep(0)
