"""bases/embedded/model and pretraining.json -> skills.json and README.md beside them."""

import json
from pathlib import Path

from subterra.errors import one_line
from subterra.text import pretty, write_whole

with one_line(snakemake.log[0]):
    import torch
    from subterra.pretraining.card import base_card
    from subterra.pretraining.skills import measure
    from subterra.training.model import load_base

    torch.set_num_threads(snakemake.threads)
    skills = measure(*load_base(snakemake.input.model), snakemake.params.seed, snakemake.params.samples)
    write_whole(snakemake.output.skills, pretty(skills))
    config, facts = (
        json.loads(Path(file).read_text(encoding="utf-8"))
        for file in (Path(snakemake.input.model) / "config.json", snakemake.input.facts)
    )
    write_whole(snakemake.output.card, base_card(config, snakemake.params.settings, facts, skills))
