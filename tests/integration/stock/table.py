"""Where the vendors' own clients and our translators read the same, recording by recording.

Strategy: a row for each recording, by `KIND/NAME`: nothing in it where both agree in every
word, else the words in which they differ, all of them, and why. Where they differ, what we read
is what `NAME.expected.json` says, which other tests hold us to. A row is a statement about one
release of a client: when its pin changes and a row with it, the row is what tells.

`OURS` are the recordings of tests/fixtures; `SHARED` those of the large set, which is not part
of this repository and may be absent.
"""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True):
    """`words`, separated by commas, differ, and `why`; both empty where all agree."""

    words: str = ""
    why: str = ""

    @property
    def differing(self) -> frozenset[str]:
        return frozenset(word.strip() for word in self.words.split(",") if word.strip())


Table = dict[str, Row]


def _agree(kind: str, names: str) -> Table:
    return {f"{kind}/{name}": Row() for name in names.split()}


# What the openai client does with chat completions

LISTS = (
    "content as a list of parts: the client keeps the last text or list, we join the parts and "
    "take thinking parts for reasoning"
)
OBJECT = (
    "the client skips chunks whose `object` is not chat.completion.chunk, which some servers "
    "leave out or name otherwise"
)
DETAILS_RAISE = "the client cannot join `reasoning_details` whose entries have no index"
DETAILS_ALONE = "the reasoning is in `reasoning_details` alone, which the client does not read"
LAST_USAGE = "the client keeps the usage of the last chunk alone, and that one has none"
WITH_ERROR = "the client raises before it takes what else is in the chunk: here the usage"
CHOICE_USAGE = "the usage is within the choice, where the client does not look"
REASON = "to the client a finish reason that tells an error is one like any other"
HIDDEN = "the client looks for `error` at the top alone"
FLAT = "an error with no `error` in it is a chunk without choices to the client"
BARE = "the client drops lines that are no field of an event stream, and so the error in them"
NO_JSON = "data that are no JSON: an error of our tree, and an exception of the parser there"
LENIENT = "the client checks no types: nothing is raised, or what Python raises where it is used"
UNFINISHED = "an event without its blank line at a clean end: the client drops it, we take it"
OTHER_EVENTS = "events of other names whose data are no JSON: the client parses them, we do not"
CONTROL = "control characters within a JSON text: the client's parser refuses them, we take them"
HALVES = "the client hands on half a surrogate pair; ours is valid Unicode, with U+FFFD if alone"
BYTES = "bytes that are no UTF-8: the client stops, we replace them as the SSE standard says"
NO_INDEX = "tool calls without an index: the client cannot add to a call"
ONE_INDEX = "two whole tool calls at one index: the client adds them together"

# What the openai client does with the Responses API

ORDER = "the client wants response.created first, and an answer fetched again begins after it"
FIRST_EVENT = "the client wants response.created first, and here another event comes first"
ITEMS = "the client wants every item announced, and done or repeated at the end; here some is not"
INDEXES = "the client wants one output index an item; this server repeats it or leaves it out"
IDENTITY = "the client wants ids that stay; this server gives an item, or a response, another later"
MARKER = "an end marker of another API before the answer's end: the client takes it for the end"
UNKNOWN_END = "the client does not know response.cancelled, and reads nothing of it"

# What the anthropic client does

CUT_ARGUMENTS = "the client completes arguments that were cut; ours are the text as it came"
NAMED = "the client takes events by their name and skips data that have none, errors too"
TYPED = "the client takes a type from the data alone, and skips what has it in its name alone"
ANNOUNCED = "the client looks for the block of a delta by its place: without one, IndexError"
ERROR_LIST = "the client looks into an error's data only where they are an object"
AFTER_STOP = "the client reads on after message_stop, and nothing of a second message_start"

# What the google-genai client does; it accumulates nothing

NOT_LAST = "STOP may stand in frames that are not the last, so ours waits for a clean end with it"
ARGUMENT_PIECES = "the client hands on the pieces of arguments; we join them to one call"
FIELDS = "the client takes every line but data for JSON: comments and named events are an error"
NO_MARKER = "the status may change until the end marker, so ours waits for it with the reason"
STEPS = "the client raises at steps and parts of shapes that it does not know; we pass them by"
FIRST_FIELD = "the client knows an error by the first field of its chunk alone"
LISTED = "an error within a list, as a whole body has it, is an empty chunk to the client"

OURS: Table = {
    **_agree(
        "compatible",
        "alibaba-tools azure-long deepseek-unicode groq-error-event openrouter-error-429 "
        "perplexity-sources xai-reasoning",
    ),
    "compatible/mistral-parts": Row("text, reasoning", LISTS),
    "compatible/openrouter-error-after-finish": Row("usage", WITH_ERROR),
    "compatible/snowflake-no-finish": Row("text, reasoning, usage, error", DETAILS_RAISE),
    **_agree(
        "openai-chat",
        "citations content-filter done-without-finish error-event error-flat logprobs "
        "other-finish prompt-filter-first reasoning-content reasoning-details refusal "
        "tools-incremental unfinished-last-event unicode",
    ),
    "openai-chat/content-parts": Row("text, reasoning", LISTS),
    "openai-chat/crlf-comments": Row("finish, error", OTHER_EVENTS),
    "openai-chat/error-bare-json": Row("error", BARE),
    "openai-chat/error-bare-list": Row("error", BARE),
    "openai-chat/error-event-text": Row("error", NO_JSON),
    "openai-chat/error-finish-reason": Row("finish, error", REASON),
    "openai-chat/error-in-choice": Row("finish, error", HIDDEN),
    "openai-chat/error-in-chunk": Row("usage", WITH_ERROR),
    "openai-chat/error-in-groq-field": Row("error", HIDDEN),
    "openai-chat/error-list-event": Row("error", LENIENT),
    "openai-chat/error-object": Row("error", FLAT),
    "openai-chat/lenient": Row("text, finish, error", BYTES),
    "openai-chat/malformed-bare-cut": Row("error", BARE),
    "openai-chat/malformed-bare-json": Row("error", BARE),
    "openai-chat/malformed-json": Row("error", NO_JSON),
    "openai-chat/malformed-type": Row("error", LENIENT),
    "openai-chat/malformed-value": Row("error", LENIENT),
    "openai-chat/no-final-blank-line": Row("text, finish", UNFINISHED),
    "openai-chat/reasoning-details-only": Row("text, reasoning, usage, error", DETAILS_RAISE),
    "openai-chat/split-surrogates": Row("text", HALVES),
    "openai-chat/text": Row("usage", OBJECT),
    "openai-chat/three-choices": Row("usage", OBJECT),
    "openai-chat/tools-no-index": Row("tool calls, finish, error", NO_INDEX),
    "openai-chat/tools-whole": Row("tool calls", ONE_INDEX),
    "openai-chat/usage-in-choice-no-done": Row("usage", CHOICE_USAGE),
    **_agree(
        "openai-responses",
        "crlf-comments-done custom-tool error-failed error-failed-without-words error-flat "
        "error-nested error-untyped hosted-shell incomplete-as-completed incomplete-filter "
        "incomplete-length incomplete-other local-shell reasoning-summary reasoning-twice "
        "refusal rest-in-final split-surrogates text unnamed-events web-search",
    ),
    "openai-responses/done-only": Row("text, reasoning, finish, usage, error", ITEMS),
    "openai-responses/error-bare-json": Row("error", BARE),
    "openai-responses/error-cancelled": Row("usage, error", UNKNOWN_END),
    "openai-responses/error-done-without-end": Row("error", MARKER),
    "openai-responses/error-event-text": Row("error", NO_JSON),
    "openai-responses/final-only": Row(
        "text, reasoning, refusal, tool calls, finish, usage, error", FIRST_EVENT
    ),
    "openai-responses/lone-surrogates": Row(
        "text, tool calls, finish, usage, error", f"{HALVES}; {ITEMS}"
    ),
    "openai-responses/malformed-delta": Row("error", LENIENT),
    "openai-responses/malformed-json": Row("error", NO_JSON),
    "openai-responses/malformed-list": Row("error", LENIENT),
    "openai-responses/no-final-blank-line": Row("finish, usage", UNFINISHED),
    "openai-responses/rest-in-done": Row("text, finish, usage, error", ITEMS),
    "openai-responses/same-index": Row("text, finish, usage, error", INDEXES),
    "openai-responses/tools-parallel": Row("finish, usage, error", IDENTITY),
    "openai-responses/tools-without-deltas": Row("tool calls, finish, usage, error", ITEMS),
    "openai-responses/unknown": Row("text, finish, usage, error", FIRST_EVENT),
    "openai-responses/untyped-data": Row("text, finish, usage, error", FIRST_EVENT),
    "openai-responses/without-indexes": Row("text, tool calls, finish, usage, error", INDEXES),
    **_agree(
        "anthropic",
        "compaction-fallback error-after-finish error-first error-overloaded error-text "
        "error-too-large mcp no-finish pause-turn refusal repeated-starts stop-sequence text "
        "text-lines thinking thinking-omitted tools tools-end-turn web-search window-exceeded",
    ),
    "anthropic/data-lines-alone": Row("text, finish, usage", NAMED),
    "anthropic/error-in-a-delta": Row("error", ANNOUNCED),
    "anthropic/error-list": Row("error", ERROR_LIST),
    "anthropic/error-no-event-name": Row("usage, error", NAMED),
    "anthropic/lenient": Row("text, finish, usage, error", CONTROL),
    "anthropic/malformed-call": Row("error", ANNOUNCED),
    "anthropic/malformed-field": Row("error", ANNOUNCED),
    "anthropic/malformed-json": Row("error", NO_JSON),
    "anthropic/max-tokens-in-a-tool": Row("tool calls", CUT_ARGUMENTS),
    "anthropic/refused-before-arguments": Row("tool calls", CUT_ARGUMENTS),
    "anthropic/spliced": Row("text, usage", AFTER_STOP),
    "anthropic/split-surrogates": Row("text", HALVES),
    "anthropic/types-in-names-alone": Row("text, finish, usage", TYPED),
    "anthropic/unannounced": Row("text, reasoning, finish, usage, error", ANNOUNCED),
    "anthropic/unknown": Row("text, finish, usage, error", OTHER_EVENTS),
    **_agree(
        "google",
        "blocked-midway blocked-prompt code-execution error-cancelled error-in-frame "
        "feedback-without-block grounding max-tokens media-and-server-tools no-final-blank-line "
        "no-finish other-finish recitation signed-text stop-in-every-frame text thoughts tools "
        "two-candidates unspecified",
    ),
    "google/broken-call": Row("finish, error", REASON),
    "google/crlf-and-comments": Row("error", FIELDS),
    "google/error-bare-after-stop": Row("finish", NOT_LAST),
    "google/error-in-list": Row("error", LISTED),
    "google/error-with-answer": Row("finish, error", FIRST_FIELD),
    "google/lenient": Row("text, finish, usage, error", f"{HALVES}; {CONTROL}"),
    "google/malformed-json": Row("error", NO_JSON),
    "google/malformed-type": Row("error", LENIENT),
    "google/missing-signature": Row("finish, error", REASON),
    "google/stop-then-more": Row("finish", NOT_LAST),
    "google/tools-cut-short": Row("tool calls", ARGUMENT_PIECES),
    "google/tools-partial": Row("tool calls", ARGUMENT_PIECES),
    **_agree(
        "google-interactions",
        "cancelled citations-and-media cut done-without-status error-event error-unnamed failed "
        "failed-with-error incomplete marker-without-completed own-tools started-full "
        "status-then-more text thought tools unknown-status",
    ),
    "google-interactions/error-bare-json": Row("error", BARE),
    "google-interactions/error-event-of-text": Row("error", NO_JSON),
    "google-interactions/lenient": Row("text, finish, usage, error", f"{HALVES}; {CONTROL}"),
    "google-interactions/malformed": Row("error", NO_JSON),
    "google-interactions/no-marker-at-all": Row("finish", NO_MARKER),
    "google-interactions/unknown-things": Row("tool calls, finish, error", STEPS),
}

SHARED: Table = {
    **_agree(
        "compatible",
        "alibaba-tool crusoe-llama deepseek-unicode groq-event-error-mid-reasoning "
        "mistral-incremental-tool ollama-unicode openrouter-reasoning-details-tool xai-reasoning "
        "zai-reasoning-long",
    ),
    "compatible/mistral-content-parts-thinking": Row(
        "text, reasoning", f"{LISTS}; 12 * 12 is 144, the client says 44"
    ),
    "compatible/moonshot-kimi": Row("text, reasoning, finish, usage", OBJECT),
    "compatible/openrouter-error-in-chunk": Row("usage", WITH_ERROR),
    "compatible/perplexity-citations": Row("finish", OBJECT),
    "compatible/snowflake-logprobs-unicode": Row("reasoning", DETAILS_ALONE),
    **_agree(
        "openai-chat",
        "azure-astral-empty-choices azure-gpt5-long-unicode gpt4-short-usage length-truncated "
        "n3-choices no-usage obfuscation-text refusal tool-basic tool-call",
    ),
    "openai-chat/gpt5-moderation": Row("usage", LAST_USAGE),
    **_agree(
        "openai-responses",
        "background-original-full bedrock-encrypted-reasoning-function "
        "deepseek-reasoning-function failed-insufficient-quota function-call image-generation "
        "local-shell-call openrouter-raw-cot-comments-done text web-search-annotations",
    ),
    "openai-responses/background-resumed-after-seq0": Row("text, finish, usage, error", ORDER),
    "openai-responses/copilot-id-rotation": Row("text, reasoning, finish, usage, error", IDENTITY),
    **_agree(
        "anthropic",
        "astral-emoji citations code-execution-thinking compaction duplicate-message-start "
        "mcp-tool midstream-fallback-continuation midstream-refusal-in-thinking "
        "redacted-thinking text-then-tool thinking-signature",
    ),
    "anthropic/max-tokens-partial-json-no-final-blank-line": Row("tool calls", CUT_ARGUMENTS),
    **_agree(
        "google",
        "after-tool-text code-execution empty-content finish-message-no-final-blank-line "
        "function-call-signature grounding-unicode prompt-blocked "
        "quotes-escaped-no-final-blank-line recitation-block text thought-summary utf8",
    ),
    "google/midstream-bare-json-error": Row("finish", NOT_LAST),
    "google/partial-args": Row("tool calls", ARGUMENT_PIECES),
}
