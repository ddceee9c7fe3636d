"""The report over a toy build whose figures can be counted by hand."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart, Node, Way
from subterra.records import DIALOGUE, JUDGEMENT, NOTHING, SCORE, read_table, write_table
from subterra.report import ReportInputs, build_report, render_overview
from subterra.report.charts import loss_curve
from subterra.report.failures import rates, worst_nodes, worst_ways
from subterra.report.inputs import stage_seconds
from subterra.report.labels import LETTER, Labels
from subterra.report.plots import Mark, Quality, quality_cost, total_costs
from subterra.report.summary import share_interval
from subterra.statistics import wilson
from subterra.verdicts import CRITERIA

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
    took = {"tokens_in": 10, "tokens_out": 5, "calls": 1, "dollars": 0.01, "seconds": 0.5, "busy": 0.25}
    return words | NOTHING | (took if role == "assistant" else {})


def pair(number: int, split: str, legal: bool, run: tuple[str, float], trial: int = 0) -> tuple[dict, dict]:
    head = {"id": f"talk-{number}", "split": split, "condition": run[0], "temperature": run[1], "trial": trial}
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
        **{key: sum(turn[key] for turn in turns) for key in NOTHING},
        "steps": steps,
        "justification": "Every step was right." if legal else f"Turn 2 should tell. {EVIL}",
    }
    stopped = {"customer": "scripted", "stopped": "finished" if legal else "turn_limit"}
    return head | {"turns": turns} | stopped, score


def verdict_of(score: dict, judge: str, marks: int | None) -> dict:
    """Return a judge's row that gives the same marks for each criterion, None for no judgement."""
    criteria = [
        {"criterion": name, "score": marks, "reason": f"Because. {EVIL}", "turn": 2, "quote": "It is"}
        for name in (CRITERIA if marks else ())
    ]
    return {key: score[key] for key in ("id", "split", "condition", "temperature", "trial")} | {
        "judge": judge,
        "criteria": criteria,
        "challenged": True,
        "failed": marks and marks <= 3,
        "problem": "" if marks else "no answer: it was busy",
        **{"calls": 1, "tokens_in": 5, "tokens_out": 5, "dollars": 0.0},
    }


def evaluated(folder, condition: str, temperature: float, plan: list[tuple], judges: dict | None = None) -> tuple:
    """Write what a run leaves: `plan` holds (split, whether it conforms[, number, trial]), `judges` marks by judge."""
    run = (condition, temperature)
    pairs = [pair(*(one[2:3] or [i]), one[0], one[1], run, *one[3:]) for i, one in enumerate(plan)]
    place = folder / f"{condition}-{temperature}"
    dialogues, scores = zip(*pairs, strict=True)
    half = len(dialogues) // 2
    shards = [dialogues[:half], dialogues[half:]]
    files = [write_table(rows, DIALOGUE, f"{place}-{i}.parquet") for i, rows in enumerate(shards)]
    judged = [
        write_table(
            [verdict_of(*one) for one in zip(scores, [judge] * len(scores), marks, strict=True)], JUDGEMENT, file
        )
        for judge, marks in (judges or {}).items()
        for file in [f"{place}-{judge}.parquet"]
    ]
    return condition, temperature, files, write_table(scores, SCORE, f"{place}-scores.parquet"), judged


def cost(condition: str, dollars: float, how: str = "measured") -> dict:
    means = {"calls": 2.0, "tokens_in": 20.0, "tokens_cached": 5.0, "tokens_out": 10.0, "turns": 3.0}
    return {
        "condition": condition,
        "how": how,
        "conversations": 5,
        **means,
        "seconds": 1.0 if how == "measured" else None,
        "dollars": dollars,
        "interval": [0.9 * dollars, 1.1 * dollars],
        "dollars_cached": None,
    }


def costs() -> dict:
    savings = {"1000": 499.0, "10000": 4999.0, "100000": 49999.0}
    against = {"condition": "in_context", "how": "counted", "ratio": 500.0, "break_even": 2.004, "savings": savings}
    return {
        "frontier": {"model": "big", "input": 3.0, "output": 15.0, "cached_input": None, "source": ""},
        "machine": {"name": "small", "dollars_an_hour": 3.6, "side_by_side": 2, "source": ""},
        "tokenizer": {"name": "toy", "bytes_per_token": 3.0},
        "headline": "compiled-q8_0",
        "conditions": [cost("compiled-q8_0", 0.001), cost("in_context", 0.5, "counted")],
        "compile": {"teacher_dollars": 0.25, "machine_seconds": 750.0, "machine_dollars": 0.75, "dollars": 1.0},
        "against": [against],
    }


def bare_inputs(tmp_path) -> ReportInputs:
    (tmp_path / "flowchart.json").write_text(toy().to_json())
    return ReportInputs(tmp_path / "flowchart.json")


def full_inputs(tmp_path) -> ReportInputs:
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
        bare_inputs(tmp_path),
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
            ("langgraph", 0.0, [], None, []),
        ],
        costs_json=written("costs.json", costs()),
        benchmark_dir=tmp_path / "benchmarks",
        version="0.1.0",
    )


def rich_inputs(tmp_path) -> ReportInputs:
    """Two trials each, another condition that fails where ours does not, and two judges."""
    ours = [("known", (n, t) != (3, 1), n, t) for n in range(8) for t in range(2)]
    theirs = [("known", n == 0, n, t) for n in range(8) for t in range(2)]
    folder = tmp_path / "rich"
    folder.mkdir()
    judges = {"strict": [5] * 15 + [None], "mild": [4, 5] * 8}
    runs = [
        evaluated(folder, "compiled-q8_0", 0.0, ours, judges),
        evaluated(folder, "langgraph", 0.7, theirs, {"strict": [2] * 16, "mild": [2] * 16}),
    ]
    return replace(full_inputs(tmp_path), evaluation=runs)


@pytest.fixture
def bare(tmp_path) -> ReportInputs:
    return bare_inputs(tmp_path)


@pytest.fixture
def full(tmp_path) -> ReportInputs:
    return full_inputs(tmp_path)


@pytest.fixture
def rich(tmp_path) -> ReportInputs:
    return rich_inputs(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[str, str, dict]:
    """The pages and the summary of `rich`, for tests that only read them."""
    return build_report(rich_inputs(tmp_path_factory.mktemp("built")))


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
    *_, summary = build_report(full)
    row = next(r for r in summary["evaluation"] if (r["condition"], r["split"]) == ("compiled-q8_0", "known"))
    assert (row["conversations"], row["conforming"], row["outcome_correct"]) == (4, 3, 3)
    assert (row["values_correct"], row["values_total"], row["turns_mean"]) == (3, 4, 3.0)
    assert (row["tokens_per_second"], row["tokens_per_busy_second"], row["file_bytes"]) == (10.0, 20.0, 2_500_000)
    assert (row["scenarios"], row["trials"], row["customer"], row["calls"], row["busy"]) == (4, 1, "scripted", 8, 2.0)
    assert row["stopped"] == {"finished": 3, "turn_limit": 1}


def test_the_summary_has_one_row_a_condition_temperature_and_split(full):
    rows = [(r["condition"], r["temperature"], r["split"]) for r in build_report(full)[2]["evaluation"]]
    assert rows == [
        ("compiled-f16", 0.7, "known"),
        ("compiled-q8_0", 0.0, "known"),
        ("compiled-q8_0", 0.0, "held_out_paths"),
    ]


def test_the_summary_keeps_its_promised_keys_even_where_nothing_ran(bare, full):
    for inputs in (bare, full):
        summary = json.loads(json.dumps(build_report(inputs)[2]))
        assert {"agent", "spec_digest", "version", "teacher", "stages", "evaluation"} <= set(summary)
        assert {"nodes", "hubs", "ends", "edges", "path_rule", "paths", "turns_min"} <= set(summary["flowchart"])
        assert {"conversations", "turns", "tokens", "dropped", "edges_covered"} <= set(summary["dataset"])


def test_what_was_not_run_is_said_and_never_a_number(full):
    html, _, summary = build_report(full)
    assert summary["not_run"] == ["langgraph", "in_context", "crewai"]
    assert "langgraph not run" in Page(html).text


def test_a_build_without_an_evaluation_says_so(bare):
    html, _, summary = build_report(bare)
    text = Page(html).text
    assert summary["evaluation"] == [] and "Not run: no conversation" in text
    assert "%" not in text


def test_the_verdict_is_the_greedy_q8_0_and_gives_counts(full):
    text = Page(build_report(full)[0]).text
    assert "compiled-q8_0 (2.5 MB), greedy, kept to the procedure in 3 of 4 conversations over known paths" in text
    assert "and 1 of 1 conversations over held-out paths." in text


def test_nothing_from_a_transcript_or_a_spec_becomes_markup(full):
    html, talks, summary = build_report(full)
    for page in (html, render_overview([summary])):
        assert "script" not in Page(page).tags
        assert "<script" not in page
    assert Page(talks).tags.count("script") == 1 and "alert('x')" not in talks
    assert EVIL in Page(html).text and EVIL in Page(talks).text


def test_the_page_loads_nothing_and_its_links_lead_somewhere(full):
    page = Page(build_report(full)[0])
    inside = [address for address in page.loads if address.partition("#")[0] != "transcripts.html"]
    assert all(address.startswith("#") and address[1:] in page.ids for address in inside)
    assert "link" not in page.tags and "img" not in page.tags


def test_the_worst_transcript_marks_the_step_that_went_wrong(full):
    html, _, _ = build_report(full)
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


def test_a_conversation_costs_what_was_billed_and_the_time_of_the_machine(full):
    row = build_report(full)[2]["overall"][1]
    assert row["condition"] == "compiled-q8_0"
    assert row["dollars_per_conversation"] == pytest.approx(2 * 0.01 + 0.5 * 3.6 / 3600 / 2)


def test_pass_hat_is_told_where_scenarios_have_several_trials_alone(full, built):
    assert build_report(full)[2]["reliability"] == []
    html, _, summary = built
    first = summary["reliability"][0]
    assert (first["scenarios"], first["trials"], first["pass_hat"]) == (8, 2, [15 / 16, 7 / 8])
    assert "87.5 %" in Page(html).text


def test_trials_of_one_scenario_widen_the_interval_as_one_observation_would(tmp_path):
    scores = [pair(n, "known", n < 4, ("c", 0.0), t)[1] for n in range(8) for t in range(5)]
    low, high = share_interval(scores)
    alone = wilson(20, 40)
    assert low < alone[0] and high > alone[1]


def test_comparisons_pair_by_scenario_and_trial_and_correct_within_their_family(built):
    rows = {row["measure"]: row for row in built[2]["comparisons"]}
    conforming = rows["conforming"]
    assert (conforming["paired"], conforming["conversations"], conforming["family"]) == (True, 16, 1)
    assert (conforming["left_mean"], conforming["right_mean"]) == (15 / 16, 2 / 16)
    assert conforming["p"] == conforming["p_adjusted"] < 0.001
    assert rows["task_success"]["conversations"] == 15  # one has no judgement
    assert rows["task_success"]["p_adjusted"] == pytest.approx(5 * rows["task_success"]["p"])
    assert list(rows)[-5:] == list(CRITERIA)


def test_runs_without_a_common_trial_are_compared_as_independent_samples(full, tmp_path):
    runs = [
        evaluated(tmp_path, "compiled-q8_0", 0.0, [("known", True, n, 0) for n in range(4)]),
        evaluated(tmp_path, "in_context", 0.7, [("known", False, n, 1) for n in range(4)]),
    ]
    row = build_report(replace(full, evaluation=runs))[2]["comparisons"][0]
    assert (row["paired"], row["test"], row["conversations"]) == (False, "Fisher exact", 8)


def test_answers_that_could_not_be_read_are_told_with_their_condition(full, tmp_path):
    runs = [evaluated(tmp_path, name, 0.0, [("known", True)] * 2) for name in ("compiled-q8_0", "langgraph")]
    page, _, summary = build_report(replace(full, evaluation=runs))
    assert "not read" not in page
    scores = runs[1][3]
    rows = [row | {"guessed": 3} for row in read_table(scores, SCORE)]
    write_table(rows, SCORE, scores)
    page, _, summary = build_report(replace(full, evaluation=runs))
    assert page.count("6 answers not read") == 1 and "<em>Answers not read</em>" in page
    assert {row["condition"]: row["guessed"] for row in summary["overall"]} == {"compiled-q8_0": 0, "langgraph": 6}


def test_each_condition_is_compared_at_the_headlines_temperature_where_it_was_run_there(full, tmp_path):
    plan = [("known", True)] * 3
    runs = [evaluated(tmp_path, "compiled-q8_0", t, plan) for t in (0.0, 0.7)]
    runs += [evaluated(tmp_path, "compiled-f16", t, plan) for t in (0.7, 0.0)]
    runs += [evaluated(tmp_path, "in_context", t, plan) for t in (0.9, 0.5)]
    found = build_report(replace(full, evaluation=runs))[2]["comparisons"]
    assert [(row["right"]["condition"], row["right"]["temperature"]) for row in found[:2]] == [
        ("compiled-f16", 0.0),
        ("in_context", 0.5),
    ]
    assert {row["left"]["temperature"] for row in found} == {0.0}


def test_a_compiled_model_stays_the_headline_beside_a_cooler_baseline(full, tmp_path):
    runs = [
        evaluated(tmp_path, name, t, [("known", True)] * 2) for name, t in (("in_context", 0.0), ("compiled-f16", 0.7))
    ]
    text = Page(build_report(replace(full, evaluation=runs))[0]).text
    assert "compiled-f16, temperature 0.7, kept to the procedure in 2 of 2" in text


def test_a_difference_is_said_in_words_with_its_size(built):
    text = Page(built[0]).text
    assert "compiled-q8_0 keeps to the procedure more often (large)" in text
    assert "scores higher in task success" in text
    assert "No difference beyond chance in: turns, seconds." in text


def test_judgements_are_means_with_intervals_and_what_got_none_is_counted(built):
    row = built[2]["judgements"][0]
    assert (row["condition"], row["judge"]) == ("compiled-q8_0", "strict")
    assert (row["conversations"], row["unjudged"], row["failed"]) == (15, 1, 0)
    assert row["criteria"][0] == {"criterion": "task_success", "mean": 5.0, "low": 5.0, "high": 5.0}


def test_where_judge_and_machine_disagree_the_talk_can_be_clicked(built):
    html, talks, summary = built
    machine = summary["agreement"]["machine"]
    assert machine == {"both_good": 14, "both_bad": 14, "judge_good": 1, "machine_good": 2}
    assert 'href="transcripts.html#talk-talk-3-1"' in html
    assert "the judge thinks otherwise" in Page(talks).text


def test_every_link_to_a_transcript_has_its_anchor(full, built):
    for html, talks, _ in (build_report(full), built):
        wanted = {one.partition("#")[2] for one in Page(html).loads if one.startswith("transcripts.html#")}
        page = Page(talks)
        assert wanted and wanted <= page.ids
        assert {one[1:] for one in page.loads if one.startswith("#")} <= page.ids


def test_the_page_of_transcripts_has_every_talk_of_the_headline(built):
    page = Page(built[1])
    assert {f"talk-talk-{n}-{t}" for n in range(8) for t in range(2)} <= page.ids
    assert "16 conversations of compiled-q8_0, greedy" in page.text


def test_transcripts_that_have_no_room_are_counted_and_not_linked_to(rich, monkeypatch):
    monkeypatch.setattr("subterra.report.page.MOST_BYTES", 6_000)
    html, talks, _ = build_report(rich)
    assert "more were left out" in Page(talks).text
    wanted = {one.partition("#")[2] for one in Page(html).loads if one.startswith("transcripts.html#")}
    assert wanted <= Page(talks).ids


def test_what_was_counted_is_never_shown_as_run(full):
    html = build_report(full)[0]
    text = Page(html).text
    assert "in_context counted, not run: the tokens that it would send for the same dialogues $0.50" in text
    assert "500 times" in text and "from 3 conversations on" in text
    assert re.search(r'<circle class="hollow"[^>]*><title>in_context', html)


def test_an_agent_of_the_papers_has_its_table_and_another_has_none(full, tmp_path):
    assert "Beside the paper" not in Page(build_report(full)[0]).text
    (tmp_path / "flowchart.json").write_text(replace(toy(), agent="travel_booking").to_json())
    text = Page(build_report(full)[0]).text
    assert "Task success not judged 4.11 not run 3.93 not run 4.17 not run 4.53" in text
    assert "Cost a conversation $0.0010 $0.001 not run – not run $0.077 $0.50 counted $0.133" in text
    assert "Judge: not run here" in text and "1,234,567 parameters" in text


def test_a_paper_that_is_no_table_is_a_mistake_told_in_one_line(full, tmp_path):
    (tmp_path / "paper.yaml").write_text("source: nobody\n")
    with pytest.raises(SubterraError, match=r"paper\.yaml: about: missing"):
        build_report(replace(full, paper_yaml=tmp_path / "paper.yaml"))


def test_the_worst_nodes_and_ways_come_with_what_was_heard_and_talks(full):
    run = next(run for run in full.load().runs if run.condition == "compiled-q8_0")
    first, second = worst_nodes(toy(), run)
    assert (first["place"], second["place"]) == ("done", "tell")
    assert (first["right"], first["asked"], first["heard"], first["talks"]) == (4, 5, "bye", [("talk-3", 0)])
    assert [(way["place"], way["when"]) for way in worst_ways(toy(), run)] == [("ask → tell", "wants to know")]


def test_after_a_customer_that_a_model_plays_a_way_counts_where_only_one_leads_on():
    score = pair(0, "known", True, ("c", 0.0))[1]
    score["steps"][1]["after"] = "ask|elsewhere"
    assert rates(toy(), [score])["edges"]["ask->tell"] == (1, 1)


def test_every_condition_has_a_flowchart_of_its_own_to_choose(built):
    html = built[0]
    assert html.count('<svg xmlns="http://www.w3.org/2000/svg" class="fc"') == 2
    assert html.count('id="fc-arrow-0"') == html.count('id="fc-arrow-1"') == 1


def test_texts_beside_marks_cover_neither_one_another_nor_a_mark():
    labels = Labels((0, 0, 400, 200))
    labels.take((94, 94, 106, 106))
    boxes = []
    for _ in range(9):
        left, middle, _ = labels.place(100, 100, "compiled")
        boxes.append((left, middle - 8, left + 8 * LETTER, middle + 8))
    assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for a, b in combinations(boxes, 2))
    assert all(box[2] <= 94 or box[0] >= 106 or box[3] <= 94 or box[1] >= 106 for box in boxes)


def test_the_picture_of_quality_needs_a_quality_and_keeps_marks_inside():
    axis = Quality("share", 0, 100, ((0, "0"), (100, "100")))
    marks = [Mark("a", "a", 2e-6, (1e-6, 3e-6), 99.0, (97.0, 100.0)), Mark("b", "b", 0.3, None, 20.0, None)]
    for width in (760, 350):
        svg = quality_cost(marks, [("counted", [Mark("c", "c", 0.05)])], axis, width)
        assert all(0 <= float(x) <= width for x in re.findall(r'cx="([\d.]+)"', svg))
    assert quality_cost([], [("counted", [Mark("c", "c", 0.05)])], axis) == ""


def test_total_costs_cross_where_compiling_pays():
    svg = total_costs([("ours", 10.0, 0.001, True), ("theirs", 0.0, 0.101, False)], [("theirs", 100.0)])
    assert "pays against theirs from 100 conversations on" in svg
    assert svg.count("counted") == 1
    assert total_costs([("ours", 0.0, 0.0, True), ("theirs", 0.0, 1.0, True)], []) == ""


def test_the_overview_links_every_agent_and_says_what_was_not_run(bare, full):
    built, empty = build_report(full)[2], build_report(bare)[2] | {"agent": "other"}
    page = Page(render_overview([empty, built]))
    assert set(page.loads) == {"other/report.html", "toy/report.html", "toy/transcripts.html"}
    assert "500 times" in page.text
    assert "not run" in page.text and "3/4" in page.text


def test_the_same_files_give_the_same_page(full):
    assert build_report(full) == build_report(full)
