"""The scripted customer: it knows its own lines and nothing of the flowchart.

It says what the scenario's customer said, in order, whatever the agent answers. So an agent that leaves the
procedure is not led back to it, and every condition hears the same words.
"""


class ScriptedCustomer:
    """Replays the customer turns of a scenario (a conversation row), one a call."""

    def __init__(self, scenario: dict):
        self._turns = [turn for turn in scenario["turns"] if turn["role"] == "user"]
        self._said = 0

    @property
    def finished(self) -> bool:
        """True once no line is left."""
        return self._said == len(self._turns)

    def speak(self) -> dict | None:
        """Return the next turn ({role, content, nodes}), or None where no line is left."""
        if self.finished:
            return None
        turn = self._turns[self._said]
        self._said += 1
        return {"role": "user", "content": turn["content"], "nodes": list(turn["nodes"])}
