"""What `python -m vllm.entrypoints.openai.api_server` runs in tests of the process around it.

Standard library alone, so that it starts at once. A text's log-probability is its number of tokens
times the number in the adapter's folder (`factor`), 1 for the base. `FAKE_SAY` makes it say
something and end; while the file `FAKE_BUSY` is there, it counts tokens and answers no completion.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
base = options["--served-model-name"]
adapters: dict[str, str] = {}
busy = Path(os.environ.get("FAKE_BUSY", "/nowhere"))
started = time.monotonic()


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, data: object) -> None:
        body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            lying = [{"id": n, "root": r, "parent": base} for n, r in adapters.items()]
            self.reply(200, {"data": [{"id": base, "root": base, "parent": None}, *lying]})
        elif self.path == "/metrics":
            tokens = time.monotonic() - started if busy.exists() else 1.0
            running = 'vllm:num_requests_running{engine="0"} 0.0\n'
            self.reply(200, f'{running}vllm:generation_tokens_total{{engine="0"}} {tokens}\n')
        else:
            self.reply(200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = body.get("lora_name", body.get("model"))
        while busy.exists() and self.path == "/v1/completions":
            time.sleep(0.05)
        if self.path == "/v1/load_lora_adapter":
            adapters[name] = body["lora_path"]
            self.reply(200, "Success")
        elif self.path == "/v1/unload_lora_adapter":
            known = adapters.pop(name, None)
            self.reply(200 if known else 404, {"error": {"message": name}})
        elif name != base and name not in adapters:
            self.reply(404, {"error": {"message": "does not exist"}})
        else:
            folder = Path(adapters.get(name, "/nowhere"), "factor")
            factor = float(folder.read_text()) if folder.exists() else 1.0
            rows = [
                {
                    "index": i,
                    "prompt_logprobs": [{str(t): {"logprob": -factor}} for t in row],
                }
                for i, row in enumerate(body["prompt"])
            ]
            self.reply(200, {"model": name, "choices": rows})


if os.environ.get("FAKE_SAY"):
    sys.exit(os.environ["FAKE_SAY"])
child = subprocess.Popen(["sleep", "1000"])  # as the engine is a child of the server
print(f"child {child.pid}", flush=True)  # noqa: T201  # into the log
ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Door).serve_forever()
