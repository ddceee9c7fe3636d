"""model/ and gguf/f16.gguf -> gguf/parity.json."""

from subterra.dialogue import prompts
from subterra.errors import one_line
from subterra.export.parity import check_parity
from subterra.records import CONVERSATION, read_table

with one_line(snakemake.log[0]):
    scenarios = read_table(snakemake.input.scenarios, CONVERSATION)
    asked = prompts(scenarios, snakemake.params.system, snakemake.params.prompts)
    check_parity(snakemake.input.model, snakemake.input.gguf, asked, snakemake.output.parity)
