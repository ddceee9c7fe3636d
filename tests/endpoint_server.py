"""A real HTTP server that speaks the OpenAI protocol, writes what our prompts ask for, and fails to order.

It runs in a process of its own, and counts every request: `with Server(tmp_path) as server: ...`. Which requests fail
and how is said by `server.fail(...)`: {fault: share of the requests, or a list of their numbers}.
"""

import argparse
import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from pathlib import Path

from endpoint_roles import answered

KEY = "sk-test-SECRET-123"
MODEL = "teacher-1"
PIECE = 512  # bytes of a prompt that are kept, or not, together
BEGINNINGS = ("mor", "sum", "let", "gar", "win", "cor", "bet", "qui", "mar", "flo", "har", "ten")
WORDS = [first + last for first in BEGINNINGS for last in ("ning", "mer", "ter", "den", "dow", "ket", "lin", "sto")]


# -- what is written ------------------------------------------------------------------------------------------------


def told_lines(text: str) -> list[dict]:
    """Return the turns in a prompt: one JSON object a line."""
    return [json.loads(line) for line in text.split("\n") if line.startswith('{"turn":')]


def words_of(turn: dict, rng: random.Random, fault: str = "") -> str:
    """Return what a speaker says: what it has to show and every value, among words of no meaning."""
    rest = [" ".join(rng.choices(WORDS, k=rng.randint(5, 9))) for _ in range(2)]
    values = list(turn.get("says", {}).values())
    if fault == "missing_value" and values:
        values.pop()
    shown = [] if fault == "missing_shows" else turn.get("shows", [])
    leaked = [" ".join(turn["task"][0].split()[:9])] if fault == "leak" and turn.get("task") else []
    return f"{'. '.join([rest[0].capitalize(), *leaked, *shown, *values, rest[1]])}."


def written(messages: list[dict], number: int, fault: str) -> str:
    """Return the answer to a request of the teacher's prompts, or of an evaluation's."""
    if (answer := answered(messages, number)) is not None:
        return answer
    prompt = messages[-1]["content"]
    rng = random.Random(1 if fault == "copy" else number)
    lines = told_lines(prompt)
    if lines and "choices" in lines[0]:
        answers = [
            {"turn": one["turn"], "choice": next((k for k, v in one["choices"].items() if v in one["text"]), "none")}
            for one in lines
        ]
        return json.dumps({"answers": answers})
    spoken = [one for one in lines if one.get("speaker") != "tool"]
    if "words alone" in prompt:
        return words_of(spoken[-1], rng, fault)
    wrong = rng.randrange(len(spoken)) if spoken else 0
    turns = [
        {
            "turn": one["turn"],
            "speaker": one["speaker"],
            "text": words_of(
                one, rng, fault if at == wrong or fault in ("missing_value", "missing_shows", "leak") else ""
            ),
        }
        for at, one in enumerate(spoken)
    ]
    if fault == "wrong_count":
        turns.pop()
    if fault == "wrong_roles":
        turns[0]["speaker"] = "customer" if turns[0]["speaker"] == "agent" else "agent"
    return json.dumps({"turns": turns})


# -- the protocol ---------------------------------------------------------------------------------------------------


class Books:
    """Every request that came in, the faults to come, and which beginnings of prompts are kept."""

    def __init__(self, state: Path, faults: dict, rpm: float):
        self.state, self.faults, self.rpm = state, faults, rpm
        self.requests: list[dict] = []
        self.recent: deque[float] = deque()
        self.kept: set[int] = set()
        self.seen: set[int] = set()
        self.rng = random.Random(1)

    def enter(self, body: dict) -> dict:
        """Write a request down; say how it will fail."""
        number = len(self.requests) + 1
        name_of_body = hash(json.dumps(body, sort_keys=True))
        again = name_of_body in self.seen
        self.seen.add(name_of_body)
        fault = ""
        for name, when in self.faults.items():
            hit = number in when if isinstance(when, list) else self.rng.random() < when
            if hit and not (again and name in ONCE):
                fault = name
                break
        now = time.time()
        while self.recent and self.recent[0] < now - 1:
            self.recent.popleft()
        if self.rpm and len(self.recent) >= max(1, self.rpm / 60):
            fault = "http_429"
        else:
            self.recent.append(now)
        entry = {
            "number": number,
            "received": now,
            "answered": None,
            "status": None,
            "fault": fault,
            "body": name_of_body,
            "in_flight": 1 + sum(one["answered"] is None and one["fault"] not in GONE for one in self.requests[-500:]),
        }
        self.requests.append(entry)
        return entry

    def usage(self, messages: list[dict], text: str) -> dict:
        """Return the tokens of a request, four bytes each; of a beginning that was seen before, as cached."""
        prompt = "".join(one["content"] for one in messages).encode()
        known = 0
        running = 0
        for at in range(PIECE, len(prompt) + 1, PIECE):
            running = hash((running, prompt[at - PIECE : at]))
            known = at if running in self.kept and known == at - PIECE else known
            self.kept.add(running)
        tokens = math.ceil(len(prompt) / 4)
        out = math.ceil(len(text.encode()) / 4)
        cached = known // 4 if known // 4 >= 1_024 else 0
        return {
            "prompt_tokens": tokens,
            "completion_tokens": out,
            "total_tokens": tokens + out,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


ONCE = (
    "bad_json",
    "wrong_count",
    "wrong_roles",
    "missing_value",
    "missing_shows",
    "leak",
    "empty",
    "length",
    "refusal",
)
GONE = ("hang", "drop", "cut")
ERRORS = {
    "http_429": (429, "rate_limit_exceeded", "Rate limit reached"),
    "quota": (429, "insufficient_quota", "You exceeded your current quota"),
    "http_500": (500, "server_error", "The server had an error"),
    "http_503": (503, "overloaded", "Overloaded"),
    "too_long": (400, "context_length_exceeded", "This model's maximum context length is 10 tokens"),
    "echo_key": (400, "bad_request", f"What is {KEY} doing here?"),
}


def error(status: int, code: str, message: str, **headers: str):
    return as_json({"error": {"message": message, "type": "error", "code": code}}, status, headers or None)


def completion(books: Books, body: dict, entry: dict) -> dict:
    """Return the chat completion of a request, with its fault."""
    fault = entry["fault"]
    text = written(body["messages"], entry["number"], fault)
    finish, refusal = "stop", None
    if fault == "bad_json":
        text = "Sure! Here is the conversation: " + text[: len(text) // 2]
    elif fault == "length":
        text, finish = text[: len(text) // 2], "length"
    elif fault == "empty":
        text = ""
    elif fault == "filter":
        text, finish = "", "content_filter"
    elif fault == "refusal":
        text, refusal = None, "I cannot write that."
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": f"chatcmpl-{entry['number']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": books.usage(body["messages"], text or ""),
    }


class Protocol:
    """The handlers of the protocol's addresses."""

    def __init__(self, books: Books, delay: float, batch_delay: float):
        self.books, self.delay, self.batch_delay = books, delay, batch_delay
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict] = {}

    def application(self):
        """Return the ASGI application."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [
            ("POST", "/v1/chat/completions", self.chat),
            ("POST", "/v1/files", self.upload),
            ("GET", "/v1/files/{file}/content", self.content),
            ("POST", "/v1/batches", self.create),
            ("GET", "/v1/batches", self.listed),
            ("GET", "/v1/batches/{batch}", self.retrieve),
            ("GET", "/counts", self.counts),
            ("POST", "/faults", self.faults),
        ]
        return Starlette(routes=[Route(path, handler, methods=[method]) for method, path, handler in routes])

    async def chat(self, request):
        from starlette.responses import Response

        body = await request.json()
        if refused := denied(request):
            return refused
        if body["model"] != MODEL:
            return error(404, "model_not_found", f"The model `{body['model']}` does not exist")
        entry = self.books.enter(body)
        fault = entry["fault"]
        await asyncio.sleep(60 if fault == "hang" else 0 if fault in ERRORS else self.delay)
        if fault == "drop":
            return Broken(b"")
        if fault in ERRORS:
            entry.update(status=ERRORS[fault][0], answered=time.time())
            return error(*ERRORS[fault], **({"retry-after": "0.3"} if fault == "http_429" else {}))
        answer = json.dumps(completion(self.books, body, entry)).encode()
        if fault == "cut":
            return Broken(answer)
        entry.update(status=200, answered=time.time())
        return Response(answer, media_type="application/json")

    async def upload(self, request):
        raw = (await request.body()).decode()
        content = "\n".join(line for line in raw.split("\n") if line.startswith("{"))
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        told = {"id": name, "object": "file", "bytes": len(content), "created_at": 0, "filename": f"{name}.jsonl"}
        return denied(request) or as_json(told | {"purpose": "batch", "status": "processed"})

    async def content(self, request):
        from starlette.responses import PlainTextResponse

        return denied(request) or PlainTextResponse(self.files[request.path_params["file"]])

    async def create(self, request):
        asked = await request.json()
        name = f"batch_{len(self.batches) + 1}"
        total = len(self.files[asked["input_file_id"]].split("\n"))
        self.batches[name] = asked | {
            "id": name,
            "object": "batch",
            "created_at": int(time.time()),
            "due": time.time() + self.batch_delay,
            "status": "validating",
            "request_counts": {"total": total, "completed": 0, "failed": 0},
        }
        return denied(request) or as_json(self.batches[name])

    async def retrieve(self, request):
        batch = self.batches[request.path_params["batch"]]
        if batch["status"] != "completed" and time.time() >= batch["due"]:
            self._complete(batch)
        elif batch["status"] == "validating":
            batch["status"] = "in_progress"
        return denied(request) or as_json(batch)

    def _complete(self, batch: dict) -> None:
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].split("\n"):
            one = json.loads(line)
            entry = self.books.enter(one["body"])
            failed = entry["fault"] in ERRORS
            status = ERRORS[entry["fault"]][0] if failed else 200
            body = {"error": {"message": "failed"}} if failed else completion(self.books, one["body"], entry)
            entry.update(status=status, answered=time.time(), batch=batch["id"])
            told = {"id": f"r{entry['number']}", "custom_id": one["custom_id"], "error": None}
            (bad if failed else good).append(json.dumps(told | {"response": {"status_code": status, "body": body}}))
        for kind, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[kind] = f"{batch['id']}-{kind}"
                self.files[batch[kind]] = "\n".join(lines)
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        batch["status"] = "completed"

    async def listed(self, request):
        return denied(request) or as_json({"object": "list", "data": [*self.batches.values()], "has_more": False})

    async def counts(self, _request):
        return as_json(self.books.requests)

    async def faults(self, request):
        self.books.faults = await request.json()
        self.books.seen.clear()
        return as_json({})


def as_json(data, status: int = 200, headers: dict | None = None):
    from starlette.responses import JSONResponse

    return JSONResponse(data, status, headers)


def denied(request):
    """Return the answer to a wrong key, None for the right one."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return error(401, "invalid_api_key", f"Incorrect API key provided: {given}.") if given != KEY else None


class Broken:
    """A response of which half is sent before the connection breaks, or nothing but its head."""

    def __init__(self, body: bytes):
        self.body = body

    async def __call__(self, _scope, _receive, send) -> None:
        length = str(len(self.body) or 1_000).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        raise ConnectionAbortedError("broken to order")


# -- the process ------------------------------------------------------------------------------------------------------


class Server:
    """The server in a process of its own, which no kill of a client's process group reaches."""

    def __init__(self, folder: Path, delay: float = 0.0, batch_delay: float = 0.3, rpm: float = 0, **faults):
        self.folder = folder
        self.arguments = [f"--delay={delay}", f"--batch-delay={batch_delay}", f"--rpm={rpm}"]
        self.faults = faults

    def __enter__(self) -> "Server":
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, f"--parent={os.getpid()}", f"--state={self.folder}", *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.root = self.process.stdout.readline().decode().strip()
        if not self.root:
            raise RuntimeError((self.folder / "server.log").read_text())
        self.fail(**self.faults)
        return self

    def __exit__(self, *_exception) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    @property
    def url(self) -> str:
        """What goes into base_url."""
        return f"{self.root}/v1"

    def fail(self, **faults) -> None:
        """Say which requests fail from now on, and how."""
        self._call("/faults", json.dumps(faults).encode())

    def requests(self) -> list[dict]:
        """Return every request so far."""
        return self._call("/counts")

    def _call(self, place: str, data: bytes | None = None):
        with urllib.request.urlopen(urllib.request.Request(f"{self.root}{place}", data), timeout=10) as answer:
            return json.loads(answer.read())


def serve() -> None:
    """Run the server until its parent is gone."""
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path())
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--batch-delay", type=float, default=0.3)
    parser.add_argument("--rpm", type=float, default=0)
    asked = parser.parse_args()
    books = Books(asked.state, {}, asked.rpm)
    config = uvicorn.Config(
        Protocol(books, asked.delay, asked.batch_delay).application(),
        host="127.0.0.1",
        port=asked.port,
        log_level="critical",
        timeout_keep_alive=600,
    )
    listening = config.bind_socket()
    # Else an answer on a connection that was used before waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.listen(2048)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)

    def watch() -> None:
        while os.getppid() == asked.parent:
            time.sleep(0.5)
        os._exit(0)

    if asked.parent:
        threading.Thread(target=watch, daemon=True).start()
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    serve()
