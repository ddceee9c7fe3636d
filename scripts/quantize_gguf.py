"""gguf/f16.gguf -> gguf/{quant}.gguf."""

import sys

from subterra.errors import one_line
from subterra.export.quantize import quantize

with one_line(snakemake.log[0]):
    print(quantize(snakemake.input.f16, snakemake.output.gguf, snakemake.wildcards.quant), file=sys.stderr)
