"""llama.cpp's own OpenAI server, as the body of a child process: run by its path, settings on the first line of standard
input, the address on the first line of standard output. It ends when its standard input does, that is with its parent.

A process and not a thread, although xllamacpp would serve in ours: its constructor holds the GIL while it loads (1.4 s
for 135M parameters: no event loop turns, no Ctrl-C), its C++ writes to our terminal as it likes, and a crash in it would
take a paid run along.
"""

import json
import os
import sys


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.n_parallel = settings["slots"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.api_keys = [settings["key"]]  # other users of this machine can reach the port, too
    params.verbosity = 1  # errors; 0 would not even say why a file does not load
    params.cache_ram_mib = 0  # else up to 8 GB of old prompts are kept
    params.fit_params = False  # else the context may come out smaller than asked for
    params.ui = False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        sys.exit(1)  # what went wrong stands on standard error
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    answers.write(json.dumps({"url": server.listening_address}) + "\n")
    answers.flush()
    sys.stdin.read()
    os._exit(0)  # requests in flight are nobody's any more; an orderly end would wait for them


if __name__ == "__main__":
    main()
