"""The models that take part beside the teacher: what a section leaves out is as in `teacher`."""

import copy

import pytest
from subterra.errors import SubterraError
from subterra.sections import baselines, file_of, name_of, part_of, settings_of, takes_part, temperature_of
from test_config import shipped


def config(**sections) -> dict:
    """Return the shipped config with changed sections."""
    found = copy.deepcopy(shipped())
    for name, values in sections.items():
        found[name] |= values
    return found


def test_nobody_takes_part_as_shipped_and_no_condition_is_run():
    assert not any(takes_part(config(), name) for name in ("frontier", "customer", "judge", "second_judge"))
    assert baselines(config()) == {}


def test_a_section_has_what_it_says_and_the_rest_from_the_teacher():
    told = config(
        teacher={"base_url": "http://localhost:1/v1", "tries": 9}, judge={"backend": "openai", "model": "gpt-5"}
    )
    settings = settings_of(told, "judge")
    assert (settings["model"], settings["base_url"], settings["tries"]) == ("gpt-5", "http://localhost:1/v1", 9)
    assert settings["parameters"] == {"temperature": 0, "max_tokens": 3000}
    assert takes_part(told, "judge") and not takes_part(told, "second_judge")


def test_how_a_model_is_asked_makes_nothing_stale_and_what_it_is_asked_does():
    def part(**changes):
        return part_of(config(judge={"backend": "openai", **changes}), "judge", "judge")

    assert part() == part(concurrency=3, tries=2, timeout=7, budget=1)
    different = [part(), part(model="gpt-5"), part(base_url="http://localhost/v1"), part(parameters={"max_tokens": 9})]
    assert len({str(one) for one in different}) == 4
    assert "prompts" in part() and part_of(config(), "judge", "judge") == {"backend": "none"}


def test_the_frontiers_conditions_are_run_where_it_takes_part_and_the_bases_where_they_are_named():
    both = ["in_context", "base_langgraph"]
    told = config(evaluation={"conditions": both}, frontier={"backend": "openai", "model": "gpt-5"})
    assert {name: settings["backend"] for name, settings in baselines(told).items()} == {
        "in_context": "openai",
        "base_langgraph": "gguf",
    }
    assert list(baselines(config(evaluation={"conditions": both}))) == ["base_langgraph"]


def test_a_temperature_that_is_left_to_the_endpoint_counts_as_one():
    told = config(frontier={"backend": "openai", "parameters": {"max_completion_tokens": 100}})
    assert temperature_of(settings_of(told, "frontier")) == 1
    assert temperature_of(settings_of(config(), "frontier")) == 0.7


def test_a_file_is_known_by_its_content_and_one_that_is_not_there_is_one_line(tmp_path):
    file = tmp_path / "model.gguf"
    told = config(customer={"backend": "gguf", "file": str(file)})
    with pytest.raises(SubterraError, match=r"customer.file: '.*model.gguf': no such file: name a GGUF file"):
        part_of(told, "customer")
    file.write_bytes(b"one")
    first = part_of(told, "customer")
    file.write_bytes(b"two")
    assert part_of(told, "customer") != first
    assert name_of(settings_of(told, "customer")) == "model.gguf"
    assert file_of(settings_of(told, "customer"), "customer") == str(file)


def test_a_temperature_that_is_no_number_is_one_line():
    told = config(frontier={"backend": "openai", "parameters": {"temperature": "hot"}})
    with pytest.raises(SubterraError, match=r"parameters\.temperature: .hot.: a number"):
        temperature_of(settings_of(told, "frontier"))
