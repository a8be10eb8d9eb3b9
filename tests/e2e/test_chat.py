#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run as a person meets it: a chat on a terminal, and a model whose numbers
are broken."""
import json
import os
import pty
import re
import select
import struct
import sys
import tempfile
import time

import pst_e2e as e2e

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(e2e.SRC, "scripts"))
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as err:
    e2e.skip(str(err))

MODEL = os.path.join(e2e.DATA, "logits", "llama-mixtral", "model.gguf")
TRAINED = os.path.join(e2e.SRC, "share", "tiny-stories.gguf")


def chat(lines, *options, model=MODEL):
    """Feed lines to a chat on a terminal, one per prompt; all it printed."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execv(e2e.PROGRAM, [e2e.PROGRAM, "run", model, *options])
    seen, out, end = b"", b"", time.time() + 60
    while time.time() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                got = os.read(fd, 65536)
            except OSError:
                break
            seen += got
            out += got
        if seen.endswith(b"> "):
            os.write(fd, (lines.pop(0) + "\n").encode() if lines else b"\x04")
            seen = b""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, out.decode(errors="replace")


def tokens_of(text, *options, model=MODEL):
    p = e2e.run("tokenize", model, *options, input=text.encode())
    return len(json.loads(p.stdout))


def check_chat(tap):
    status, out = chat(["hello", "the world"], "-n", "4", "--temp", "0",
                       "--ctx-size", "64")
    prompts = [int(n) for n in re.findall(r"-- prompt (\d+) tok", out)]
    tap.check(status == 0, "a chat ends with Ctrl-D and exit code 0", out)
    tap.check(len(prompts) == 2, "two lines are two turns", out)
    tap.check(prompts[:1] == [tokens_of("hello")],
              "the first turn is its text", prompts)
    # The last token of a reply that -n cut was shown: the model must see it.
    tap.check(prompts[1:] == [tokens_of("the world", "--no-bos") + 1],
              "the second turn begins with the token that was owed", prompts)
    status, out = chat(["hello"], "-n", "60", "--temp", "0", "--ctx-size",
                       "16")
    tap.check("context of 16 tokens is full" in out,
              "a reply that fills the context says so", out)


def check_trained(tap):
    """A model that has learned the form of a chat, and to end its replies."""
    asked = "Tell me a story about a dog."
    # The portable kernels give the same reply on every machine.
    status, out = chat([asked, asked], "--seed", "1", "--temp", "0.5",
                       "--cpu", "c", model=TRAINED)
    prompts = [int(n) for n in re.findall(r"-- prompt (\d+) tok", out)]
    replies = [int(n) for n in re.findall(r"reply (\d+) tok", out)]
    form = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"
    tap.check(status == 0 and len(replies) == 2, "two turns", out)
    tap.check(prompts[:1] == [tokens_of(form % asked, model=TRAINED)],
              "the first turn has the form of the model's template", prompts)
    # Its context holds 512 tokens.
    tap.check(20 < sum(prompts[:1] + replies[:1]) < 500,
              "a reply ends where the model ends it", (prompts, replies))
    tap.check("<|im_" not in out, "no control token is shown", out)


def check_broken(tap, folder):
    model = gguf.Reader(MODEL)
    path = os.path.join(folder, "nan.gguf")
    out = gguf.Writer(path, model.alignment)
    for key, (vtype, raw) in model.kv.items():
        out.add_raw(key, vtype, raw)
    for t in model.tensors:
        data = np.array(model.data(t))
        if t.name == "output_norm.weight":
            data[:4] = np.frombuffer(struct.pack("<f", float("nan")), np.uint8)
        out.add_tensor(t.name, t.dims, t.type, lambda data=data: [data])
    out.write()
    for temp in ("0", "1"):
        p = e2e.run("run", path, "-n", "4", "--temp", temp, "hi")
        tap.check(p.returncode == 65 and b"no numbers" in p.stderr,
                  "NaN logits are an error at temperature " + temp,
                  (p.returncode, p.stderr))
    p = e2e.run("run", MODEL, "-o", "csv", "hi")
    tap.check(p.returncode == 2 and not p.stdout,
              "an answer has no CSV form", p.stderr)
    with open("/dev/full", "wb") as full:
        p = e2e.subprocess.run([e2e.PROGRAM, "run", MODEL, "-n", "4", "hi"],
                               stdout=full, stderr=e2e.subprocess.PIPE)
    tap.check(p.returncode == 74, "a full stdout is exit code 74", p.stderr)


def main():
    tap = e2e.Tap()
    try:
        os.close(os.openpty()[0])
        check_chat(tap)
        check_trained(tap)
    except OSError as err:
        print("# the chat is left out: no terminal can be had: %s" % err)
    with tempfile.TemporaryDirectory() as folder:
        check_broken(tap, folder)
    tap.done()


if __name__ == "__main__":
    main()
