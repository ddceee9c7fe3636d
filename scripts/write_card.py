"""gguf/*.gguf and what is known of the model -> gguf/README.md and gguf/Modelfile."""

import json
from pathlib import Path

from subterra import __version__
from subterra.errors import one_line
from subterra.export.card import model_card, modelfile
from subterra.export.quantize import fallbacks, preferred
from subterra.flowchart import Flowchart
from subterra.text import write_whole

with one_line(snakemake.log[0]):
    flowchart = Flowchart.read(snakemake.input.flowchart)
    training = json.loads(Path(snakemake.input.facts).read_text(encoding="utf-8"))
    ggufs = dict(zip(snakemake.params.quants, map(Path, snakemake.input.ggufs), strict=True))
    best = ggufs[preferred(list(ggufs))]
    card = model_card(
        agent=flowchart.agent,
        title=flowchart.title,
        system=flowchart.system,
        spec_digest=flowchart.digest,
        version=__version__,
        base=training["base"],
        files=[
            {
                "file": file.name,
                "quant": quant,
                "bytes": file.stat().st_size,
                "fallbacks": fallbacks(file, quant),
            }
            for quant, file in ggufs.items()
        ],
        best=best.name,
        opens=flowchart.opens,
        flowchart={"nodes": len(flowchart.nodes), "hubs": len(flowchart.hubs), "ends": len(flowchart.ends)},
        dataset={key: training[key] for key in ("conversations", "tokens", "agent_tokens")},
        parity=json.loads(Path(snakemake.input.parity).read_text(encoding="utf-8")),
    )
    write_whole(snakemake.output.card, card)
    write_whole(snakemake.output.modelfile, modelfile(best, n_ctx=snakemake.params.context))
