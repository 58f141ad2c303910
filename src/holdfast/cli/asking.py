"""`ask` and `tail`: an answer that is asked for, and any that is there already.

Strategy: both make an answer of the client's and give it to `following`. One client does it
all: it fails at once where no server is, and comes back to one that was there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator

import click

from holdfast import client, errors
from holdfast.cli import following, listing, output, running, target

MAX_PROMPT = 16 << 20
"""Bytes that are read from stdin; a server takes less unless it is told otherwise."""


@click.command(
    cls=output.Command,
    epilog='  holdfast ask "What is a holdfast?"\n'
    '  holdfast ask -m openai/gpt-5 "Why is the sea salt?" > answer.txt\n'
    '  echo "Translate: kelp" | holdfast ask --system "Answer in French."\n'
    '  holdfast ask --json "Hello" | jq -r ".data.delta // empty"\n',
)
@click.argument("prompt", required=False)
@click.option("-m", "--model", default="demo", show_default=True, help="Or provider/model.")
@click.option("--system", help="A system message.")
@following.options
@target.options
def ask(
    prompt: str | None,
    model: str,
    system: str | None,
    target: target.Target,
    json: bool,
    reasoning: bool,
    quiet: bool,
) -> None:
    """Ask a running server and print the answer as it comes.

    The prompt is read from stdin where it is `-`, or left out and stdin is no terminal.
    """
    messages = [{"role": "user", "content": _prompt(prompt)}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    how = following.How(json, reasoning, quiet)
    running.run(_ask(target, model, messages, how))


def _prompt(given: str | None) -> str:
    """Raises UsageError, which is exit code 2, where there is none."""
    if given not in (None, "-"):
        return str(given)
    if sys.stdin is None or (given is None and sys.stdin.isatty()):
        raise click.UsageError("Give a PROMPT, or pipe one into it.")
    data = sys.stdin.buffer.read(MAX_PROMPT + 1)
    if len(data) > MAX_PROMPT:
        raise click.UsageError(f"The prompt on stdin is over {MAX_PROMPT} bytes.")
    try:
        text = data.decode()
    except ValueError:
        raise click.UsageError("The prompt on stdin is not UTF-8.") from None
    if not text.strip():
        raise click.UsageError("The prompt on stdin is empty.")
    return text


async def _ask(
    target: target.Target, model: str, messages: list[dict[str, str]], how: following.How
) -> None:
    begun = time.monotonic()
    async with target.client() as asked, asked.stream(model=model, messages=messages) as answer:
        with _telling_what_goes_on(target, answer, how):
            exact = await following.follow(answer, how)
    if not how.quiet:
        following.summarise(answer, begun)
    if not exact and not output.is_terminal(sys.stdout):
        raise errors.Rewound("The output holds void text before the answer.")


@contextlib.contextmanager
def _telling_what_goes_on(
    target: target.Target, answer: client.AnswerStream, how: following.How
) -> Iterator[None]:
    """Ctrl-C, or a lost server, ends the reader alone: says where the answer can be read on."""
    try:
        yield
    except (asyncio.CancelledError, errors.ClientError) as error:
        over = isinstance(error, errors.AnswerFailed | errors.RequestRefused)
        if not (over or how.quiet):
            reads_on = output.one_line(target.tail(answer.stream_id))
            output.note(f"[the answer goes on: {reads_on}]\n")
        raise


@click.command(
    cls=output.Command,
    epilog="  holdfast tail 4bT0qkZ3S0vJ8M1xYw2hRc5dPz\n"
    "  holdfast tail http://127.0.0.1:8080/v1/streams/4bT0qkZ3S0vJ8M1xYw2hRc5dPz\n"
    "  holdfast tail --after 123567-42 4bT0qkZ3S0vJ8M1xYw2hRc5dPz\n"
    "  holdfast tail --json 4bT0qkZ3S0vJ8M1xYw2hRc5dPz | jq -c .data\n",
)
@click.argument("stream")
@click.option("--after", help="Leave out the events up to this position (an SSE id).")
@following.options
@target.options
def tail(
    stream: str,
    after: str | None,
    target: target.Target,
    json: bool,
    reasoning: bool,
    quiet: bool,
) -> None:
    """Follow a stream, given by its id or URL, from its start to its end.

    The text goes to stdout, anything else to stderr. A lost connection is made again. The key
    of HOLDFAST_API_KEY is for the server of --url and goes to no other.
    """
    how = following.How(json, reasoning, quiet)
    running.run(_tail(target.of(stream), stream, after, how))


async def _tail(target: target.Target, stream: str, after: str | None, how: following.How) -> None:
    begun = time.monotonic()
    async with target.client() as reader:
        async with reader.resume(stream, after) as answer:
            await following.follow(answer, how)
        if answer.so_far.complete is None:
            # Nothing was left behind `--after`, the end neither.
            following.raise_failed(listing.read(await reader.get(stream), listing.Snapshot).error)
    if not how.quiet:
        following.summarise(answer, begun)
