"""The base as it was before training -> results/base.gguf."""

from pathlib import Path

from subterra import __version__
from subterra.errors import one_line
from subterra.export.converter import export_model

with one_line(snakemake.log[0]):
    folder = snakemake.params.base
    if not Path(folder).is_dir():
        from huggingface_hub import snapshot_download

        folder = snapshot_download(folder)
    export_model(
        folder,
        snakemake.output.gguf,
        cache=snakemake.config["cache"],
        agent="base",
        spec_digest="",
        version=__version__,
        system="",
    )
