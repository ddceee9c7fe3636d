"""A model as the teacher, against a real server: what it asks, what it does about what goes wrong, what it costs."""

import json
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from endpoint_server import KEY, MODEL, ONCE, Server
from subterra import prompts, records
from subterra.converse import write_shard
from subterra.costs import Price
from subterra.errors import SubterraError
from subterra.estimate import estimate, line
from subterra.ledger import BudgetReached, Ledger
from subterra.models import asking
from subterra.models.asking import shaping
from subterra.plan import SPLITS
from subterra.prompts import Prompts
from test_plan import plan_toy, shards
from toy_spec import TOY

ROOT = Path(__file__).resolve().parents[1]
PRICE = Price(MODEL, input=1.0, output=4.0, cached_input=0.25, batch=0.5)
FEW = dict.fromkeys(SPLITS, 4) | {"train": 12, "held_out_phrasings": 0, "interruptions": 0}
SHIPPED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["teacher"]
TEACHER = SHIPPED | {
    "backend": "openai",
    "model": MODEL,
    "api_key_env": "TEACHER_KEY",
    "parameters": {"max_tokens": 900},
    "concurrency": 8,
    "timeout": 5,
    "budget": 100,
    "max_failures": 1,
    "batch_poll": 0.1,
}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    monkeypatch.setattr(asking, "price_of", lambda _model: PRICE)
    monkeypatch.setattr("subterra.models.endpoint.FIRST_WAIT", 0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


class Desk:
    """A toy procedure whose conversations a model writes."""

    def __init__(self, folder: Path, server: Server, text: str = TOY, **teacher):
        self.folder, self.server = folder, server
        self.settings = TEACHER | {"base_url": server.url} | teacher
        plan_toy(folder, text, conversations=FEW, teacher=shaping(self.settings), shards=1)
        (self.work,) = shards(folder / "toy").values()
        self.before = len(server.requests())

    def write(self, **settings) -> list[dict]:
        """Write the conversations and return their rows."""
        out = self.folder / "conversations" / "000.parquet"
        write_shard(self.work, self.folder / "cache", out, out.with_suffix(".json"), self.settings | settings)
        return records.read_table(out, records.CONVERSATION)

    @property
    def told(self) -> dict:
        return json.loads((self.folder / "conversations" / "000.json").read_text())

    @property
    def requests(self) -> list[dict]:
        """What the server was asked since."""
        return self.server.requests()[self.before :]


@pytest.fixture
def desk(tmp_path, server):
    """Make a desk, and let the server fail no more when the test is over."""
    yield lambda text=TOY, **teacher: Desk(tmp_path, server, text, **teacher)
    server.fail()


@pytest.mark.parametrize("mode", ["conversation", "turn"])
def test_conversations_come_whole_and_a_second_time_for_nothing(desk, mode):
    toy = desk(mode=mode)
    rows = toy.write()
    assert len(rows) == len(toy.work["conversations"]) == toy.told["funnel"]["kept"]
    assert toy.told["calls"] == len(toy.requests) and toy.told["cached"] == 0
    for row in rows:
        roles = [turn["role"] for turn in row["turns"]]
        assert all(one != other for one, other in pairwise(roles))
        assert all(value in turn["content"] for turn in row["turns"] for value in turn["values"].values())
    first, asked = toy.told, len(toy.requests)
    assert toy.write() == rows and len(toy.requests) == asked
    assert toy.told["cached"] == toy.told["calls"] == asked
    assert {key: toy.told[key] for key in ("tokens_in", "tokens_out", "dollars")} == {
        key: first[key] for key in ("tokens_in", "tokens_out", "dollars")
    }


def test_one_call_a_turn_has_the_whole_history_and_begins_as_the_one_before(desk, monkeypatch):
    sent = []
    body = asking.Model.body
    monkeypatch.setattr(asking.Model, "body", lambda *some: sent.append(body(*some)) or sent[-1])
    toy = desk(mode="turn", check_when=False, concurrency=1)
    rows = toy.write()
    spoken = sum(turn["content"] != "" and turn["role"] != "tool" for turn in rows[0]["turns"])
    talks = [one["messages"] for one in sent]
    talks = [talk for talk in talks if talk[:2] == talks[0][:2]]  # of the first conversation
    assert [len(talk) for talk in talks] == list(range(2, 2 * spoken + 1, 2)), "each turn's task and words"
    assert all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(talks))
    assert len({one["messages"][0]["content"] for one in sent}) == 1, "what is the same in all requests comes first"


@pytest.mark.parametrize("fault", ["http_500", "http_429", "drop", "cut", *ONCE])
def test_what_may_pass_is_asked_again(desk, fault):
    toy = desk(tries=12, rewrites=8)
    toy.server.fail(**{fault: 0.3})
    rows = toy.write()
    assert len(rows) == len(toy.work["conversations"]), toy.told["funnel"]
    assert len(toy.requests) > len(rows)
    if fault in ONCE:
        assert toy.told["funnel"]["mended"] and toy.told["funnel"]["faults"]


def test_an_answer_that_never_comes_is_not_waited_for(desk):
    toy = desk(timeout=0.5)
    toy.server.fail(hang=[len(toy.server.requests()) + 2])
    began = time.monotonic()
    assert len(toy.write()) == len(toy.work["conversations"])
    assert 0.5 < time.monotonic() - began < 20
    with Ledger(toy.folder / "cache") as ledger:
        assert ledger.totals()["lost"]["requests"] == 1, "it may have been billed"


def test_what_cannot_be_had_is_left_out_and_counted(desk):
    toy = desk(tries=2, check_when=False)
    number = len(toy.server.requests())
    toy.server.fail(too_long=[number + 3], refusal=1.0)
    rows = toy.write(max_failures=0.5)
    funnel = toy.told["funnel"]
    assert len(rows) == funnel["kept"] == funnel["asked"] - 1
    assert funnel["dropped"] == {"no answer: the endpoint refuses this conversation: context_length_exceeded": 1}


def test_too_many_failures_stop_with_one_line_and_keep_everything(desk):
    toy = desk(rewrites=0)
    toy.server.fail(bad_json=0.6)
    with pytest.raises(SubterraError, match=r"teacher.max_failures: 0.1: .* had to be left out .*JSON") as caught:
        toy.write(max_failures=0.1)
    assert str(caught.value).isprintable()
    answered = sum(one["status"] == 200 for one in toy.requests)
    toy.server.fail()
    kept = len(list((toy.folder / "cache" / "answers").rglob("*.json")))
    assert kept == answered


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "teacher-2"}, "teacher.model: 'teacher-2': .* no such model"),
        ({"key": "sk-other"}, "does not take the key in TEACHER_KEY: status 401"),
        ({"key": ""}, "teacher.api_key_env: TEACHER_KEY is not set"),
        ({"quota": 1.0}, "no money left"),
        ({"echo_key": 1.0}, "refuses the request with status 400: What is .* doing here"),
        ({"parameters": {}}, "teacher.parameters: no max_tokens or max_completion_tokens"),
    ],
)
def test_what_will_not_pass_is_told_at_once_and_without_the_key(desk, monkeypatch, change, says):
    if "key" in change:
        monkeypatch.setenv("TEACHER_KEY", change["key"])
    toy = desk(**{key: change[key] for key in ("model", "parameters") if key in change})
    toy.server.fail(**{key: change[key] for key in ("quota", "echo_key") if key in change})
    with pytest.raises(SubterraError, match=says) as caught:
        toy.write()
    told = str(caught.value)
    assert told.isprintable() and KEY not in told and "sk-other" not in told
    assert len(toy.requests) <= 8, "no more than were on their way"


def test_the_budget_is_never_passed_and_holds_over_reruns(desk):
    toy = desk()
    with pytest.raises(BudgetReached, match=r"teacher.budget: \$0.03"):
        toy.write(budget=0.03)
    some = len(toy.requests)
    spent = Ledger(toy.folder / "cache").spent()
    assert some > 0 and 0 < spent <= 0.03
    with pytest.raises(BudgetReached):
        toy.write(budget=0.03)
    assert Ledger(toy.folder / "cache").spent() <= 0.03
    rows = toy.write(budget=100)
    assert len(rows) == len(toy.work["conversations"])
    assert Ledger(toy.folder / "cache").spent() == pytest.approx(toy.told["dollars"])


def test_a_damaged_answer_is_asked_anew(desk):
    toy = desk(check_when=False)
    rows, asked = toy.write(), len(toy.requests)
    torn, turned, *_ = sorted((toy.folder / "cache" / "answers").rglob("*.json"))
    torn.write_bytes(torn.read_bytes()[:40])
    turned.write_text(turned.read_text().replace("text", "next"))
    assert len(toy.write()) == len(rows) and len(toy.requests) == asked + 2


def test_an_edit_of_a_prompt_file_asks_anew(desk, monkeypatch, tmp_path):
    toy = desk(check_when=False)
    toy.write()
    asked, before = len(toy.requests), prompts.prompts_digest("teacher")
    shutil.copytree(prompts.FOLDER, tmp_path / "prompts")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path / "prompts")
    assert prompts.prompts_digest("teacher") == before
    with (tmp_path / "prompts" / "teacher" / "system.md").open("a") as file:
        file.write("\nBe kind.\n")
    assert prompts.prompts_digest("teacher") != before, "shards are planned anew"
    toy.write()
    assert len(toy.requests) == 2 * asked


def test_a_mistake_in_a_prompt_file_is_one_line(tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "system.md").write_text("You are\n{{ sistem }}.\n")
    (folder / "turn.md").write_text("{% if %}")
    for name, complaint in (("system", "system.md.*'sistem' is undefined"), ("turn", "turn.md, line 1: .*mend")):
        with pytest.raises(SubterraError, match=complaint) as caught:
            Prompts("teacher", tmp_path).write(name, system="x")
        assert str(caught.value).isprintable()


def test_near_duplicates_are_written_anew_and_dropped_where_that_does_not_help(desk):
    toy = desk(check_when=False)
    toy.server.fail(copy=1.0)
    rows = toy.write()
    funnel = toy.told["funnel"]
    assert 0 < funnel["dropped"]["near-duplicate"] == funnel["asked"] - len(rows)
    assert len(toy.requests) == funnel["asked"] + funnel["dropped"]["near-duplicate"], "each was asked for once more"


def test_batches_cost_half_and_are_collected_by_a_later_run(desk):
    toy = desk(batch=True)
    rows = toy.write()
    assert len(rows) == len(toy.work["conversations"])
    assert all("batch" in one for one in toy.requests)
    batches = {one["batch"] for one in toy.requests}
    assert len(batches) == 2, "all conversations in one, all readings of them in another"
    usage = Counter()
    for state, told in Ledger(toy.folder / "cache").totals().items():
        usage.update({key: told[key] for key in ("tokens_in", "tokens_out")} if state == "answered" else {})
    whole = (usage["tokens_in"] * PRICE.input + usage["tokens_out"] * PRICE.output) / 1e6
    assert toy.told["dollars"] == pytest.approx(whole / 2, rel=0.2)
    assert toy.write() == rows and len(batches) == 2
    assert not list((toy.folder / "cache" / "batches").glob("*.json"))


def test_lines_of_a_batch_that_fail_go_into_the_next(desk):
    toy = desk(batch=True, tries=15)
    toy.server.fail(http_500=0.4)
    assert len(toy.write()) == len(toy.work["conversations"])


def test_a_batch_over_the_budget_is_not_sent(desk):
    toy = desk(batch=True)
    with pytest.raises(BudgetReached, match="nothing was sent"):
        toy.write(budget=0.01)
    assert not toy.requests and Ledger(toy.folder / "cache").spent() == 0


@pytest.mark.parametrize("mode", ["conversation", "turn"])
def test_the_estimate_counts_the_calls_that_will_be_made(desk, mode, tmp_path):
    toy = desk(mode=mode)
    files = sorted((toy.folder / "toy" / "shards").glob("*.json"))
    told = estimate(files, toy.folder / "cache", toy.settings, lambda text: len(text.encode()) / 4)
    assert not toy.requests, "an estimate asks nothing"
    toy.write()
    assert told["calls"] == len(toy.requests) == toy.told["calls"] and told["cached"] == 0
    assert told["tokens_in"] == pytest.approx(toy.told["tokens_in"], rel=0.3)
    again = estimate(files, toy.folder / "cache", toy.settings, lambda text: len(text.encode()) / 4)
    assert again["cached"] == again["calls"] == told["calls"] and again["dollars"] == 0
    assert "answered already" in line(again) and line(again).isprintable()
