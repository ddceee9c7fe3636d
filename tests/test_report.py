"""The report over a toy build whose figures can be counted by hand."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart, Node, Way
from subterra.records import DIALOGUE, SCORE, write_table
from subterra.report import ReportInputs, build_report, render_overview
from subterra.report.charts import loss_curve
from subterra.report.inputs import stage_seconds
from subterra.report.summary import rates

EVIL = "<script>alert('x')</script>"


def toy() -> Flowchart:
    nodes = [
        Node("greet", "agent", "Greet.", ("Hello.",), (Way("ask", "", (), {}),)),
        Node(
            "ask",
            "user",
            "",
            (),
            (Way("tell", "wants to know", ("Where?",), {}), Way("bye", "leaves", ("Bye.",), {})),
        ),
        Node("tell", "agent", "Say {city}.", ("It is {city}.",), (Way("done", "", (), {}),)),
        Node("done", "end", "Close.", ("Done.",), (), "success"),
        Node("bye", "end", "Close.", ("Bye.",), (), "left"),
    ]
    variables = {"city": ("Lisbon", "Oslo")}
    return Flowchart("toy", f"Toy {EVIL}", "Help.", "greet", "trail", variables, {n.id: n for n in nodes})


def step(turn: int, after: str, expected: str, heard: str, missing=()) -> dict:
    return {
        "turn": turn,
        "after": after,
        "expected": expected,
        "heard": heard,
        "confidence": 0.5,
        "legal": expected == heard,
        "values_missing": list(missing),
        "call_expected": "",
        "call_made": "",
    }


def spoken(role: str, content: str, nodes=()) -> dict:
    words = {"role": role, "content": content, "nodes": list(nodes), "values": {}, "call": ""}
    return words | {"tokens_in": 10, "tokens_out": 5, "seconds": 0.5}


def pair(number: int, split: str, legal: bool, run: tuple[str, float]) -> tuple[dict, dict]:
    head = {"id": f"talk-{number}", "split": split, "condition": run[0], "temperature": run[1]}
    turns = [
        spoken("assistant", "Hello."),
        spoken("user", f"Where? {EVIL}", ["ask"]),
        spoken("assistant", f"Bye. {EVIL}" if not legal else "It is Lisbon. Done."),
    ]
    missing = [] if legal else ["city=Lisbon"]
    steps = [
        step(0, "", "greet", "greet"),
        step(2, "ask", "tell+done", "tell+done" if legal else "bye", missing),
    ]
    score = head | {
        "conforming": legal,
        "outcome_expected": "success",
        "outcome_reached": "success" if legal else "left",
        "outcome_correct": legal,
        "legal_steps": 1 + legal,
        "steps_total": 2,
        "first_wrong": None if legal else 2,
        "values_total": 1,
        "values_correct": int(legal),
        **{f"{what}_total": 0 for what in ("facts", "arguments", "interruptions")},
        **{"facts_correct": 0, "arguments_correct": 0, "interruptions_handled": 0},
        "turns": 3,
        "tokens_in": 20,
        "tokens_out": 10,
        "seconds": 0.5,
        "steps": steps,
        "justification": "Every step was right." if legal else f"Turn 2 should tell. {EVIL}",
    }
    return head | {"turns": turns, "stopped": "finished" if legal else "turn_limit"}, score


def evaluated(folder, condition: str, temperature: float, plan: list[tuple[str, bool]]) -> tuple:
    pairs = [pair(i, split, legal, (condition, temperature)) for i, (split, legal) in enumerate(plan)]
    files = [folder / f"{condition}-{temperature}-{kind}.parquet" for kind in ("dialogues", "scores")]
    for file, schema, rows in zip(files, (DIALOGUE, SCORE), zip(*pairs, strict=True), strict=True):
        write_table(rows, schema, file)
    return condition, temperature, *files


@pytest.fixture
def bare(tmp_path) -> ReportInputs:
    (tmp_path / "flowchart.json").write_text(toy().to_json())
    return ReportInputs(tmp_path / "flowchart.json")


@pytest.fixture
def full(bare, tmp_path) -> ReportInputs:
    def written(name: str, data: dict):
        (tmp_path / name).write_text(json.dumps(data))
        return tmp_path / name

    (tmp_path / "q8.gguf").write_bytes(b"0" * 2_500_000)
    (tmp_path / "benchmarks" / "converse").mkdir(parents=True)
    for name, seconds in {"train": 60.5, "converse/000": 1.5, "converse/001": 2.0}.items():
        (tmp_path / "benchmarks" / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00\n")
    loss = [{"step": s, "tokens": s, "seconds": 1.0, "train_loss": 2 / (s + 1), "valid_loss": None} for s in range(9)]
    pq.write_table(pa.Table.from_pylist(loss), tmp_path / "loss.parquet")
    plan = [("known", True)] * 3 + [("known", False), ("held_out_paths", True)]
    data = {
        "conversations": {"train": 40, "known": 4},
        "turns": 120,
        "tokens": 999,
        "dropped": {"duplicates": 2},
        "edges_covered": [4, 4],
        "edge_pairs_covered": [3, 4],
        "teacher": {"backend": "builtin", "calls": 44, "dollars": 0.25},
    }
    return replace(
        bare,
        dataset_summary=written("dataset.json", data),
        paths_summary={"count": 2, "rule": "trail", "derived": 2, "turns_min": 3, "turns_max": 3},
        training_json=written("training.json", {"base": "bases/toy", "parameters": 1234567, "seconds": 61.0}),
        loss_parquet=tmp_path / "loss.parquet",
        parity_json=written(
            "parity.json",
            {
                "prompts": 3,
                "same_tokenization": 3,
                "tokens": 50,
                "same_tokens": 49,
                "first_differences": [{"prompt": 2, "position": 7, "theirs": 1, "ours": EVIL, "gap": 0.01}],
            },
        ),
        matcher_json=written(
            "matcher.json",
            {
                "turns": 200,
                "correct": 199,
                "labels": 4,
                "threshold": 0.3,
                "noise": {"shuffled": {"turns": 30, "refused": 29}},
            },
        ),
        gguf={"q8_0": tmp_path / "q8.gguf", "q4_k_m": tmp_path / "absent.gguf"},
        evaluation=[
            evaluated(tmp_path, "compiled-f16", 0.7, [("known", False)] * 2),
            evaluated(tmp_path, "compiled-q8_0", 0.0, plan),
            ("langgraph", 0.0, None, None),
        ],
        benchmark_dir=tmp_path / "benchmarks",
        version="0.1.0",
    )


class Page(HTMLParser):
    """Collects the tags, the visible text, and the addresses a page would load."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words, self.loads, self.ids = [], [], [], set()
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        self.loads += [given[name] for name in ("src", "href") if name in given]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.words.append(data)


def test_the_summary_counts_what_the_scores_say(full):
    _, summary = build_report(full)
    row = next(r for r in summary["evaluation"] if (r["condition"], r["split"]) == ("compiled-q8_0", "known"))
    assert (row["conversations"], row["conforming"], row["outcome_correct"]) == (4, 3, 3)
    assert (row["values_correct"], row["values_total"], row["turns_mean"]) == (3, 4, 3.0)
    assert (row["tokens_per_second"], row["file_bytes"]) == (20.0, 2_500_000)
    assert row["stopped"] == {"finished": 3, "turn_limit": 1}


def test_the_summary_has_one_row_a_condition_temperature_and_split(full):
    rows = [(r["condition"], r["temperature"], r["split"]) for r in build_report(full)[1]["evaluation"]]
    assert rows == [
        ("compiled-f16", 0.7, "known"),
        ("compiled-q8_0", 0.0, "known"),
        ("compiled-q8_0", 0.0, "held_out_paths"),
    ]


def test_the_summary_keeps_its_promised_keys_even_where_nothing_ran(bare, full):
    for inputs in (bare, full):
        summary = json.loads(json.dumps(build_report(inputs)[1]))
        assert {"agent", "spec_digest", "version", "teacher", "stages", "evaluation"} <= set(summary)
        assert {"nodes", "hubs", "ends", "edges", "path_rule", "paths", "turns_min"} <= set(summary["flowchart"])
        assert {"conversations", "turns", "tokens", "dropped", "edges_covered"} <= set(summary["dataset"])


def test_what_was_not_run_is_said_and_never_a_number(full):
    html, summary = build_report(full)
    assert summary["not_run"] == ["langgraph", "in_context", "crewai"]
    assert "langgraph not run" in Page(html).text


def test_a_build_without_an_evaluation_says_so(bare):
    html, summary = build_report(bare)
    text = Page(html).text
    assert summary["evaluation"] == [] and "Not run: no conversation" in text
    assert "%" not in text


def test_the_verdict_is_the_greedy_q8_0_and_gives_counts(full):
    text = Page(build_report(full)[0]).text
    assert "compiled-q8_0 (2.5 MB), greedy, kept to the procedure in 3 of 4 conversations over known paths" in text
    assert "and 1 of 1 conversations over held-out paths." in text


def test_nothing_from_a_transcript_or_a_spec_becomes_markup(full):
    html, summary = build_report(full)
    for page in (html, render_overview([summary])):
        assert "script" not in Page(page).tags
        assert "<script" not in page
    assert EVIL in Page(html).text


def test_the_page_loads_nothing_and_its_links_lead_somewhere(full):
    page = Page(build_report(full)[0])
    assert all(address.startswith("#") and address[1:] in page.ids for address in page.loads)
    assert "link" not in page.tags and "img" not in page.tags


def test_the_worst_transcript_marks_the_step_that_went_wrong(full):
    html, _ = build_report(full)
    text = Page(html).text
    assert "first wrong step expected tell + done , heard bye (50 % sure)" in text
    assert "missing city=Lisbon" in text
    assert text.index("talk-3") < text.index("For contrast") < text.rindex("talk-0")


def test_only_as_many_failed_transcripts_as_asked_for_and_the_headlines_first(full):
    text = Page(build_report(replace(full, worst=1))[0]).text
    assert text.count("wrong step expected") == 1
    assert "compiled-q8_0, greedy, known paths, talk-3" in text


def test_rates_count_expected_nodes_the_way_to_them_and_the_edges_between():
    scores = [pair(i, "known", legal, ("c", 0.0))[1] for i, legal in enumerate([True, True, False])]
    found = rates(toy(), scores)
    assert found["nodes"] == {"greet": (3, 3), "tell": (2, 3), "done": (2, 3)}
    assert found["edges"] == {"ask->tell": (2, 3), "tell->done": (2, 3)}


def test_stages_add_up_their_jobs_in_the_order_of_the_line(full):
    assert stage_seconds(full.benchmark_dir) == [
        {"stage": "converse", "seconds": 3.5, "jobs": 2},
        {"stage": "train", "seconds": 60.5, "jobs": 1},
    ]


def test_the_page_tells_sizes_checks_and_cost(full):
    text = Page(build_report(full)[0]).text
    for words in (
        "1,234,567",
        "3 of 3",
        "49 of 50",
        "199 of 200",
        "Noise refused, shuffled 29 of 30",
        "$0.25",
        "1 min 4 s",
        "Dropped: duplicates 2",
    ):
        assert words in text, words


def test_the_loss_curve_needs_two_steps_and_takes_missing_values():
    rows = [{"step": s, "train_loss": 1.0 / (s + 1), "valid_loss": 0.5 if s == 2 else None} for s in range(4)]
    assert loss_curve(rows).count("<circle") == 1
    assert loss_curve(rows[:1]) == ""
    assert "NaN" not in loss_curve([*rows, {"step": 5, "train_loss": float("nan"), "valid_loss": None}])


def test_broken_json_is_a_mistake_told_in_one_line(full, tmp_path):
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(SubterraError, match=r"training\.json: not JSON"):
        build_report(full)


def test_the_overview_links_every_agent_and_says_what_was_not_run(bare, full):
    built, empty = build_report(full)[1], build_report(bare)[1] | {"agent": "other"}
    page = Page(render_overview([empty, built]))
    assert page.loads == ["other/report.html", "toy/report.html"] * 2
    assert "not run" in page.text and "3/4" in page.text


def test_the_same_files_give_the_same_page(full):
    assert build_report(full) == build_report(full)
