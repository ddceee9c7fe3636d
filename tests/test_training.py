"""Fine-tuning: the loss is on the agent's turns alone, packing changes nothing, and a run that was cut off goes on."""

import copy
import itertools
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.numpy import load_file
from subterra import records
from subterra.dialogue import messages
from subterra.errors import SubterraError
from subterra.training import attention, tokens
from subterra.training import model as modeling
from subterra.training import train as training
from subterra.training.halves import write_halves
from subterra.training.loss import mean_loss, weighted_loss
from subterra.training.optimizer import Muon, MuonAdamW, matrices_and_rest, optimizer
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm

SCRATCH = Path(__file__).parent.parent / "bases" / "scratch"
SYSTEM = "You sell coffee."
END = "<|im_end|>"


SETTINGS = {
    "method": "full",
    "lora": {"rank": 4, "alpha": 8, "dropout": 0},
    "rows_per_step": 1,
    "replicas": 1,
    "nodes": 1,
    "processes": 1,
    "sharding": "none",
    "gradient_checkpointing": False,
    "precision": "auto",
    "epochs": 2,
    "least_steps": 0,
    "rehearsal": 0.5,
    "rare_edges": 1,
    "unheard_values": 0,
    "word_dropout": 0,
    "opening_smoothing": 0,
    "opening_favourite": 0,
    "value_weight": 1.0,
    "fact_weight": 1,
    "tokens_per_step": 256,
    "optimizer": "muon",
    "learning_rate": 0.003,
    "embedding_rate": 1,
    "head_interpolation": 0,
    "weight_decay": 0.1,
    "warmup": 0.1,
    "decay": 0.5,
    "evaluations": 4,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer():
    return tokens.load_tokenizer(str(SCRATCH))


def write_base(folder: Path, **changes) -> Path:
    """Write a base of one layer and no weights: 64 wide, two key and value heads for four."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in SCRATCH.glob("tokenizer*"):
        shutil.copy(file, folder)
    config = json.loads((SCRATCH / "config.json").read_text())
    small = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "num_key_value_heads": 2,
    }
    (folder / "config.json").write_text(json.dumps(config | small | changes))
    return folder


def tiny_model(layers: int = 2, key_value_heads: int = 2, attend: str | None = None, seed: int = 0):
    """Return a small random Llama in float32; its weights are large enough to tell words apart."""
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        head_dim=16,
        max_position_embeddings=1024,
        initializer_range=0.2,
    )
    torch.manual_seed(seed)
    attend = attend or attention.register()
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attend).eval()


def weighing_model(**shape):
    """Return a tiny model that learns by `weighted_loss`, as one that was loaded from a folder does."""
    model = tiny_model(**shape)
    model.loss_function = mean_loss
    return model


def said(*contents: str, first: str = "assistant") -> list[dict]:
    """Return alternating turns."""
    roles = itertools.cycle(("assistant", "user") if first == "assistant" else ("user", "assistant"))
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


TALKS = {
    "agent first": said("Hello, what may I bring?", "One latte.", "Your latte."),
    "customer first": said("I want the owner!", "One moment.", "Now.", "Here they are.", first="user"),
    "ends with the customer": said("Which size?", "Small. I said small, and a biscuit."),
    "odd letters": said("Kyōto 🎉 — “né”?", "日本 ✓", " \tTwo  spaces \n and a line: {x} ", "ok", "…"),
    "the same words on both sides": said("Yes.", "Yes.", "Yes.", "Yes.", "Yes."),
    "words of the template": said("assistant\n", "user\nassistant\nassistant", "system\nassistant"),
}
DRINKS = ["latte", "mocha", "espresso", "cocoa", "chai", "matcha"]


def loss_of(model, *encoded: tokens.Encoded) -> torch.Tensor:
    """Return the loss of a step over conversations, as a Trainer feeds them."""
    with torch.no_grad():
        return weighted_loss(model, tokens.collate([list(encoded)]))


# -- what has a label ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("talk", "system"), [*((talk, SYSTEM) for talk in TALKS), ("customer first", "")])
def test_labels_are_the_agents_words_each_with_the_token_that_ends_them(tokenizer, talk, system):
    encoded = tokens.encode(tokenizer, system, TALKS[talk])
    pairs = zip(encoded["input_ids"], encoded["labels"], strict=True)
    assert all(label in (tokens.IGNORED, token) for token, label in pairs)
    runs = itertools.groupby(encoded["labels"], key=lambda label: label == tokens.IGNORED)
    heard = [tokenizer.decode(list(run)) for ignored, run in runs if not ignored]
    assert heard == [turn["content"] + END for turn in TALKS[talk] if turn["role"] == "assistant"]


@pytest.mark.parametrize("talk", TALKS)
def test_the_tokens_are_those_of_the_whole_talk_as_the_template_writes_it(tokenizer, talk):
    encoded = tokens.encode(tokenizer, SYSTEM, TALKS[talk])
    messages = [{"role": "system", "content": SYSTEM}, *TALKS[talk]]
    assert tokenizer.decode(encoded["input_ids"]) == tokenizer.apply_chat_template(messages, tokenize=False)


@pytest.mark.parametrize("talk", TALKS)
def test_the_agent_is_trained_to_speak_after_exactly_what_a_prompt_holds(tokenizer, talk):
    encoded = tokens.encode(tokenizer, SYSTEM, TALKS[talk])
    for number, turn in enumerate(TALKS[talk]):
        if turn["role"] == "assistant":
            messages = [{"role": "system", "content": SYSTEM}, *TALKS[talk][:number]]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert encoded["input_ids"][: len(prompt)] == prompt
            assert encoded["labels"][len(prompt) - 1] == tokens.IGNORED != encoded["labels"][len(prompt)]


def test_the_values_that_the_agent_says_count_for_more_and_nothing_else_does(tokenizer):
    turns = said("Which size?", "A small one, for 4 dollars.", "A small one for 4 dollars, is it? 44 is too much.")
    turns[2]["values"] = {"size": "A small one", "price": "4 dollars"}
    encoded = tokens.encode(tokenizer, SYSTEM, turns, 3.0)
    heavy = [token for token, weight in zip(encoded["input_ids"], encoded["weights"], strict=True) if weight == 3.0]
    assert tokenizer.decode(heavy) == "A small one 4 dollars"
    assert set(encoded["weights"]) == {1.0, 3.0}


CALL = '{"name": "find_order", "arguments": {"customer": "Jörg O\'Neil", "order": "107"}}'
CALLING = [
    {"role": "user", "content": "I am Jörg O'Neil, it is 107.", "call": ""},
    {"role": "assistant", "content": "Let's see 107.", "call": CALL},
    {"role": "tool", "content": '{"error": "timeout"}', "call": ""},
    {"role": "assistant", "content": "", "call": CALL.replace("107", "108")},
    {"role": "tool", "content": '{"day": "Möntag"}', "call": ""},
    {"role": "assistant", "content": "It was sold on Möntag, Jörg O'Neil.", "call": ""},
]


def test_labels_cover_a_call_and_not_what_a_tool_answers(tokenizer):
    encoded = tokens.encode(tokenizer, SYSTEM, CALLING)
    runs = itertools.groupby(encoded["labels"], key=lambda label: label == tokens.IGNORED)
    assert [tokenizer.decode(list(run)) for ignored, run in runs if not ignored] == [
        f"Let's see 107.\n<tool_call>\n{CALL}\n</tool_call>{END}",
        f"<tool_call>\n{CALL.replace('107', '108')}\n</tool_call>{END}",
        f"It was sold on Möntag, Jörg O'Neil.{END}",
    ]


def test_a_call_is_trained_after_exactly_what_a_prompt_holds(tokenizer):
    encoded = tokens.encode(tokenizer, SYSTEM, CALLING)
    assert tokenizer.decode(encoded["input_ids"]) == tokenizer.apply_chat_template(
        messages(SYSTEM, CALLING), tokenize=False
    )
    for number in (1, 3, 5):
        talk = messages(SYSTEM, CALLING[:number])
        prompt = tokenizer(
            tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True), add_special_tokens=False
        )["input_ids"]
        assert encoded["input_ids"][: len(prompt)] == prompt
        assert encoded["labels"][len(prompt) - 1] == tokens.IGNORED != encoded["labels"][len(prompt)]


def test_the_values_that_the_agent_hands_to_a_tool_count_for_more(tokenizer):
    turns = [turn | {"values": {"name": "Jörg O'Neil"} if number == 5 else {}} for number, turn in enumerate(CALLING)]
    encoded = tokens.encode(tokenizer, SYSTEM, turns, 3.0)
    heavy = [token for token, weight in zip(encoded["input_ids"], encoded["weights"], strict=True) if weight == 3.0]
    assert tokenizer.decode(heavy).replace(" ", "") == "107JörgO'Neil107JörgO'Neil108JörgO'Neil"


def test_a_label_that_counts_for_more_pulls_the_loss_towards_its_own(tokenizer):
    model, encoded = weighing_model(), tokens.encode(tokenizer, SYSTEM, TALKS["agent first"])
    places = [place for place, label in enumerate(encoded["labels"]) if label != tokens.IGNORED]
    plain = loss_of(model, encoded).item()
    one = [1e6 if place == places[3] else 1.0 for place in range(len(encoded["labels"]))]
    logits = model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0, places[3] - 1]
    own = -logits.log_softmax(0)[encoded["labels"][places[3]]].item()
    assert loss_of(model, encoded | {"weights": one}).item() == pytest.approx(own, abs=1e-3) != pytest.approx(plain)


@pytest.mark.parametrize("packed", [False, True], ids=["alone", "packed"])
def test_the_loss_sees_what_the_agent_says_and_not_what_the_customer_says_after_it(tokenizer, packed):
    model = weighing_model()
    other = [tokens.encode(tokenizer, SYSTEM, TALKS["agent first"])] if packed else []

    def loss(*words: str) -> float:
        return loss_of(model, tokens.encode(tokenizer, SYSTEM, said(*words)), *other).item()

    base = loss("Which size?", "Small.", "For how much?", "Four dollars.")
    assert loss("Which size?", "Small.", "For how much?", "I do not know, what do you ask?") == pytest.approx(
        base, abs=1e-5
    )
    assert loss("Which size?", "Small.", "For what price?", "Four dollars.") != pytest.approx(base, abs=1e-3)
    assert loss("How large?", "Small.", "For how much?", "Four dollars.") != pytest.approx(base, abs=1e-3)


def test_no_gradient_comes_from_predicting_system_or_customer(tokenizer):
    model, encoded = tiny_model(), tokens.encode(tokenizer, SYSTEM, TALKS["agent first"])
    logits = model(input_ids=torch.tensor([encoded["input_ids"]])).logits.detach().requires_grad_()
    labels = torch.tensor([encoded["labels"]])
    model.loss_function(logits=logits, labels=labels, vocab_size=2048).backward()
    moved = logits.grad[0].abs().sum(-1) > 0
    assert moved.tolist() == [label != tokens.IGNORED for label in encoded["labels"][1:]] + [False]


REWRITING = {
    "only the last turn is whole": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if loop.last else m['content'][:3] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "a thought is begun in each prompt": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}",
    "turns are counted at the top": "{{ messages | length }}\n{% for m in messages %}{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}",
}


@pytest.mark.parametrize("what", REWRITING)
def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer, what):
    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = REWRITING[what]
    with pytest.raises(SubterraError, match="chat template of the base rewrites") as caught:
        tokens.encode(rewriting, SYSTEM, TALKS["the same words on both sides"])
    assert str(caught.value).isprintable()


def test_a_template_of_another_shape_is_masked_as_well(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}A: {{ m['content'] }}<|im_end|>"
        "{% else %}[{{ m['role'] }}] {{ m['content'] }} [/]\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    encoded = tokens.encode(other, SYSTEM, said("One latte.", "Yes?", "No.", "Bye!", first="user"))
    spoken = [label for label in encoded["labels"] if label != tokens.IGNORED]
    assert other.decode(spoken) == f" Yes?{END} Bye!{END}"


def test_a_conversation_longer_than_the_base_reads_is_named(tokenizer):
    row = {"id": "p-train-7", "turns": TALKS["agent first"], "values": {}}
    length = len(tokens.encode_all(tokenizer, SYSTEM, [row], 2048)[0]["input_ids"])
    assert len(tokens.encode_all(tokenizer, SYSTEM, [row], length)) == 1
    with pytest.raises(SubterraError, match=f"conversation p-train-7 has {length} tokens"):
        tokens.encode_all(tokenizer, SYSTEM, [row], length - 1)


# -- packing ---------------------------------------------------------------------------------------------------------


def lengths(count: int, seed: int = 0) -> list[int]:
    """Return lengths as conversations have them: most a few hundred tokens, some many."""
    draw = random.Random(seed)
    return [min(2_000, max(30, round(draw.lognormvariate(5.4, 0.5)))) for _ in range(count)]


def packed(count: int, size: int, epochs: int = 1, seed: int = 1) -> tokens.PackedRows:
    talks = [{"input_ids": [n] * n, "labels": [n] * n} for n in lengths(count)]
    return tokens.PackedRows(lambda *_: talks, size, epochs, seed)


def held(rows: tokens.PackedRows) -> list[int]:
    """Return the conversations of all rows, by index."""
    return [number for _, row in rows.rows for number in row]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "size"), [(400, 2048), (2_000, 4096), (2_000, 16_384)])
def test_packed_rows_hold_each_conversation_once_and_waste_little(count, size, seed):
    rows = packed(count, size, seed=seed)
    assert sorted(held(rows)) == list(range(count)) and all(row for _, row in rows.rows)
    filled = [sum(len(one["input_ids"]) for one in rows[index]) for index in range(len(rows))]
    assert max(filled) <= size and sum(filled) == rows.tokens == sum(lengths(count))
    assert rows.seen == sum(filled) and rows.seen / (size * len(rows)) > 0.95


def test_every_epoch_holds_each_conversation_once_in_another_order():
    once, thrice = packed(300, 2048), packed(300, 2048, epochs=3)
    assert thrice.rows[: len(once)] == once.rows
    assert set(Counter(held(thrice)).values()) == {3}
    first, second = ([row for _, row in rows] for rows in (once.rows, thrice.rows[len(once) : 2 * len(once)]))
    assert second != first and len({tuple(row) for _, row in thrice.rows}) > 2.9 * len(once)


def test_packing_depends_on_the_seed_alone():
    assert packed(300, 2048, 2).rows == packed(300, 2048, 2).rows != packed(300, 2048, 2, seed=2).rows


@pytest.mark.parametrize("many", [[], [5], [9], [8, 8], [9, 1, 9], [1] * 100])
def test_rows_of_odd_sizes_lose_nothing(many):
    rows = tokens.pack(many, 8, range(len(many)))
    assert sorted(itertools.chain(*rows)) == list(range(len(many)))
    assert all(sum(many[index] for index in row) <= 8 or len(row) == 1 for row in rows)


def test_too_few_epochs_go_on_until_the_least_steps_are_done():
    conversations = [{"input_ids": [0] * length, "labels": [0] * length} for length in (5, 9, 4, 7)]
    once = tokens.PackedRows(lambda *_: conversations, 10, 1, 1)
    longer = tokens.PackedRows(lambda *_: conversations, 10, 1, 1, least=8)
    assert longer.rows[: len(once)] == once.rows and len(longer) == 8
    assert tokens.PackedRows(lambda *_: conversations, 10, 0, 1, least=2).rows == once.rows[:2]
    assert len(tokens.PackedRows(lambda *_: conversations, 10, 3, 1, least=2)) == 3 * len(once)


@pytest.mark.parametrize("key_value_heads", [4, 2, 1])
def test_scores_written_out_are_those_of_the_fused_kernel(key_value_heads):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 9, 16) for heads in (4, key_value_heads, key_value_heads))
    for scaling in (None, 0.5):
        written_out = attention._in_full(query, key, value, scaling)
        assert torch.allclose(written_out, attention._fused(query, key, value, scaling), atol=1e-5)


@pytest.mark.parametrize("lengths", [(9,), (192, 5), (64, 193, 400), (1, 63, 129, 256)])
@pytest.mark.parametrize("key_value_heads", [4, 2])
def test_blocks_give_the_attention_and_the_gradients_of_the_fused_kernel(lengths, key_value_heads):
    torch.manual_seed(1)
    bounds = [0, *itertools.accumulate(lengths)]
    heads = (4, key_value_heads, key_value_heads)
    inputs = [torch.randn(1, bounds[-1], count, 16).transpose(1, 2).requires_grad_() for count in heads]
    wanted = torch.randn(1, bounds[-1], 4, 16)
    apart = zip(*(one.split(lengths, dim=2) for one in inputs), strict=True)
    fused = torch.cat([attention._fused(*one, None).transpose(1, 2) for one in apart], dim=1)
    blocks = attention._in_blocks(*inputs, None, bounds)
    torch.testing.assert_close(blocks, fused, rtol=1e-4, atol=1e-5)
    found = (torch.autograd.grad(each, inputs, wanted) for each in (blocks, fused))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_loss_in_pieces_is_that_of_the_whole_and_so_are_its_gradients():
    torch.manual_seed(2)
    logits, labels = (3 * torch.randn(1, 300, 50)).requires_grad_(), torch.randint(50, (1, 300))
    weights = torch.rand(1, 300)
    logits.data[0, 7, labels[0, 7]] -= 500  # so unlikely that its share of the softmax is zero
    losses = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="none")
    whole = (losses * weights[0]).sum() / weights.sum()
    pieces = mean_loss(logits, labels, weights=weights)
    (expected,), (found,) = (torch.autograd.grad(2 * loss, logits) for loss in (whole, pieces))
    torch.testing.assert_close(found, expected)
    assert torch.isfinite(pieces) and pieces < whole
    with torch.no_grad():
        torch.testing.assert_close(mean_loss(logits, labels, weights=weights), whole)


def test_labels_count_the_same_where_deepspeed_rounds_their_weights():
    logits, labels = torch.randn(1, 300, 50), torch.randint(50, (1, 300))
    weights = torch.ones(1, 300)
    weights[0, ::7] = 3
    with torch.no_grad():
        assert mean_loss(logits, labels, weights=weights.bfloat16()) == mean_loss(logits, labels, weights=weights)


def test_a_filled_batch_has_the_loss_and_the_gradients_of_what_it_was(tokenizer):
    batch = tokens.collate([[tokens.encode(tokenizer, SYSTEM, talk) for talk in TALKS.values()]])
    filled = tokens.filled(batch, 16)
    assert filled["input_ids"].shape[1] % 16 == len(filled["logits_to_keep"]) % 16 == 0
    assert 0 < filled["input_ids"].shape[1] - batch["input_ids"].shape[1] < 31
    assert tokens.filled(filled, 16) is filled and tokens.filled(batch, 1) is batch
    model = weighing_model()
    names, losses, gradients = [name for name, _ in model.named_parameters()], [], []
    for step in (1, 16):
        losses.append(weighted_loss(model, batch, step))
        gradients.append(torch.autograd.grad(losses[-1], list(model.parameters())))
    torch.testing.assert_close(*losses)
    for name, one, other in zip(names, *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6, msg=name)


def test_the_norm_for_bf16_is_llamas():
    torch.manual_seed(3)
    theirs = LlamaRMSNorm(64, 1e-5)
    theirs.weight.data.uniform_(0.5, 1.5)
    ours = copy.deepcopy(theirs)
    write_halves(ours)
    hidden, wanted = torch.randn(1, 40, 64, requires_grad=True), torch.randn(1, 40, 64).bfloat16()
    outputs = ours(hidden), theirs(hidden)
    assert outputs[0].dtype == torch.bfloat16
    torch.testing.assert_close(outputs[0].float(), outputs[1], rtol=0.01, atol=0.01)
    found = (
        torch.autograd.grad(out, (hidden, norm.weight), wanted.to(out))
        for out, norm in zip(outputs, (ours, theirs), strict=True)
    )
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() < 0.01 * other.norm()


def test_in_bf16_norms_are_rounded_once_and_gradients_stay_near_those_of_float32(tokenizer):
    batch = tokens.collate([[tokens.encode(tokenizer, SYSTEM, talk) for talk in TALKS.values()]])

    def gradients(half: bool, once: bool) -> torch.Tensor:
        model = weighing_model(seed=1)
        if once:
            write_halves(model)
            read = []
            model.model.layers[0].input_layernorm.register_forward_hook(lambda *found: read.append(found[2].dtype))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            weighted_loss(model, batch).backward()
        assert not once or read == [torch.bfloat16]
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    exact = gradients(half=False, once=False)
    apart = [float((gradients(half=True, once=once) - exact).norm() / exact.norm()) for once in (False, True)]
    assert 0 < apart[1] < 1.5 * apart[0] < 0.06


@pytest.mark.parametrize("key_value_heads", [4, 2, 1])
def test_packed_conversations_get_the_logits_and_the_loss_that_each_gets_alone(tokenizer, key_value_heads):
    model = tiny_model(key_value_heads=key_value_heads)
    plain = tiny_model(key_value_heads=key_value_heads, attend="eager")
    every = [tokens.encode(tokenizer, SYSTEM, talk) for talk in TALKS.values()]
    with torch.no_grad():
        batch = tokens.collate([every[:4], every[4:]])
        together = model(**batch)
        alone = [
            plain(input_ids=torch.tensor([one["input_ids"]]), labels=torch.tensor([one["labels"]])) for one in every
        ]
    each = torch.cat([one.logits[0] for one in alone])
    assert torch.allclose(together.logits[0], each[batch["logits_to_keep"]], atol=2e-4)
    spoken = torch.tensor([sum(label != tokens.IGNORED for label in one["labels"]) for one in every])
    mean = (torch.stack([one.loss for one in alone]) * spoken).sum() / spoken.sum()
    assert together.loss.item() == pytest.approx(mean.item(), abs=1e-4)


def test_packed_conversations_teach_what_each_teaches_alone(tokenizer):
    model = tiny_model(layers=1)
    every = [tokens.encode(tokenizer, SYSTEM, talk) for talk in TALKS.values()]
    total = sum(label != tokens.IGNORED for one in every for label in one["labels"])
    model(**tokens.collate([every])).loss.backward()
    together = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    for one in every:
        model(**tokens.collate([[one]]), num_items_in_batch=torch.tensor(total)).loss.backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, together[name], atol=1e-4, rtol=1e-3), name


# -- the optimizer ---------------------------------------------------------------------------------------------------


def taught(model, stepper, scheduler, numbers) -> list[float]:
    """Take one step on random tokens for each number; return the losses."""
    found = []
    for number in numbers:
        ids = torch.randint(0, 2048, (1, 40), generator=torch.Generator().manual_seed(number))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        stepper.step()
        scheduler.step()
        stepper.zero_grad()
        found.append(loss.item())
    return found


def schedule(stepper):
    return torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: 1 / (1 + step))


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_an_optimizer_taken_up_again_goes_on_identically(tmp_path, name):
    model = tiny_model(1)
    stepper = optimizer(name, model, 0.01, 0.1)
    rates = schedule(stepper)
    first = taught(model, stepper, rates, range(3))
    kept = {"model": model.state_dict(), "stepper": stepper.state_dict(), "rates": rates.state_dict()}
    torch.save(kept, tmp_path / "kept.pt")
    rest = taught(model, stepper, rates, range(3, 7))

    again = tiny_model(1, seed=9)
    stepper_again = optimizer(name, again, 0.5, 0.1)
    rates_again = schedule(stepper_again)
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    again.load_state_dict(kept["model"])
    stepper_again.load_state_dict(kept["stepper"])
    rates_again.load_state_dict(kept["rates"])
    assert taught(again, stepper_again, rates_again, range(3, 7)) == rest
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))
    assert [group["lr"] for group in stepper.param_groups] == [group["lr"] for group in stepper_again.param_groups]
    assert all(map(torch.isfinite, map(torch.tensor, first + rest)))


def test_every_parameter_is_stepped_once_and_matrices_by_muon():
    model = tiny_model(1)
    stepper = MuonAdamW(model, 0.01, 0.1)
    groups = [id(parameter) for group in stepper.param_groups for parameter in group["params"]]
    assert sorted(groups) == sorted(map(id, model.parameters()))
    by_muon = {id(parameter) for group in stepper.parts[0].param_groups for parameter in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in by_muon}
    assert names == {name for name, _ in model.named_parameters() if name.endswith("_proj.weight")} and len(names) == 7
    before = [parameter.detach().clone() for parameter in model.parameters()]
    taught(model, stepper, schedule(stepper), [0])
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_rows_of_words_that_are_never_asked_for_hardly_move():
    model = tiny_model(1)
    stepper = MuonAdamW(model, 0.01, 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    head = model.lm_head.weight
    head.grad[:10], head.grad[10:] = 1e-4, 5e-7  # as fine-tuning the embedded base has them
    before = head.detach().clone()
    stepper.step()
    moved = (head.detach() - before).norm(dim=1)
    assert 0 < moved[10:].max() < 0.25 * moved[:10].min()


@pytest.mark.parametrize("on_cpu", [True, False], ids=["in lanes", "one shape at once"])
def test_muon_steps_as_torchs_own_does(on_cpu):
    ends = []
    for kind in (torch.optim.Muon, Muon):
        torch.manual_seed(3)
        shapes = ((48, 32), (32, 48), (32, 32), (48, 32), (32, 48), (48, 32))
        weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        stepper = kind(weights, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        stepper.on_cpu = on_cpu
        begun = [weight.detach().clone() for weight in weights]
        for _ in range(4):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            stepper.step()
        ends.append([weight.detach() - start for weight, start in zip(weights, begun, strict=True)])
    for theirs, ours in zip(*ends, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()  # theirs iterates in bf16


def test_a_schedule_reaches_both_optimizers_before_and_after_a_state_is_taken_up():
    model = tiny_model(1)
    stepper = MuonAdamW(model, 0.01, 0.1)
    rates = schedule(stepper)
    taught(model, stepper, rates, [0])
    assert [group["lr"] for part in stepper.parts for group in part.param_groups] == [0.005, 0.005]
    stepper.load_state_dict(copy.deepcopy(stepper.state_dict()))
    taught(model, stepper, rates, [1, 2])
    assert [group["lr"] for part in stepper.parts for group in part.param_groups] == [0.0025, 0.0025]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_embeddings_get_their_share_of_the_rate(name):
    model = tiny_model()
    _, outer = matrices_and_rest(model)
    groups = optimizer(name, model, lr=0.01, weight_decay=0.0, outer_share=0.1).param_groups
    for group in groups:
        of_outer = any(parameter is other for parameter in group["params"] for other in outer)
        assert group["lr"] == pytest.approx(0.001 if of_outer else 0.01)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_weight_decay_is_of_the_matrices(name):
    model = tiny_model(1)
    stepper = optimizer(name, model, 0.01, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)] for group in stepper.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {name for name in names.values() if name.endswith("_proj.weight")}


# -- a whole run -----------------------------------------------------------------------------------------------------


def rows(count: int, split: str) -> list[dict]:
    found = []
    for number in range(count):
        drink = DRINKS[number % len(DRINKS)]
        greeting = ["Hello, what may I bring?", "Good day, what would you like?"][number % 2]
        turns = said(greeting, f"One {drink}, number {number} of {split}.", f"Your {drink}. Enjoy it!")
        turns = [turn | {"nodes": ["n"], "values": {}, "call": ""} for turn in turns]
        facts = {"path": "p", "split": split, "nodes": ["n"], "outcome": "o", "values": {}, "corrected": {}}
        found.append({"id": f"p-{split}-{number:03}", **facts, "turns": turns})
    return found


class Run:
    """Calls train_model in a folder of its own, and counts the steps it takes."""

    def __init__(self, folder: Path, monkeypatch, base: Path | None = None):
        self.folder, self.monkeypatch, self.steps, self.last = folder, monkeypatch, 0, None
        self.base = base or write_base(folder / "base")
        for split, count in (("train", 60), ("valid", 8)):
            records.write_table(rows(count, split), records.CONVERSATION, folder / f"{split}.parquet")
        real = transformers.Trainer.training_step

        def counted(trainer, *given, **named):
            if self.steps == self.last:
                raise KeyboardInterrupt
            self.steps += 1
            return real(trainer, *given, **named)

        monkeypatch.setattr(transformers.Trainer, "training_step", counted)

    def __call__(self, last: int | None = None, **changes) -> dict:
        """Train; with `last`, cut the run off after that many steps."""
        self.steps, self.last = 0, last
        return training.train_model(
            self.folder / "train.parquet",
            self.folder / "valid.parquet",
            self.folder / "out" / "model",
            out_json=self.folder / "out" / "training.json",
            out_loss=self.folder / "out" / "loss.parquet",
            out_curve=self.folder / "out" / "loss.svg",
            system=SYSTEM,
            free={},
            base=str(changes.get("base", self.base)),
            settings=SETTINGS | changes.get("settings", {}),
            seed=changes.get("seed", 1),
            checkpoints=self.folder / "checkpoints",
            threads=1,
        )

    def weights(self) -> dict[str, bytes]:
        whole = load_file(self.folder / "out" / "model" / "model.safetensors")
        return {name: array.tobytes() for name, array in whole.items()}

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoints/*/checkpoint-*"), key=lambda folder: int(folder.name[11:]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(run, what it returned, its weights) of a run that nothing cut off."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = Run(tmp_path_factory.mktemp("whole"), monkeypatch)
        facts = run()
        yield run, facts, run.weights(), run.steps


@pytest.fixture
def run(tmp_path, monkeypatch, whole) -> Run:
    """A run over the same data and base as the whole one's."""
    return Run(tmp_path, monkeypatch, whole[0].base)


def test_training_lowers_the_loss_and_writes_what_it_says(whole):
    run, facts, _, steps = whole
    out = run.folder / "out"
    assert json.loads((out / "training.json").read_text()) == facts
    history = records.read_table(out / "loss.parquet", records.LOSS)
    measured = [row["valid_loss"] for row in history if row["valid_loss"] is not None]
    trained = [row["train_loss"] for row in history if row["train_loss"] is not None]
    assert len(measured) >= SETTINGS["evaluations"] and measured[-1] < measured[0] < 7.7
    assert trained[-1] < trained[0] - 1 and 7 < trained[0] < 8.2
    assert [row["step"] for row in history] == sorted({row["step"] for row in history})
    assert facts["valid_loss"] == pytest.approx(min(measured), abs=1e-3)
    assert facts["steps"] == steps == max(row["step"] for row in history) and facts["conversations"] == 60
    assert 0 < facts["agent_tokens"] < facts["tokens"] and facts["row_fill"] > 0.8
    assert b"<svg" in (out / "loss.svg").read_bytes()
    assert not run.checkpoints() and not [file for file in out.iterdir() if file.name.startswith(".")]


def test_the_model_folder_loads_and_is_the_best_that_was_measured(whole, tokenizer):
    run, facts, _, _ = whole
    folder = run.folder / "out" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    kept = tokens.load_tokenizer(str(folder))
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    assert kept.chat_template == tokenizer.chat_template and kept.get_vocab() == tokenizer.get_vocab()
    assert held_out_loss(model, kept, rows(8, "valid")) == pytest.approx(facts["valid_loss"], rel=0.05)


def held_out_loss(model, tokenizer, talks: list[dict]) -> float:
    """Return the mean loss over the agent's tokens, each conversation by itself."""
    total = spoken = 0.0
    for talk in talks:
        one = tokens.encode(tokenizer, SYSTEM, talk["turns"])
        count = sum(label != tokens.IGNORED for label in one["labels"])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([one["input_ids"]]), labels=torch.tensor([one["labels"]])).loss
        total, spoken = total + loss.item() * count, spoken + count
    return total / spoken


def test_where_the_held_out_loss_rises_again_the_best_model_is_kept(run, tokenizer):
    others = rows(8, "valid")
    for talk in others:
        talk["turns"][2]["content"] = "No, we are closed, come back tomorrow."
    records.write_table(others, records.CONVERSATION, run.folder / "valid.parquet")
    facts = run(settings={"learning_rate": 0.03, "evaluations": 8})
    history = records.read_table(run.folder / "out" / "loss.parquet")
    measured = {row["step"]: row["valid_loss"] for row in history if row["valid_loss"] is not None}
    assert facts["best_step"] == min(measured, key=measured.get) < max(measured)
    assert measured[max(measured)] > facts["valid_loss"] + 0.5
    model = AutoModelForCausalLM.from_pretrained(run.folder / "out" / "model", dtype=torch.float32)
    assert held_out_loss(model, tokenizer, others) == pytest.approx(facts["valid_loss"], rel=0.05)


def test_the_last_step_is_measured_too(whole):
    history = records.read_table(whole[0].folder / "out" / "loss.parquet")
    assert history[-1]["step"] == whole[1]["steps"] and history[-1]["valid_loss"] is not None


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(run, whole):
    _, facts, weights, steps = whole
    with pytest.raises(KeyboardInterrupt):
        run(last=steps // 2)
    reached = int(run.checkpoints()[-1].name[11:])
    assert 0 < reached <= steps // 2 and not (run.folder / "out").exists()
    again = run()
    assert run.steps == steps - reached
    assert run.weights() == weights
    measured = dict.fromkeys(("seconds", "tokens_per_second", "peak_gib"), 0)
    assert again["tokens_per_second"] > 0 < again["peak_gib"]
    assert again | measured == facts | measured
    assert records.read_table(run.folder / "out" / "loss.parquet") == records.read_table(
        whole[0].folder / "out" / "loss.parquet"
    )


def test_a_torn_checkpoint_is_passed_over(run, whole):
    _, _, weights, steps = whole
    with pytest.raises(KeyboardInterrupt):
        run(last=3 * steps // 4)
    *_, good = run.checkpoints()
    for number, state in ((9_998, None), (9_999, (good / "trainer_state.json").read_text()[:-40])):
        torn = good.with_name(f"checkpoint-{number}")
        torn.mkdir()
        (torn / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes()[:100])
        if state:
            (torn / "trainer_state.json").write_text(state)
    run()
    assert run.steps == steps - int(good.name[11:]) and run.weights() == weights


def test_a_kill_while_the_model_is_written_costs_no_training(run, whole):
    _, facts, weights, _ = whole

    def killed(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling, "save_tokenizer", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (run.folder / "out" / "model").exists()
    again = run()
    assert run.steps == 0 and run.weights() == weights
    assert again["best_step"] == facts["best_step"] and again["valid_loss"] == facts["valid_loss"]


def test_another_run_does_not_go_on_where_this_one_was_cut_off(run, whole):
    others = [{}, {"seed": 2}, {"settings": {"learning_rate": 0.002}}, {"settings": {"epochs": 3}}]
    for count, changes in enumerate(others, 1):
        with pytest.raises(KeyboardInterrupt):
            run(last=whole[3] // 2, **changes)
        assert run.steps == whole[3] // 2 and len({folder.parent for folder in run.checkpoints()}) == count


def test_a_base_with_other_weights_is_another_run(run, tmp_path):
    base = write_base(tmp_path / "weights")
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = transformers.AutoConfig.from_pretrained(base)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(base)
        with pytest.raises(KeyboardInterrupt):
            run(last=8, base=base)
    assert len({folder.parent for folder in run.checkpoints()}) == 2


def test_a_base_that_was_pretrained_here_rehearses_and_another_does_not(run, whole, tmp_path):
    assert whole[1]["rehearsed_tokens"] == 0
    base = write_base(tmp_path / "ours")
    (base / "pretraining.json").write_text("{}")
    facts = run(base=base)
    assert facts["tokens"] == whole[1]["tokens"]
    assert 0.5 * facts["tokens"] <= facts["rehearsed_tokens"] < 0.5 * facts["tokens"] + SETTINGS["tokens_per_step"]
    assert facts["steps"] > whole[1]["steps"]


def test_what_is_read_again_is_learned_and_not_rehearsed(run, whole):
    few = [row | {"nodes": ["a", "c" if number < 10 else "b"]} for number, row in enumerate(rows(60, "train"))]
    records.write_table(few, records.CONVERSATION, run.folder / "train.parquet")
    facts = run(settings={"rare_edges": 4})
    assert facts["tokens"] > whole[1]["tokens"] and facts["rehearsed_tokens"] == 0
    assert facts["conversations"] == whole[1]["conversations"]


def test_a_base_with_weights_starts_from_them(whole):
    folder = whole[0].folder / "out" / "model"
    model, _ = modeling.load_base(str(folder))
    kept = load_file(folder / "model.safetensors")
    assert all(
        torch.equal(parameter.detach(), torch.from_numpy(kept[name])) for name, parameter in model.named_parameters()
    )
    assert next(model.parameters()).dtype == torch.float32


def test_the_head_goes_back_a_share_of_the_way_to_a_base_that_has_weights(run, whole, tmp_path):
    _, _, plain, _ = whole
    run(settings={"head_interpolation": 0.4})
    assert run.weights() == plain
    base = tmp_path / "weights"
    shutil.copytree(whole[0].folder / "out" / "model", base)
    found = {}
    for share in (0.0, 0.4):
        run(base=base, settings={"head_interpolation": share})
        found[share] = load_file(run.folder / "out" / "model" / "model.safetensors")
    begun = load_file(base / "model.safetensors")["lm_head.weight"]
    far, near = (found[share].pop("lm_head.weight") for share in (0.0, 0.4))
    assert abs(far - begun).max() > 0.01 and near == pytest.approx(0.6 * far + 0.4 * begun, abs=1e-5)
    assert all((tensor == found[0.4][name]).all() for name, tensor in found[0.0].items())


TORN = {"config": "config.json", "weights": "model.safetensors", "tokenizer": "tokenizer.json"}
UNLOADABLE = [
    "no folder",
    "no id",
    "no model",
    "config",
    "weights",
    "tokenizer",
]


@pytest.mark.parametrize("what", UNLOADABLE)
def test_a_base_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, what):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = write_base(tmp_path / "base")
    if what in TORN:
        (folder / TORN[what]).write_bytes(b'{"torn')
    elif what == "no model":
        (folder / "config.json").unlink()
    base = {"no folder": str(tmp_path / "nowhere"), "no id": "nobody/nothing"}.get(what, str(folder))
    with pytest.raises(SubterraError) as caught:
        modeling.load_base(base)
    assert str(caught.value).startswith(f"base: '{base}'") and str(caught.value).isprintable()


def test_nothing_to_learn_from_is_one_line(run):
    records.write_table([], records.CONVERSATION, run.folder / "valid.parquet")
    with pytest.raises(SubterraError, match="no conversations to learn from") as caught:
        run()
    assert str(caught.value).isprintable()
