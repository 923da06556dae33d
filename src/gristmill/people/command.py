"""`gristmill annotate`: serve the page, or write the tasks for Label Studio and read its answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

from gristmill.errors import BadInput
from gristmill.people.queue import Queue

PORT = 8231
TOKEN = ".annotate-token"
"""In the run's folder, for its owner alone: pages that are open go on after the server was started again."""


def annotate_command(
    folder: Path,
    *,
    group: str = "",
    port: int = PORT,
    host: str = "127.0.0.1",
    export: Path | None = None,
    answers: Path | None = None,
) -> None:
    """Answer what a run waits for.

    Args:
        group: only the tasks of this group of people.
        port: 0 for any that is free.
        export: where to write the tasks for Label Studio, instead of serving the page.
        answers: Label Studio's export, whose annotations are taken over.
    """
    with closing(Queue(folder, group)) as queue:
        try:
            if answers:
                _take_over(queue, answers)
            if export:
                _write(queue, export)
            if not answers and not export:
                _serve(queue, host, port)
        finally:
            left = sum(queue.groups().values())
            print(f"{left:,} open; `gristmill resume {folder}` goes on with what was answered", flush=True)


def _serve(queue: Queue, host: str, port: int) -> None:
    try:
        import uvicorn

        from gristmill.people.page import page_app
    except ImportError:
        raise BadInput(
            "the page needs starlette and uvicorn, which are not installed: pip install 'gristmill[annotate]'"
        ) from None

    token = _token(queue.folder)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadInput(f"cannot listen on {host} port {port}: {error.strerror or error}. Try another --port") from None
    with listening:
        shown = f"[{host}]" if ":" in host else host
        if host in ("0.0.0.0", "::"):
            shown = socket.gethostname()
        many = ", ".join(f"{count:,} for {group}" for group, count in queue.groups().items())
        print(f"{many or 'nothing'} open. Ctrl-C ends; answers are kept as they come.")
        print(f"http://{shown}:{listening.getsockname()[1]}/?{urlencode({'token': token})}", flush=True)
        config = uvicorn.Config(
            page_app(queue, token, host=host),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _token(folder: Path) -> str:
    path = folder / TOKEN
    with contextlib.suppress(FileNotFoundError):
        if len(kept := path.read_text(encoding="ascii").strip()) >= 32:
            return kept
    path.unlink(missing_ok=True)
    token = secrets.token_urlsafe(32)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token)
    return token


def _write(queue: Queue, path: Path) -> None:
    from gristmill.people.label_studio import export

    written, left_out = export(queue.open_tasks(), path)
    for file, count in written.items():
        print(f"{_counted(count, 'task')} in {file}, the labelling interface in {file.with_suffix('.xml')}")
    if left_out:
        print(f"{_counted(left_out, 'task')} left out: Label Studio cannot show them. Use the page for these")


def _take_over(queue: Queue, path: Path) -> None:
    from gristmill.people.label_studio import note_of, read

    kept = again = 0
    refused = []
    for answer in read(path):
        try:
            note = note_of(queue.task(answer.key), answer.annotation)
            stored = queue.store(answer.by, answer.key, note)
        except BadInput as error:
            refused.append(f"task {answer.number}, {answer.by}: {error}")
            continue
        kept, again = kept + (not stored.again), again + stored.again
    print(f"{_counted(kept, 'answer')} taken over, {again:,} there before")
    if refused:
        more = f"\n... and {len(refused) - 10:,} more" if len(refused) > 10 else ""
        raise BadInput(f"{path}: {_counted(len(refused), 'answer')} refused\n" + "\n".join(refused[:10]) + more)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
