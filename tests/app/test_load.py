"""What the script that loads the server measures, on tiny models."""

import asyncio

import pytest

from llm.app.catalogue import watch_models
from tests.app.load import KINDS, Answer, ask_all, quantile, row, slow_clients
from tests.app.served import serving


@pytest.fixture(scope="module")
def port(models, static):
    with serving(watch_models(models), static) as (_, port):
        yield port


async def beside(port, kind):
    async with slow_clients(port, "scratch", kind, 3):
        return await ask_all(port, "scratch", 2, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_beside_a_few_slow_clients_of_any_kind_every_request_is_answered(port, kind):
    assert [answer.problem for answer in asyncio.run(beside(port, kind))] == [None] * 4


def test_what_goes_wrong_is_counted(port):
    answers = asyncio.run(ask_all(port, "no model", 2, 1, 3))
    assert {answer.problem for answer in answers} == {"404"} and "| 2 (404) |" in row("none", answers, "-")


def test_half_of_the_answers_come_before_the_median():
    assert (quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.99)) == (2.0, 2.0)
    answers = [Answer(0.1, 0.2, None), Answer(0.3, 0.4, None), Answer(None, 9.0, "503")]
    assert row("none", answers, "12") == "| none | 3 | 1 (503) | 0.30 | 0.30 | 0.40 | 0.40 | 12 |"
