"""What lies beside the GGUF files for people and for Ollama: a model card and a Modelfile.

Both say what they were given or what the file itself holds; no number is made up here.
"""

import re
from pathlib import Path

from subterra.dialogue import messages
from subterra.errors import SubterraError

# Ollama hands the system prompt over as a message, so one loop writes all of ChatML.
CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
PROBE = [{"role": role, "content": role[::-1]} for role in ("system", "assistant", "user")]
PROBED = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in PROBE) + "<|im_start|>assistant\n"


def modelfile(gguf_path: str | Path, *, temperature: float = 0.0, n_ctx: int = 2048) -> str:
    """Return an Ollama Modelfile for a GGUF beside it; prompt, greeting, template and stop come from it.

    A chat template that is not ChatML is left to Ollama, which reads the file's own. Raises SubterraError
    where the file cannot be read or its prompt cannot be quoted.
    """
    from subterra.models.gguf import GgufModel

    with GgufModel(gguf_path, n_ctx=n_ctx) as model:
        system, chatml = model.metadata("subterra.system"), model.render(PROBE) == PROBED
        greets = bool(system) and model.metadata("subterra.opens", "agent") == "agent"
        greeting = model.reply(messages(system, []), temperature=0, seed=0).text if greets else ""
    if '"""' in system + greeting:
        raise SubterraError(f'{gguf_path}: a prompt or greeting with """ in it cannot be quoted; reword it')
    lines = [f"FROM ./{Path(gguf_path).name}"]
    lines += [f'TEMPLATE """{CHATML}"""', "PARAMETER stop <|im_end|>"] if chatml else []
    lines += [f'SYSTEM """{system}"""'] if system else []
    # In Ollama the user speaks first; the agent's own greeting in front keeps to what it learned.
    lines += [f'MESSAGE assistant """{greeting}"""'] if greeting else []
    return "\n".join([*lines, f"PARAMETER temperature {temperature:g}", f"PARAMETER num_ctx {n_ctx}", ""])


def model_card(
    *,
    agent: str,
    title: str,
    system: str,
    spec_digest: str,
    version: str,
    base: str,
    files: list[dict],
    best: str,
    opens: str = "agent",
    flowchart: dict | None = None,
    dataset: dict | None = None,
    parity: dict | None = None,
) -> str:
    """Return the README.md of a folder of GGUF files, as Markdown with a metadata block.

    files: [{file, quant, bytes, fallbacks?}]; best: the file to start with; opens: who speaks first; flowchart and
    dataset: counts by name as in summary.json; parity: what `check_parity` found.
    """
    parts = [
        _front_matter(base),
        f"# {title}\n\nThe procedure `{agent}`, compiled into the weights of a small language model by "
        f"Subterra {version}. The model follows it without seeing it: this is its whole prompt.\n",
        "".join(f"> {line}\n" for line in system.splitlines()),
        _table("What it is", {"base": base, "spec digest": spec_digest, "subterra": version}),
        _table("The procedure", flowchart or {}),
        _table("What it was trained on", dataset or {}),
        _files(files),
        _parity(parity),
        _usage(agent, best, opens),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(base: str) -> str:
    hub = [f"base_model: {base}"] if re.fullmatch(r"(?!bases/)[\w.-]+/[\w.-]+", base) else []
    return "\n".join(
        ["---", "library_name: gguf", "pipeline_tag: text-generation", *hub, "tags: [subterra]", "---", ""]
    )


def _table(heading: str, facts: dict) -> str:
    rows = [f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in facts.items() if value is not None]
    return "\n".join([f"## {heading}\n", "| | |", "| --- | --- |", *rows, ""]) if rows else ""


def _shown(value) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _files(files: list[dict]) -> str:
    rows = [f"| `{entry['file']}` | {entry['quant']} | {entry['bytes'] / 1e6:.1f} MB |" for entry in files]
    notes = [
        f"\n`{entry['file']}`: {len(entry['fallbacks'])} tensors got another type than {entry['quant']}, "
        "because their rows are no multiple of its block."
        for entry in files
        if entry.get("fallbacks")
    ]
    return "\n".join(["## Files\n", "| file | quantization | size |", "| --- | --- | --- |", *rows, *notes, ""])


def _parity(parity: dict | None) -> str:
    if not parity:
        return ""
    return (
        "## The same model\n\n"
        f"On {parity['prompts']} prompts llama.cpp and transformers agree in {parity['same_tokenization']} "
        f"tokenizations and in {parity['same_tokens']:,} of {parity['tokens']:,} greedy tokens "
        f"(near-ties among the others: {parity['near_ties']}).\n"
    )


OPENINGS = {
    "agent": "The agent learned to speak first, after its prompt alone. `make chat` lets it, the Modelfile brings\n"
    "its greeting along; elsewhere ask for one turn before the user's first.",
    "user": "The user speaks first.",
}


def _usage(agent: str, best: str, opens: str) -> str:
    opening = [] if opens == "agent" else [{"role": "user", "content": "Hello"}]
    return f"""## Talk to it

{OPENINGS[opens]}

```sh
make chat AGENT={agent}             # in a checkout of Subterra: reads the prompt from the file
llama-cli -m {best} --jinja --temp 0       # llama.cpp: give it the prompt above with -sys
ollama create {agent} -f Modelfile && ollama run {agent}
```

```python
from llama_cpp import Llama

model = Llama("{best}", n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)
messages = [{{"role": "system", "content": model.metadata["subterra.system"]}}{"".join(f", {m}" for m in opening)}]
print(model.create_chat_completion(messages, temperature=0)["choices"][0]["message"]["content"])
```
"""
