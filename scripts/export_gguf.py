"""model/ -> gguf/f16.gguf."""

from subterra import __version__
from subterra.errors import one_line
from subterra.export.gguf_writer import export_f16

with one_line(snakemake.log[0]):
    export_f16(
        snakemake.input.model,
        snakemake.output.gguf,
        agent=snakemake.wildcards.agent,
        spec_digest=snakemake.params.spec_digest,
        version=__version__,
        system=snakemake.params.system,
        opens=snakemake.params.opens,
        tools=snakemake.params.tools,
    )
