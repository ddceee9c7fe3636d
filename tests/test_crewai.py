"""CrewAI's own Flow and Agent, in their environment: they send what is counted, and know no key."""

import asyncio
import os
from pathlib import Path

import pytest
from players import Perfect, play, score
from subterra.conditions import crew
from subterra.conditions.asking import ChatAsker
from subterra.conditions.crew import CrewCondition, CrewWording, crew_steps
from subterra.conditions.replay import Walk
from subterra.errors import SubterraError
from subterra.models import ContextFull, Reply
from test_conditions import circling, letter_of
from test_conditions import talks as talks

needs_crewai = pytest.mark.skipif(
    not Path(crew.PYTHON).exists(), reason=f"CrewAI is not there ({crew.PYTHON}): make crewai"
)


class Many:
    """A Chat for several talks at once: each asks its own player."""

    def __init__(self, *players):
        self.players = players

    async def play(self, flowchart, rows: list[dict], **settings) -> list[list[dict]]:
        """Return the turns of a talk for each player and scenario."""
        condition = CrewCondition(None, flowchart, temperature=0.0, **settings)
        try:
            agents = [condition.begin(1) for _ in self.players]
            for agent, player in zip(agents, self.players, strict=True):
                agent.asker.chat = player
            talks = [play(agent, row) for agent, row in zip(agents, rows, strict=True)]
            return await asyncio.gather(*talks, return_exceptions=True)
        finally:
            await condition.close()


def walked(flowchart, row: dict) -> list[list[dict]]:
    """Return what is counted for CrewAI."""
    chat = Perfect(flowchart, row)
    walk = Walk(flowchart.start, crew_steps(flowchart), CrewWording(flowchart), ChatAsker(chat, 1, 0.0, 120))
    asyncio.run(play(walk, row))
    return chat.seen


@needs_crewai
@pytest.mark.parametrize("name", ["shop", "twice", "longer"])
def test_crewai_sends_word_by_word_what_is_counted_and_conforms(talks, name):
    flowchart, rows = talks(name)
    rows = rows[:6]
    players = [Perfect(flowchart, row) for row in rows]
    for row, player, turns in zip(rows, players, asyncio.run(Many(*players).play(flowchart, rows)), strict=True):
        assert player.seen == walked(flowchart, row)
        assert score(flowchart, row, turns)["conforming"]


class Lines:
    """Says its lines one after the other; an exception is raised."""

    def __init__(self, *lines):
        self.lines, self.seen = iter(lines), []

    async def reply(self, messages, **settings) -> Reply:
        self.seen.append(messages)
        line = next(self.lines)
        if isinstance(line, Exception):
            raise line
        return Reply(line, 7, 1, 0.0)


@pytest.fixture(scope="module")
def spied(talks, tmp_path_factory):
    """Return what came of four talks in one process: one breaks off, two are perfect, one is hard to read.

    (scenarios, their players, what came of them, the environment of the process)
    """
    flowchart, rows = talks("toy")
    rows = [rows[0], *rows[:2], LEAVING]
    players = [Lines(ContextFull("too long")), *[Perfect(flowchart, row) for row in rows[1:3]],
               Lines("Hello!", "Hm.", "No idea.", "Which size?", "B")]  # fmt: skip
    folder = tmp_path_factory.mktemp("spied")
    spy = folder / "python"
    spy.write_text(f'#!/bin/sh\nenv > {folder}/seen\nexec {os.path.abspath(crew.PYTHON)} "$@"\n')
    spy.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "a secret")
        came = asyncio.run(Many(*players).play(flowchart, rows, python=spy))
    return flowchart, rows, players, came, (folder / "seen").read_text()


def turn(role: str, content: str) -> dict:
    return {"role": role, "content": content, "call": ""}


LEAVING = {"turns": [turn("assistant", ""), turn("user", "One latte."), turn("assistant", ""), turn("user", "Nothing."),
                     turn("assistant", ""), turn("user", "Hello?"), turn("assistant", "")]}  # fmt: skip


@needs_crewai
def test_what_a_chat_raises_comes_through_and_other_talks_go_on(spied):
    flowchart, rows, _, came, _ = spied
    assert isinstance(came[0], ContextFull)
    for row, turns in zip(rows[1:3], came[1:3], strict=True):
        assert score(flowchart, row, turns)["conforming"]


@needs_crewai
def test_an_unreadable_choice_is_asked_once_more_and_counted_and_an_end_is_silent(spied):
    _, _, players, came, _ = spied
    said = [(turn["content"], turn["guessed"]) for turn in came[-1] if turn["role"] == "assistant"]
    assert said == [("Hello!", 0), ("Which size?", 1), ("", 0), ("", 0)]
    assert len(players[-1].seen) == 5
    again = players[-1].seen[2][1]["content"]
    assert again.count("You answered: Hm.") == 1 and "none of the letters" in again


@needs_crewai
def test_no_key_reaches_crewai_and_it_tells_nobody(spied):
    environment = spied[-1]
    assert "secret" not in environment
    for line in ("CREWAI_DISABLE_TELEMETRY=true", "OTEL_SDK_DISABLED=true", "CREWAI_STORAGE_DIR="):
        assert line in environment


@needs_crewai
def test_a_flow_that_goes_round_in_circles_is_stopped(talks):
    circle = circling(talks("desk")[0])
    hall = letter_of(circle, "decide", "hall")
    row = {"turns": [turn("assistant", ""), turn("user", "Ada."), turn("assistant", ""), turn("user", "Hm?"),
                     turn("assistant", "")]}  # fmt: skip
    player = Lines("Who?", *["It is.", hall, "It is open."] * 20)
    (turns,) = asyncio.run(Many(player).play(circle, [row]))
    assert [one["content"] for one in turns if one["role"] == "assistant"] == ["Who?", "", ""]


def test_a_missing_environment_is_told_with_the_way_to_make_it(talks, tmp_path):
    with pytest.raises(SubterraError, match=r"no interpreter at .*nothing.*: make its environment by  make crewai"):
        CrewCondition(None, talks("toy")[0], temperature=0.0, python=tmp_path / "nothing")


def test_an_environment_without_crewai_is_told_with_its_last_words(talks, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named crewai' >&2\n")
    python.chmod(0o755)
    agent = CrewCondition(None, talks("toy")[0], temperature=0.0, python=python).begin(1)
    with pytest.raises(SubterraError, match="No module named crewai: make it anew by  make crewai"):
        asyncio.run(agent.turn([]))


def test_a_process_that_ends_in_the_middle_is_told_to_every_talk(talks, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nread -r plan\necho '{}'\nread -r turn\necho 'Killed' >&2\n")
    python.chmod(0o755)
    condition = CrewCondition(None, talks("toy")[0], temperature=0.0, python=python)

    async def talk():
        for _ in range(2):
            with pytest.raises(SubterraError, match="Killed"):
                await condition.begin(1).turn([])
        await condition.close()

    asyncio.run(talk())
