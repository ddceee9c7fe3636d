"""A talk as models are shown it: plain messages that take turns, or lines of text."""

from collections.abc import Mapping, Sequence

SPEAKERS = {"user": "Customer", "assistant": "You", "tool": "Tool"}


def told(turns: Sequence[Mapping], opening: str, go_on: str = "") -> list[dict[str, str]]:
    """Return a talk as messages of user and assistant in turn, calls and tools' answers as plain text.

    Endpoints want an id for a call that is told as such, and some chat templates know no tools. The user begins: with
    `opening` where the talk does not. With `go_on` the user also has the last word.
    """
    found: list[dict[str, str]] = []
    for turn in turns:
        role, words = _message(turn)
        if found and found[-1]["role"] == role:
            found[-1] = {"role": role, "content": f"{found[-1]['content']} {words}".strip()}
        else:
            found.append({"role": role, "content": words})
    if not found or found[0]["role"] != "user":
        found.insert(0, {"role": "user", "content": opening})
    if go_on and found[-1]["role"] != "user":
        found.append({"role": "user", "content": go_on})
    return found


def transcript(turns: Sequence[Mapping]) -> str:
    """Return a talk as lines, each with who speaks."""
    lines = []
    for turn in turns:
        if turn["content"]:
            lines.append(f"{SPEAKERS[turn['role']]}: {turn['content']}")
        if turn.get("call"):
            lines.append(f"You call: {turn['call']}")
    return "\n".join(lines) or "(nothing yet)"


def plain(turns: Sequence[Mapping]) -> list[dict[str, str]]:
    """Return what of a talk an agent may know: role, content and call of each turn."""
    return [{"role": turn["role"], "content": turn["content"], "call": turn.get("call") or ""} for turn in turns]


def calling(words: str, call: str) -> str:
    """Return an agent's turn as a model writes it (see tools.split_call); `call` is JSON, "" for none."""
    return f"{words}\n<tool_call>{call}</tool_call>".strip() if call else words


def _message(turn: Mapping) -> tuple[str, str]:
    if turn["role"] == "tool":
        return "user", f"<tool_response>{turn['content']}</tool_response>"
    return turn["role"], calling(turn["content"], turn.get("call") or "")
