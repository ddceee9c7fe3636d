"""The tables that pass between the stages, as Parquet schemas with a description for each field.

Rows are plain dictionaries in Python. A map column (`values`) is a dictionary there.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from subterra.text import write_whole


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": meaning})


SCRIPTED = "scripted"  # the customer of a dialogue that says its scenario's lines
NOTHING = {  # what a turn took that no model wrote
    **dict.fromkeys(("calls", "guessed", "tokens_in", "tokens_out", "tokens_cached"), 0),
    **dict.fromkeys(("dollars", "seconds", "busy"), 0.0),
}
STRINGS = pa.list_(pa.string())
VALUES = pa.map_(pa.string(), pa.string())

TURN = pa.struct(
    [
        _field("role", pa.string(), "user, assistant or tool; the agent is the assistant"),
        _field("content", pa.string(), "the words, with every value filled in; of a tool, its result as JSON"),
        _field("nodes", STRINGS, "the steps that this turn speaks; beside the text, never in it"),
        _field("values", VALUES, "what an agent turn has to say: the variables and facts with their values"),
        _field("call", pa.string(), "what an agent turn asks of a tool, {name, arguments} as JSON; empty for nothing"),
    ]
)

PATH = pa.schema(
    [
        _field("path", pa.string(), "digest of the node ids"),
        _field("nodes", STRINGS, "node ids from the start to an end"),
        _field("outcome", pa.string(), "outcome of the end"),
        _field("turns", pa.int32(), "turns of the conversation along it"),
        _field("held_out", pa.bool_(), "kept out of training entirely"),
    ]
)

CONVERSATION = pa.schema(
    [
        _field("id", pa.string(), "{path}-{split}-{number}"),
        _field("path", pa.string(), "path id"),
        _field("split", pa.string(), "a name of plan.SPLITS"),
        _field("nodes", STRINGS, "node ids from the start to an end, with the steps of interruptions among them"),
        _field("outcome", pa.string(), "outcome of the end"),
        _field("values", VALUES, "the draw: a value for every variable and fact spoken on the path"),
        _field("corrected", VALUES, "the variable that the customer corrects, with the value that holds from then on"),
        _field("turns", pa.list_(TURN), "the talk; after each turn another speaks"),
    ]
)

SPOKEN = pa.struct(
    [
        *TURN,
        _field("tokens_in", pa.int32(), "tokens the model read for this turn (0 for the customer)"),
        _field("tokens_out", pa.int32(), "tokens the model wrote"),
        _field("tokens_cached", pa.int32(), "those of tokens_in that the provider had kept from before"),
        _field("calls", pa.int32(), "models asked for this turn: 1, or more where a program stands between"),
        _field("guessed", pa.int32(), "questions whose answers could not be read (see conditions.Said)"),
        _field("dollars", pa.float64(), "what the provider bills for it, 0 on a machine of one's own"),
        _field("seconds", pa.float64(), "time to the whole answer"),
        _field("busy", pa.float64(), "time of this machine: of turns that are written side by side, the turn's share"),
    ]
)

DIALOGUE = pa.schema(
    [
        _field("id", pa.string(), "the scenario: a test conversation's id"),
        _field("split", pa.string(), "the scenario's split"),
        _field("condition", pa.string(), "who answered: compiled-q8_0, in_context, ..."),
        _field("temperature", pa.float64(), "sampling temperature, 0 for greedy"),
        _field("trial", pa.int32(), "which run of the scenario, from 0"),
        _field("customer", pa.string(), "who asked: scripted, or the model that played the customer"),
        _field("turns", pa.list_(SPOKEN), "the talk; nodes are empty for the agent's turns"),
        _field("stopped", pa.string(), "finished, or what broke it off (see dialogue.hold_dialogue)"),
    ]
)

STEP = pa.struct(
    [
        _field("turn", pa.int32(), "index of the agent turn in the dialogue"),
        _field("after", pa.string(), "the customer's or the tool's last step, empty at the start"),
        _field("expected", pa.string(), "the node run the flowchart demands, joined by +"),
        _field("heard", pa.string(), "the node run the matcher heard, ? for none"),
        _field("confidence", pa.float64(), "the matcher's probability for what it heard"),
        _field("legal", pa.bool_(), "heard what the flowchart demands"),
        _field("values_missing", STRINGS, "name=value that the turn had to say and did not"),
        _field("call_expected", pa.string(), "the call that the flowchart demands, as JSON; empty for none"),
        _field("call_made", pa.string(), "the call that was made, as JSON; empty for none"),
    ]
)

SCORE = pa.schema(
    [
        _field("id", pa.string(), "the scenario"),
        _field("split", pa.string(), "the scenario's split"),
        _field("condition", pa.string(), "who answered"),
        _field("temperature", pa.float64(), "sampling temperature"),
        _field("trial", pa.int32(), "which run of the scenario"),
        _field("conforming", pa.bool_(), "every agent turn legal, and the end reached"),
        _field("outcome_expected", pa.string(), "outcome that the scenario implies"),
        _field("outcome_reached", pa.string(), "outcome of the end that was heard, null for none"),
        _field("outcome_correct", pa.bool_(), "both are the same"),
        _field("legal_steps", pa.int32(), "agent turns that were legal"),
        _field("steps_total", pa.int32(), "agent turns"),
        _field("first_wrong", pa.int32(), "index of the first wrong turn, null for none"),
        _field("values_total", pa.int32(), "values that the agent had to say"),
        _field("values_correct", pa.int32(), "values that it said"),
        _field("facts_total", pa.int32(), "facts of the spec's knowledge that the agent had to say"),
        _field("facts_correct", pa.int32(), "facts that it said"),
        _field("arguments_total", pa.int32(), "arguments that the agent had to hand to tools"),
        _field("arguments_correct", pa.int32(), "arguments that it handed over exactly"),
        _field("interruptions_total", pa.int32(), "interruptions of the customer"),
        _field("interruptions_handled", pa.int32(), "those that were answered as the spec says, a correction heeded"),
        _field("turns", pa.int32(), "turns of the dialogue"),
        _field("tokens_in", pa.int32(), "tokens read by the model"),
        _field("tokens_out", pa.int32(), "tokens written by the model"),
        _field("tokens_cached", pa.int32(), "those of tokens_in that the provider had kept"),
        _field("calls", pa.int32(), "models asked"),
        _field("guessed", pa.int32(), "questions whose answers could not be read"),
        _field("dollars", pa.float64(), "what the provider bills"),
        _field("seconds", pa.float64(), "time to the answers"),
        _field("busy", pa.float64(), "time of this machine"),
        _field("steps", pa.list_(STEP), "one entry an agent turn"),
        _field("justification", pa.string(), "one sentence a person can check"),
    ]
)

CRITERION = pa.struct(
    [
        _field("criterion", pa.string(), "a name of judge.CRITERIA"),
        _field("score", pa.int32(), "1 to 5"),
        _field("reason", pa.string(), "why"),
        _field("turn", pa.int32(), "index of the turn that is quoted, -1 for none"),
        _field("quote", pa.string(), "words of that turn"),
    ]
)

JUDGEMENT = pa.schema(
    [
        _field("id", pa.string(), "the scenario"),
        _field("split", pa.string(), "the scenario's split"),
        _field("condition", pa.string(), "who answered; the judge was not told"),
        _field("temperature", pa.float64(), "sampling temperature"),
        _field("trial", pa.int32(), "which run of the scenario"),
        _field("judge", pa.string(), "the model that judged"),
        _field("criteria", pa.list_(CRITERION), "one entry a criterion; none where there is no judgement"),
        _field("challenged", pa.bool_(), "the customer challenged the agent: changed their mind, was unhappy, ..."),
        _field("failed", pa.bool_(), "task success of 3 or less, null where there is no judgement"),
        _field("problem", pa.string(), "why there is no judgement, else empty"),
        _field("calls", pa.int32(), "times that the judge was asked"),
        _field("tokens_in", pa.int32(), "tokens that it read"),
        _field("tokens_out", pa.int32(), "tokens that it wrote"),
        _field("dollars", pa.float64(), "what that cost"),
    ]
)

LOSS = pa.schema(
    [
        _field("step", pa.int32(), "optimizer steps so far"),
        _field("train_loss", pa.float64(), "mean training loss since the last entry, null where not measured"),
        _field("valid_loss", pa.float64(), "held-out loss, null where not measured"),
        _field("learning_rate", pa.float64(), "of this step, null where not logged"),
    ]
)


def write_table(rows: Iterable[dict], schema: pa.Schema, path: str | Path) -> Path:
    """Write rows as Parquet, whole or not at all. The same rows give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return write_whole(path, buffer.getvalue())


def read_tables(paths: Iterable[str | Path], schema: pa.Schema) -> list[dict]:
    """Read the rows of several files, one after the other."""
    return [row for path in paths for row in read_table(path, schema)]


def read_table(path: str | Path, schema: pa.Schema | None = None) -> list[dict]:
    """Read the rows of a Parquet file; map columns become dictionaries. Raises where the schema is another one."""
    table = pq.read_table(path)
    if schema is not None and not table.schema.equals(schema):
        raise ValueError(f"{path}: written with another schema; delete it and run again")
    return table.to_pylist(maps_as_pydicts="strict")
