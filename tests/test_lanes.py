"""A batch in lanes: the gradients of the whole, the same every time, and no conversation cut."""

from functools import partial

import pytest
import torch
from subterra.training.lanes import Lanes, lanes_for, parts
from subterra.training.loss import weighted_loss
from subterra.training.model import load_base
from subterra.training.tokens import collate
from test_training import write_base

LENGTHS = (40, 7, 22, 31, 3, 18)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(3)
    return load_base(str(write_base(tmp_path_factory.mktemp("lanes") / "base")))[0]


@pytest.fixture
def batch():
    """A row of conversations, the last one without a word of the agent's."""
    draw = torch.Generator().manual_seed(5)
    row = []
    for length in LENGTHS:
        ids = torch.randint(5, 300, (length,), generator=draw).tolist()
        labels = [token if place % 3 and length != LENGTHS[-1] else -100 for place, token in enumerate(ids)]
        row.append({"input_ids": ids, "labels": labels, "weights": [1.0 + place % 2 for place in range(length)]})
    return collate([row])


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(model, backward) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = backward()
    return float(loss), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("number", [2, 3, 6])
def test_lanes_give_the_loss_and_the_gradients_of_the_whole_batch(model, batch, number):
    def whole():
        loss = weighted_loss(model, batch)
        loss.backward()
        return loss.detach()

    loss, expected = gradients(model, whole)
    found, together = gradients(model, partial(Lanes(number).backward, model, batch))
    assert found == pytest.approx(loss, rel=1e-5)
    for one, other in zip(together, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_run_gives_the_same_every_time(model, batch):
    lanes = Lanes(3)
    first, same = (gradients(model, partial(lanes.backward, model, batch)) for _ in range(2))
    assert first[0] == same[0] and all(map(torch.equal, first[1], same[1]))


def test_gradients_add_up_over_the_rows_of_a_step(model, batch):
    lanes = Lanes(2)
    _, once = gradients(model, partial(lanes.backward, model, batch))
    _, halves = gradients(model, lambda: sum(lanes.backward(model, batch, 0.5) for _ in range(2)))
    for one, other in zip(halves, once, strict=True):
        torch.testing.assert_close(one, other)


def test_parts_are_whole_conversations_about_as_long_as_each_other(batch):
    found = parts(batch, 2)
    assert torch.equal(torch.cat([part["input_ids"] for part in found], 1)[0, :103], batch["input_ids"][0, :103])
    assert [len(part["input_ids"][0]) for part in found] == [69, 52]
    assert [part["cu_seq_lens_q"].tolist() for part in found] == [[0, 40, 47, 69], [0, 31, 34, 52]]
    assert all(part["position_ids"][0, bound] == 0 for part in found for bound in part["cu_seq_lens_q"][:-1])


def test_a_part_in_which_there_is_nothing_to_learn_is_left_out(batch):
    assert sum(len(part["input_ids"][0]) for part in parts(batch, 12)) == sum(LENGTHS[:-1])


def test_a_short_batch_and_a_single_core_have_no_lanes():
    assert lanes_for(1500) is None and lanes_for(4096).number == 2
    torch.set_num_threads(1)
    assert lanes_for(4096) is None


def test_what_comes_alone_has_every_core():
    cores = [Lanes(2).map(lambda _: torch.get_num_threads(), range(items)) for items in range(4)]
    assert cores == [[], [2], [1, 1], [1, 1, 1]]


def test_what_fails_in_a_lane_fails_the_step_and_gives_the_cores_back():
    with pytest.raises(ZeroDivisionError):
        Lanes(2).map(lambda number: 1 // number, [1, 0])
    assert torch.get_num_threads() == 2
