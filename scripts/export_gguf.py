"""model/ -> gguf/f16.gguf."""

from subterra import __version__
from subterra.errors import one_line
from subterra.export.converter import export_model

with one_line(snakemake.log[0]):
    export_model(
        snakemake.input.model,
        snakemake.output.gguf,
        cache=snakemake.config["cache"],
        agent=snakemake.wildcards.agent,
        spec_digest=snakemake.params.spec_digest,
        version=__version__,
        system=snakemake.params.system,
        opens=snakemake.params.opens,
        tools=snakemake.params.tools,
    )
