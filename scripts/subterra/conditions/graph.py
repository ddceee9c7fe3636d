"""LangGraph: a graph with a node for each step of the flowchart, between the customer and a model.

The model sees the step that it has to speak now and nothing of the others. Where the ways part, it is asked which one
is meant. The graph waits for the customer, and for a tool's answer, as LangGraph has it: by `interrupt`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from subterra.conditions import Said
from subterra.conditions.asking import Asker, ChatAsker
from subterra.conditions.steps import CALLS, ENDS, HEARS, SAYS, Step, steps_of
from subterra.conditions.talk import calling, plain
from subterra.conditions.walk import ChatWording, Wording, called, spoken, way_on
from subterra.flowchart import ANSWERED, Flowchart
from subterra.models import MOST_TOKENS, Chat
from subterra.prompts import Prompts

TALK, SAID, CALL, FRESH, BACK = "the talk", "said now", "called now", "just heard", "waits at"
WAITS = " waits"  # what the graph node that waits for a tool's answer is called, behind the tool's own name
# No name of a step has a space, so none of these is one.
State = TypedDict("State", {TALK: list, SAID: list, CALL: str, FRESH: bool, BACK: str})


def graph_steps(flowchart: Flowchart) -> dict[str, Step]:
    """Return what the model is asked at each step."""
    return steps_of(flowchart, Prompts("orchestrated"))


def graph_wording() -> ChatWording:
    """Return how that is put."""
    prompts = Prompts("orchestrated")
    return ChatWording(prompts.write("opening"), prompts.write("go_on"))


class LangGraphCondition:
    """The condition `langgraph`, and with the base model `base_langgraph`."""

    def __init__(self, chat: Chat, flowchart: Flowchart, *, temperature: float, max_tokens: int = MOST_TOKENS):
        self.chat, self.temperature, self.max_tokens = chat, temperature, max_tokens
        steps = graph_steps(flowchart)
        self.graph = _graph(flowchart.start, steps, graph_wording()).compile()
        self.most_steps = 2 * len(steps) + 2  # between two turns of the customer: each step once, and its waiting

    def begin(self, seed: int) -> "GraphAgent":
        """Return an agent for a new dialogue."""
        asker = ChatAsker(self.chat, seed, self.temperature, self.max_tokens)
        return GraphAgent(self.graph, self.most_steps, asker)


class GraphAgent:
    """Answers in one dialogue: a run of the graph, with a memory of its own."""

    def __init__(self, graph: Any, most_steps: int, asker: Asker):
        from langgraph.checkpoint.memory import InMemorySaver

        self.asker = asker
        self._graph = graph.copy({"checkpointer": InMemorySaver()})
        self._settings = {"recursion_limit": most_steps, "configurable": {"thread_id": "talk"}}
        self._begun = self._over = False

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        """Return the agent's next turn; one without words where the graph has come to an end before."""
        from langgraph.errors import GraphRecursionError
        from langgraph.types import Command

        self.asker.begin(len(turns))
        if self._over:
            return Said("", ())
        talk = plain(turns)
        try:
            if not self._begun:
                self._begun = True
                state = await self._go_on({TALK: talk, SAID: [], CALL: "", FRESH: False, BACK: ""})
                if state[SAID] or state[CALL] or not talk:
                    return self._said(state)
            return self._said(await self._go_on(Command(resume=talk)))
        except GraphRecursionError:  # the model goes round in circles and never comes to a customer
            self._over = True
            return Said("", self.asker.replies(), self.asker.guessed)

    def state(self) -> dict:
        """Return the state of the graph."""
        return self._graph.get_state(self._settings).values

    async def _go_on(self, given: Any) -> dict:
        state = await self._graph.ainvoke(given, self._settings, context=self.asker, durability="exit")
        self._over = "__interrupt__" not in state
        return state

    def _said(self, state: Mapping) -> Said:
        return Said(calling(" ".join(state[SAID]), state[CALL]), self.asker.replies(), self.asker.guessed)


def _graph(start: str, steps: Mapping[str, Step], wording: Wording) -> Any:
    """Return the graph, not compiled yet."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State)
    customers = [step.id for step in steps.values() if step.kind == HEARS]
    for step in steps.values():
        graph.add_node(step.id, DOES[step.kind](step, wording))
        leaves = step.id
        if step.kind == CALLS:
            leaves = step.id + WAITS
            graph.add_node(leaves, _wait_for_tool)
            graph.add_edge(step.id, leaves)
        if step.last:
            graph.add_edge(leaves, END)
        elif step.id.endswith(ANSWERED):
            graph.add_conditional_edges(leaves, _back, customers)
        elif len(step.options) == 1:
            graph.add_edge(leaves, step.options[0][1])
        else:
            graph.add_conditional_edges(leaves, _way_on(step, wording), [to for _, to in step.options])
    graph.add_edge(START, start)
    return graph


def _speak(step: Step, wording: Wording) -> Callable:
    async def node(state: State) -> dict:
        words = await spoken(step, wording, state[TALK], _asker())
        talk = [*state[TALK], {"role": "assistant", "content": words, "call": ""}]
        return {TALK: talk, SAID: [*state[SAID], words], FRESH: False}

    return node


def _hear(step: Step, wording: Wording) -> Callable:
    def node(state: State) -> dict:
        from langgraph.types import interrupt

        if state[FRESH]:  # the customer's turn is meant for two steps in a row
            return {BACK: step.id}
        return {TALK: interrupt("customer"), SAID: [], CALL: "", FRESH: True, BACK: step.id}

    return node


def _call(step: Step, wording: Wording) -> Callable:
    async def node(state: State) -> dict:
        return {CALL: await called(step, wording, state[TALK], _asker())}

    return node


def _end(step: Step, wording: Wording) -> Callable:
    return lambda state: {SAID: state[SAID]}


DOES = {SAYS: _speak, HEARS: _hear, CALLS: _call, ENDS: _end}


def _wait_for_tool(state: State) -> dict:
    """Wait in a node of its own: what stands before an interrupt is done again when the graph goes on."""
    from langgraph.types import interrupt

    return {TALK: interrupt(state[CALL]), SAID: [], CALL: "", FRESH: False}


def _back(state: State) -> str:
    return state[BACK]


def _way_on(step: Step, wording: Wording) -> Callable:
    async def path(state: State) -> str:
        return await way_on(step, wording, state[TALK], _asker())

    return path


def _asker() -> Asker:
    from langgraph.runtime import get_runtime

    return get_runtime().context
