"""What training takes is told before it runs: parameters, activations and states as torch has them, and its steps."""

import json
import os
import random
from pathlib import Path

import pytest
import torch
import yaml
from subterra import records
from subterra.config import check_config
from subterra.conversation import laid_out, row
from subterra.errors import SubterraError
from subterra.models.builtin import BuiltinTeacher
from subterra.outlook import Outlook, read_config, read_tokenizer, work_of
from subterra.plan import plan_agent
from subterra.sizing import (
    BUCKET,
    GIB,
    LIVE,
    MEASURED,
    Gpu,
    Shape,
    Work,
    activations,
    memory,
    moments,
    read_gpus,
    shape_of,
    steps_of,
)
from subterra.training import attention, tokens
from subterra.training.lora import with_lora
from subterra.training.loss import mean_loss_at_once, weighted_loss
from subterra.training.optimizer import optimizer
from toy_spec import TOY
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from workflow_copy import Tree

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
GPUS = ROOT / "config" / "gpus.yaml"
SETTINGS = CONFIG["training"] | {"optimizer": "adamw"}
EMBEDDED = str(ROOT / "bases" / "embedded")
QWEN_3B = Qwen2Config(
    vocab_size=151936,
    hidden_size=2048,
    intermediate_size=11008,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
QWEN_8B = Qwen3Config(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=12288,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=False,
)
FAMILIES = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "mistral": MistralConfig,
    "smollm3": SmolLM3Config,
    "granite": GraniteConfig,
}
PLACES = 32


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    """Attend as GPUs do; on CPUs, training in bf16 goes by blocks, which is faster there."""
    torch.set_num_threads(1)
    monkeypatch.setattr(attention, "_blocks_are_faster", lambda query: False)


def small(family: str, **changes):
    """Return the config of a small decoder with fewer key and value heads; Qwen3's are wider than hidden / heads."""
    head = 48 if family == "qwen3" else 32
    shape = {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head,
        "pad_token_id": 0,
        "attn_implementation": attention.register(),
    }
    return FAMILIES[family](**shape | changes)


def model_of(config, dtype=torch.float32, checkpointing: bool = False):
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).train()
    model.loss_function = mean_loss_at_once  # what is told is of GPUs
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def batch_of(size: int, places: int, vocabulary: int) -> dict:
    """Return a row of two conversations, as `collate` lays it out."""
    half, ids = size // 2, torch.randint(0, vocabulary, (1, size))
    bounds = torch.tensor([0, half, size], dtype=torch.int32)
    return {
        "input_ids": ids,
        "labels": ids,
        "position_ids": torch.arange(half).repeat(2)[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": half,
        "max_length_k": half,
        "logits_to_keep": torch.arange(places),
        "shift_labels": ids[:, :places],
        "weights": torch.ones(1, places),
    }


def loss_of(model, batch: dict, autocast: bool):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return weighted_loss(model, batch)


def kept_bytes(model, size: int, places: int, autocast: bool) -> int:
    """Return the bytes that torch keeps of a row for the way back, weights and their copies among them."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model, batch_of(size, places, model.config.vocab_size), autocast)
    assert loss.requires_grad
    return sum(kept.values())


def peak_bytes(work) -> int:
    """Return the most bytes that are held at once, of those that `work` asks for."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        most = max(most, held)
    return most


# -- the base --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "parameters"), [(QWEN_3B, 3_085_938_688), (QWEN_8B, 8_190_735_360)])
def test_the_papers_bases_have_the_parameters_that_are_published(config, parameters):
    shape = shape_of(config)
    assert shape.parameters == parameters
    assert shape.head_norms == (config is QWEN_8B)
    assert 0.8 * parameters < shape.matrices < parameters


def test_a_mixture_of_experts_is_refused_in_a_line():
    with pytest.raises(SubterraError, match=r"^base: mixtral: it is a mixture of experts: .*dense decoders") as refused:
        shape_of(MixtralConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2))
    assert "\n" not in str(refused.value)


def test_a_base_that_is_not_at_hand_is_one_line_with_the_way_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        SubterraError, match=r"^base: 'nobody/nothing': .*hf download nobody/nothing config\.json"
    ) as told:
        read_config("nobody/nothing")
    assert "\n" not in str(told.value)


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_activations_of_a_token_are_what_torch_keeps(family, autocast):
    config = small(family)
    model, shape = model_of(config, torch.float32 if autocast else torch.bfloat16), shape_of(config)
    torch_keeps = kept_bytes(model, 256, PLACES, autocast) - kept_bytes(model, 128, PLACES, autocast)
    told = activations(shape, 256, PLACES, False, autocast) - activations(shape, 128, PLACES, False, autocast)
    assert told == pytest.approx(torch_keeps, rel=0.01)


@pytest.mark.parametrize("vocabulary", [256, 8192])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_most_that_a_step_holds_is_what_is_told(checkpointing, autocast, vocabulary):
    config = small("qwen3", vocab_size=vocabulary, num_hidden_layers=3)
    model = model_of(config, torch.float32 if autocast else torch.bfloat16, checkpointing)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    batch = batch_of(512, 200, vocabulary)
    most = peak_bytes(lambda: loss_of(model, batch, autocast).backward())
    told = activations(shape_of(config), 512, 200, checkpointing, autocast)
    copy = 2 * sum(parameter.numel() for parameter in model.parameters()) if autocast else 0
    if checkpointing:  # of the copies, those of a layer or of the logits are there at a time
        assert 0.85 * most - copy < told < 1.15 * most
    else:
        assert told + copy == pytest.approx(most, rel=0.08)


@pytest.mark.parametrize("autocast", [True, False])
def test_lora_keeps_no_more_activations_than_is_told(autocast):
    config = small("llama")
    dtype = torch.float32 if autocast else torch.bfloat16
    model = with_lora(model_of(config, dtype), SETTINGS["lora"]).to(dtype)
    shape = shape_of(config)
    torch_keeps = kept_bytes(model, 256, PLACES, autocast) - kept_bytes(model, 128, PLACES, autocast)
    told = activations(shape, 256, PLACES, False, autocast) - activations(shape, 128, PLACES, False, autocast)
    assert 0.75 * told < torch_keeps < told


def test_gradient_checkpointing_saves_most_of_the_activations():
    shape = shape_of(QWEN_8B)
    for autocast in (True, False):
        plain, lean = (activations(shape, 4096, 2000, checkpointing, autocast) for checkpointing in (False, True))
        assert lean < plain / 4


@pytest.mark.parametrize(("name", "method"), [("adamw", "full"), ("muon", "full"), ("adamw", "lora")])
def test_the_states_are_as_large_as_those_of_the_optimizer(name, method):
    config = small("qwen2")
    settings = CONFIG["training"] | {"optimizer": name, "method": method}
    model, shape = model_of(config), shape_of(config)
    if method == "lora":
        model = with_lora(model, settings["lora"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    stepped = optimizer(name, model, 0.001, 0.1)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    stepped.step()
    count = sum(parameter.numel() for parameter in trained)
    states = [state for part in getattr(stepped, "parts", [stepped]) for state in part.state.values()]
    held = sum(one.nbytes for state in states for one in state.values() if torch.is_tensor(one) and one.ndim)
    assert moments(shape, settings, "none", count) == held
    needs = memory(shape, settings, 1, "none", 64, PLACES, False)
    assert (needs.gradients, needs.optimizer) == (sum(parameter.grad.nbytes for parameter in trained), held)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert needs.weights == 6 * count + 2 * frozen


def test_a_step_of_adamw_on_gpus_takes_four_bytes_a_parameter():
    weights = [torch.nn.Parameter(torch.ones(256, 256)) for _ in range(8)]
    stepped = torch.optim.AdamW(weights, foreach=True)  # what torch chooses on GPUs
    for one in weights:
        one.grad = torch.ones_like(one)
    stepped.step()
    assert peak_bytes(stepped.step) == pytest.approx(4 * 8 * 256 * 256, rel=0.05)


def test_zero_shards_as_its_paper_says():
    """Figure 1 there: 7.5 billion parameters on 64 GPUs need 120 GB, 16.6 GB with ZeRO-2 and 1.9 GB with ZeRO-3."""
    shape = Shape("llama", 1, 1, 1, 1, 1, 1, 1, False, 7_500_000_000, 7_000_000_000, 1)

    def states(gpus: int, sharding: str) -> float:
        needs = memory(shape, SETTINGS, gpus, sharding, 1, 1, False)
        return (needs.weights + needs.gradients + needs.optimizer) / 1e9

    assert states(1, "zero3") == pytest.approx(120, abs=0.1)
    assert states(64, "zero2") - 4 * BUCKET / 1e9 == pytest.approx(16.6, abs=0.05)
    assert states(64, "zero3") - 2 * LIVE * 63 / 64 / 1e9 == pytest.approx(1.9, abs=0.05)


def test_what_deepspeed_gathers_is_what_it_is_told_to():
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    two, three = (
        json.loads((ROOT / "config" / "deepspeed" / f"{stage}.json").read_text())["zero_optimization"]
        for stage in ("zero2", "zero3")
    )
    assert two["reduce_bucket_size"] == BUCKET and two["overlap_comm"]
    assert three.get("stage3_max_live_parameters", DeepSpeedZeroConfig().max_live_parameters) == LIVE
    assert three.get("sub_group_size", DeepSpeedZeroConfig().sub_group_size) == LIVE


# -- steps and tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "epochs", "least"), [(1, 1, 0), (4, 3, 0), (8, 2, 480), (16, 12, 0)])
def test_steps_are_those_that_training_takes(rows, epochs, least):
    draw = random.Random(3)
    lengths = tuple(draw.randint(100, 700) for _ in range(1000))
    asked = {"least_steps": least // 2, "steps_per_edge": least // 20}  # of 20 edges
    settings = SETTINGS | {"tokens_per_step": 8192, "epochs": epochs, **asked}
    steps, read = steps_of(Work("toy", 20, lengths, 0.5, True), settings, rows, 0)
    talks = [{"input_ids": [0] * length} for length in lengths]
    packed = tokens.PackedRows(lambda *_: talks, 8192 // rows, epochs, 1, least * rows, rows)
    assert steps == pytest.approx(len(packed) / rows, rel=0.02)
    assert read == pytest.approx(packed.seen, rel=0.02)


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Path:
    """Return results/tiny, with its shards alone."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "tiny.yaml").write_text(TOY)
    keys = ("seed", "paths", "held_out", "conversations", "interruptions")
    settings = {key: CONFIG[key] for key in keys} | {"shards": 2, "teacher": {"backend": "builtin"}}
    plan_agent(folder / "tiny.yaml", folder / "results" / "tiny", settings)
    return folder / "results" / "tiny"


def test_tokens_are_told_before_the_data_set_is_there_and_counted_in_it_then(planned):
    tokenizer, remark = read_tokenizer(EMBEDDED, EMBEDDED)
    told = work_of(planned, tokenizer)
    works = [json.loads(file.read_text()) for file in sorted(planned.glob("shards/*.json"))]
    rows = []
    for work in works:
        for talk in (talk for talk in work["conversations"] if talk["split"] == "train"):
            steps, values, seed = laid_out(talk, work)
            rows.append(row(talk, steps, BuiltinTeacher().write(steps, values, seed), values))
    exact = tokens.encode_all(tokenizer, json.loads((planned / "flowchart.json").read_text())["system"], rows, 4096)
    total = sum(len(one["input_ids"]) for one in exact)
    assert not (told.built or remark) and len(told.lengths) == len(rows)
    assert sum(told.lengths) == pytest.approx(total, rel=0.03)
    agents = sum(label != tokens.IGNORED for one in exact for label in one["labels"])
    assert told.agent_share == pytest.approx(agents / total, abs=0.03)
    records.write_table(rows[:50], records.CONVERSATION, planned / "dataset" / "train.parquet")
    built = work_of(planned, tokenizer)
    assert built.built and sum(built.lengths) == sum(len(one["input_ids"]) for one in exact[:50])


# -- what is told ----------------------------------------------------------------------------------------------------


def outlook(config, **changes) -> Outlook:
    work = Work("toy", 20, (512,) * 2000, 0.5, True)
    return Outlook("base", shape_of(config), SETTINGS | changes, [work], read_gpus(GPUS))


def test_the_gpus_of_the_shipped_file_can_be_read():
    assert {"A100-80", "H100"} <= {gpu.name for gpu in read_gpus(GPUS)}


@pytest.mark.parametrize(
    "content",
    [
        "gpus: {Mine: {memory: lots, bf16: 100}}",
        "gpus: {Mine: {memory: 24, bf16: 0}}",
        "gpus: {Mine: {memory: 24, bf16: .inf}}",
        "gpus: {Mine: {memory: 24, bf16: 100, dollars_an_hour: -1}}",
        "gpus: {Mine: {memory: 24}}",
        "gpus: {Mine: {memory: 24, bf16: 100, weight: 3}}",
        "gpus: [Mine]",
        "gpus: {",
        "",
    ],
)
def test_a_mistake_in_the_gpus_is_one_line_with_the_file(tmp_path, content):
    file = tmp_path / "gpus.yaml"
    file.write_text(content)
    with pytest.raises(SubterraError) as told:
        read_gpus(file)
    assert str(told.value).startswith(f"{file}: ") and "\n" not in str(told.value)


def test_eight_billion_parameters_fit_one_gpu_only_where_it_is_large_enough():
    shown = outlook(QWEN_8B, rows_per_step=8, tokens_per_step=32768)
    eight = shown.option(8, "zero3", True)
    assert (
        eight.memory.total < shown.option(4, "zero3", True).memory.total < shown.option(1, "zero3", True).memory.total
    )
    assert eight.memory.fits(Gpu("small", 40, 100)) and not shown.option(1, "none", True).memory.fits(Gpu("H", 141, 1))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamw_8bit"])
def test_what_is_advised_is_a_valid_config_that_fits(optimizer):
    shown = outlook(QWEN_8B, rows_per_step=8, tokens_per_step=32768, optimizer=optimizer)
    first, config = shown.text().rsplit("\n", 1)
    advised = yaml.safe_load(config)["training"]
    check_config(CONFIG | {"base": "Qwen/Qwen3-8B", "training": shown.settings | advised})
    gpu = next(gpu for gpu in shown.gpus if f" x {gpu.name}, " in first.rsplit("\n", 1)[1])
    chosen = Outlook(shown.base, shown.shape, shown.settings | advised, shown.works, shown.gpus)
    sharding, lean = advised["sharding"], advised["gradient_checkpointing"]
    assert chosen.option(advised["nodes"] * advised["processes"], sharding, lean).memory.fits(gpu)


def test_a_family_whose_activations_were_not_measured_is_told_so():
    assert set(FAMILIES) == set(MEASURED)
    assert "Activations are a Llama's" not in outlook(QWEN_3B).text()
    assert "Activations are a Llama's: gemma2 may keep half as much again." in outlook(Gemma2Config()).text()


def test_a_base_that_nothing_holds_is_told_so():
    huge = LlamaConfig(hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128)
    assert "Nothing here holds it" in outlook(huge).text()


@pytest.mark.parametrize(("recipe", "config"), [("qwen2_5_3b", QWEN_3B), ("qwen3_8b", QWEN_8B)])
def test_a_recipe_of_the_paper_fits_eight_gpus_of_80_gib_as_it_stands(recipe, config):
    training = yaml.safe_load((ROOT / "config" / "recipes" / f"{recipe}.yaml").read_text())["training"]
    shown = outlook(config, **training)
    assert shown.configured == 8
    option = shown.option(8, training["sharding"], training["gradient_checkpointing"])
    assert option.rows == training["rows_per_step"]
    assert option.memory.fits(next(gpu for gpu in shown.gpus if gpu.name == "A100-80"))
    assert 2 * option.memory.total > 16 * shown.shape.parameters / 8 > GIB


# -- the workflow ----------------------------------------------------------------------------------------------------


def test_the_plan_is_told_on_stdout_and_builds_nothing(tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    process = tree.start("plan")
    out, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert "sharding" in out and out.count("zero3") >= 4 and "tiny: " in out and "No data set yet of tiny" in out
    assert all(len(line) <= 120 for line in out.splitlines())
    assert [job for job in told.splitlines() if job.startswith("Finished jobid")] == ["Finished jobid: 0 (Rule: plan)"]
    assert not list(tree.folder.glob("results/tiny/dataset")) and not list(tree.folder.glob("results/tiny/model"))


def test_a_base_that_cannot_be_had_is_told_in_a_line_by_the_workflow(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", os.fspath(tmp_path / "hub"))
    tree = Tree.fresh(tmp_path / "tree")
    settings = yaml.safe_load(tree.path("tiny.yaml").read_text()) | {"base": "nobody/nothing"}
    tree.path("tiny.yaml").write_text(yaml.safe_dump(settings))
    process = tree.start("plan")
    _, told = process.communicate(timeout=120)
    assert process.returncode and "hf download nobody/nothing config.json" in told
    assert tree.path("logs/plan.log").read_text().count("\n") <= 1
