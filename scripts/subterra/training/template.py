"""The chat template of a base: where it writes the agent's turns, and what it lacks for a compiled agent.

Where a turn lies is found by rendering, whatever the template looks like: what it writes between "the agent is about
to speak" and the text that ends a turn. A template that an agent cannot be trained with gets a few lines of Jinja in
front that rewrite the messages. They stay with the model, so every runtime writes what the training text held.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from jinja2 import TemplateError

from subterra.errors import SubterraError
from subterra.text import readable
from subterra.tools import split_call

Message = Mapping[str, Any]
SAID = "Yes."

# A date in the prompt would make the same conversation another one tomorrow.
FIXED_DATE = "{%- macro strftime_now(form) -%}1 January 2026{%- endmacro -%}\n"
THINKING = ("{%- set enable_thinking = false -%}\n", "{%- set enable_thinking = true -%}\n")
# For templates that know no system prompt, or want the customer to speak first: it becomes the first thing said.
SYSTEM_AS_USER = """\
{%- if messages[0]['role'] == 'system' and messages[1:] and messages[1]['role'] == 'user' -%}
{%- set told = messages[0]['content'] + '\\n\\n' + messages[1]['content'] -%}
{%- set messages = [{'role': 'user', 'content': told}] + messages[2:] -%}
{%- elif messages[0]['role'] == 'system' -%}
{%- set messages = [{'role': 'user', 'content': messages[0]['content']}] + messages[1:] -%}
{%- endif -%}
"""
# For templates that know no tools, or write calls that cannot be read back.
CALLS_AS_WORDS = """\
{%- set spoken = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message['role'] == 'tool' -%}
{%- set told = '<tool_response>\\n' + message['content'] + '\\n</tool_response>' -%}
{%- set spoken.messages = spoken.messages + [{'role': 'user', 'content': told}] -%}
{%- elif message['tool_calls'] -%}
{%- set call = message['tool_calls'][0]['function'] -%}
{%- set told = message['content'] + ('\\n' if message['content'] else '') + '<tool_call>\\n{"name": ' -%}
{%- set told = told + call['name'] | tojson + ', "arguments": ' + call['arguments'] | tojson + '}\\n</tool_call>' -%}
{%- set spoken.messages = spoken.messages + [{'role': 'assistant', 'content': told}] -%}
{%- else -%}
{%- set spoken.messages = spoken.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = spoken.messages -%}
"""
MEANS = {
    FIXED_DATE: "the date is fixed",
    THINKING[0]: "thinking is off",
    THINKING[1]: "no empty thought stands in the prompt",
    SYSTEM_AS_USER: "the system prompt is the first thing that the user says",
    CALLS_AS_WORDS: "calls and what tools answer are written as words",
}


def agent_spans(tokenizer, talk: Sequence[Message]) -> tuple[str, list[tuple[int, tuple[int, int]]]]:
    """Return the text of a conversation, and (place in the talk, (begin, end) in the text) of each turn of the agent's.

    A turn before which nothing stands, not even a system prompt, has no prompt and is left out.

    A span covers the words, the call and the text that ends a turn. What stands before it is, letter by letter, the
    prompt that the agent is given there. Some templates write the last turn in another way than those before it
    (with an empty thought, say); then the text is the one they write once more was said, up to the last span.
    Raises SubterraError for a template that writes earlier turns anew, or cannot write the conversation at all.
    """
    places = [place for place, message in enumerate(talk) if place and message["role"] == "assistant"]
    prompts = [render(tokenizer, talk[:place], add_generation_prompt=True) for place in places]
    end = turn_end(tokenizer, talk)
    text = render(tokenizer, talk)
    turns = [talk[place] for place in places]
    spans = _found(text, prompts, turns, end)
    if spans is None and talk[-1]["role"] == "assistant":
        text = render(tokenizer, [*talk, {"role": "user", "content": SAID}])
        spans = _found(text, prompts, turns, end)
        text = text[: spans[-1][1]] if spans else text
    if spans is None:
        raise SubterraError("the chat template of the base rewrites earlier turns; take a base whose template does not")
    return text, list(zip(places, spans, strict=True))


def _found(text: str, prompts: list[str], turns: list[Message], end: str) -> list[tuple[int, int]] | None:
    spans = []
    for prompt, turn in zip(prompts, turns, strict=True):
        begin, words = len(prompt), turn["content"].strip()
        if not (text.startswith(prompt) and text[begin : begin + len(words) + 9].lstrip().startswith(words)):
            return None
        stop = text.find(end, begin + len(words))
        if stop < 0:
            return None
        spans.append((begin, stop + len(end)))
    return spans


def turn_end(tokenizer, talk: Sequence[Message]) -> str:
    """Return the text with which the template ends a turn of the agent's, without white space after it."""
    opening = [message for message in talk[:1] if message["role"] == "system"]
    probe = [*opening, {"role": "user", "content": SAID}, {"role": "assistant", "content": SAID}]
    end = render(tokenizer, probe).rpartition(SAID)[2].rstrip()
    if not end.strip():
        raise SubterraError("the chat template of the base does not end the agent's turns; take an instruct model")
    return end


def render(tokenizer, talk: Sequence[Message], **settings) -> str:
    """Return what the template writes. Raises SubterraError with its own words where it refuses."""
    try:
        return tokenizer.apply_chat_template(list(talk), tokenize=False, **settings)
    except (ValueError, TypeError, TemplateError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise SubterraError(f"the chat template of the base cannot write a conversation: {reason}") from None


def fit_template(tokenizer, talks: Sequence[Sequence[Message]]) -> list[str]:
    """Give the tokenizer the template of the base with the least in front of it that lets it write all of `talks`.

    Returns what that does, in words, [] for nothing. Thinking is switched so that a prompt holds nothing that the text
    of earlier turns does not. Raises SubterraError with the base's own reason where nothing helps.
    """
    own = tokenizer.chat_template
    if not isinstance(own, str):
        raise SubterraError("the base has no chat template, or several: take an instruct model, or put one beside it")
    date = [FIXED_DATE] if "strftime_now" in own else []
    thinking = [[text] for text in THINKING] if "enable_thinking" in own else [[]]
    reason = None
    for calls, system, thought in product(([], [CALLS_AS_WORDS]), ([], [SYSTEM_AS_USER]), thinking):
        front = [*date, *thought, *calls, *system]
        tokenizer.chat_template = "".join([*front, own])
        try:
            for talk in talks:
                _check(tokenizer, talk)
        except SubterraError as problem:
            reason = reason or problem
            continue
        return [MEANS[text] for text in front]
    tokenizer.chat_template = own
    raise reason


def _check(tokenizer, talk: Sequence[Message]) -> None:
    """Raise SubterraError unless each prompt begins the training text, in tokens too, and each call is read back."""
    text, spans = agent_spans(tokenizer, talk)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    end = turn_end(tokenizer, talk)
    for place, (begin, stop) in spans:
        prompt = tokenizer(text[:begin], add_special_tokens=False)["input_ids"]
        if ids[: len(prompt)] != prompt:
            raise SubterraError("the tokenizer of the base joins a prompt with the words that follow it")
        _, call = split_call(text[begin : stop - len(end)])
        expected = "".join(readable(one["function"]) for one in talk[place].get("tool_calls", []))
        if call != expected:
            raise SubterraError("the chat template of the base writes a tool's call that cannot be read back")
    for message in talk:
        if message["role"] == "tool" and message["content"] not in text:
            raise SubterraError("the chat template of the base leaves out what a tool answers")
