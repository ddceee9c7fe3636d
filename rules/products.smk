"""What is built for an agent, and the inputs of its rules, asked for only once it is known that they are needed."""


def behind(checkpoint, pattern, **lists):
    """Inputs of an agent that are asked for only once its checkpoint of that name is there."""

    def inputs(wildcards):
        getattr(checkpoints, checkpoint).get(agent=wildcards.agent)
        known = dict(wildcards.items())
        return collect(pattern, **known, **lists) if lists else pattern.format(**known)

    return inputs


def behind_dataset(pattern, **lists):
    """Inputs of an agent that are asked for only once its data set is there.

    Snakemake plans before it runs. What stands behind a data set that came out the same must not be planned before
    that is known, so every job behind it asks the checkpoint first.
    """
    return behind("assemble_dataset", pattern, **lists)


def behind_estimate(pattern):
    """An input of an agent that is asked for only once it was told what the teacher will cost, if it costs anything.

    The estimate is no input itself: what is there already would be written again whenever it is told anew.
    """
    return behind("estimate_cost", pattern) if ASKS_A_MODEL else pattern


def made_first(agent):
    """What is built for an agent up to its data set: known before anything runs."""
    return collect(
        [
            "results/{agent}/conversations/{shard}.parquet",
            "results/{agent}/conversations/{shard}.json",
        ],
        agent=agent,
        shard=SHARDS,
    ) + collect(
        "results/{agent}/dataset/{file}",
        agent=agent,
        file=["train.parquet", "valid.parquet", "test.parquet", "train.digest", "test.digest", "summary.json"],
    )


def products(agent):
    """All that is built for an agent behind its data set.

    Here and in `made_first` stands every output of every rule. Snakemake does not miss what nobody asks for: a file
    that was lost, or that a failed job left behind as missing, would stay so, and what hangs on it would stay stale.
    """

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=agent)
        files = collect(
            [
                "results/{agent}/flowchart.svg",
                "results/{agent}/flowchart.mmd",
                "results/{agent}/model",
                "results/{agent}/training.json",
                "results/{agent}/loss.parquet",
                "results/{agent}/loss.svg",
                "results/{agent}/gguf/{quant}.gguf",
                "results/{agent}/gguf/parity.json",
                "results/{agent}/gguf/Modelfile",
                "results/{agent}/gguf/README.md",
                "results/{agent}/evaluation/matcher.joblib",
                "results/{agent}/evaluation/matcher.json",
                "results/{agent}/evaluation/costs.json",
                "results/{agent}/report.html",
                "results/{agent}/transcripts.html",
                "results/{agent}/summary.json",
            ],
            agent=agent,
            quant=QUANTIZATIONS,
        )
        return sorted({*files, *(file for run in evaluated(agent) for file in run["files"])})

    return inputs


def evaluated(agent):
    """Return every evaluation of an agent with its files: {condition, temperature, dialogues, scores, judgements}."""
    found = []
    for condition, temperature in RUNS:
        folder = f"results/{agent}/evaluation/{condition}/{temperature}"
        run = {
            "dialogues": [f"{folder}/dialogues/{shard}.parquet" for shard in PLAYED],
            "scores": [f"{folder}/scores.parquet"],
            "judgements": [f"{folder}/judgements/{judge}.parquet" for judge in JUDGES],
        }
        files = [file for kind in run.values() for file in kind]
        found.append({"condition": condition, "temperature": float(temperature), **run, "files": files})
    return found


def behind_evaluations(*kinds):
    """Inputs of an agent: files of all its evaluations, asked for only once its data set is there."""

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=wildcards.agent)
        return [file for run in evaluated(wildcards.agent) for kind in kinds for file in run[kind]]

    return inputs


def summary_of(agent):
    """The summary of an agent, once its data set is there."""

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=agent)
        return f"results/{agent}/summary.json"

    return inputs
