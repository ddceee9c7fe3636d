"""What a conversation is made of: the steps of its path, the values that hold at each, and its turns as a row."""

from collections.abc import Mapping, Sequence

from subterra.draws import values_along
from subterra.text import digest, filled, readable

ROLES = {"agent": "assistant", "user": "user"}
TOLD = ("id", "path", "split", "nodes", "outcome", "values", "corrected")


def laid_out(talk: Mapping, work: Mapping) -> tuple[list[Mapping], list[Mapping[str, str]], str]:
    """Return the steps of a talk of a shard, the values that hold at each, and its seed.

    The seed is made of the path and the draw alone.
    """
    steps = [phrased(work["steps"][name], talk["split"]) for name in talk["steps"]]
    return steps, values_along(steps, talk["values"], talk["corrected"]), digest([work["seed"], talk["id"]])


def phrased(step: Mapping, split: str) -> Mapping:
    """Return a step with the phrasings of a split: held-out ones are said where they are measured, nowhere else."""
    held_out = split == "held_out_phrasings" and step["held_out_says"]
    return {**step, "says": step["held_out_says"]} if held_out else step


def row(talk: Mapping, steps: Sequence[Mapping], lines: Sequence[str], values: Sequence[Mapping[str, str]]) -> dict:
    """Return the row of a conversation (see records.CONVERSATION) from the words of each step."""
    return {name: talk[name] for name in TOLD} | {"turns": turns(steps, lines, values)}


def turns(steps: Sequence[Mapping], lines: Sequence[str], values: Sequence[Mapping[str, str]]) -> list[dict]:
    """Return the turns of a conversation (see records.TURN), `values` being what holds at each step.

    Steps of one speaker in a row are one turn, steps without words are none. What the agent asks of a tool belongs to
    its turn, and the tool's answer is a turn of its own.
    """
    found: list[dict] = []
    for step, line, now in zip(steps, lines, values, strict=True):
        if step["speaker"] == "tool":
            called = {"name": step["call"]["name"], "arguments": filled(step["call"]["arguments"], now)}
            _turn(found, "assistant", step["node"])["call"] = readable(called)
            answer = _turn(found, "tool", step["node"])
            answer["content"] = readable(filled(step["result"], now))
        elif step["speaker"]:
            turn = _turn(found, ROLES[step["speaker"]], step["node"])
            turn["content"] = f"{turn['content']} {line}".strip()
            turn["values"] |= {name: now[name] for name in step["demands"]}
    return found


def _turn(found: list[dict], role: str, node: str) -> dict:
    """Return the turn that a step belongs to: the last one where the same speaks on, else a new one."""
    if not found or found[-1]["role"] != role or found[-1]["call"]:
        found.append({"role": role, "content": "", "nodes": [], "values": {}, "call": ""})
    found[-1]["nodes"].append(node)
    return found[-1]
