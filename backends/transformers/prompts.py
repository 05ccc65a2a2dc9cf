"""A request's prompts as text and as token ids: the chat template applied, or text as it stands; what cannot be is refused."""

from __future__ import annotations

import inspect

import jinja2

from backends.errors import Invalid, Unsupported
from backends.inprocess.turns import write
from backends.transformers.messages import conversation
from backends.transformers.model import Model, Tokenizer
from backends.types import Chat, Complete, Json

MOST_PROMPTS = 128
# What the template is given beside the caller's arguments, and what its renderer keeps for itself.
_RENDERER_NAMES = frozenset({"messages", "conversations", "self"})
_TEMPLATE_SWITCHES = frozenset({"add_generation_prompt", "continue_final_message", "documents"})


def refuse_unsupported(request: Chat | Complete) -> None:
    """Raise Unsupported for the first option that this engine cannot honour, Invalid for what makes no sense."""
    if isinstance(request, Complete):
        if len(request.prompts) > MOST_PROMPTS:
            raise Invalid(
                f"The request has {len(request.prompts)} prompts, and this engine takes at most {MOST_PROMPTS} at once; "
                "send the rest in requests of their own.",
                param="prompt",
            )
        if request.suffix:
            raise Unsupported(
                "suffix: this engine continues a prompt and cannot fill in; leave suffix out.", param="suffix"
            )
        if request.grammar is not None:
            raise Unsupported(
                "grammar: this engine does not constrain what is written; leave it out, or serve with vLLM.",
                param="grammar",
            )
        if request.echo and request.sampling.logprobs:
            raise Unsupported("echo with logprobs: logprobs are of new tokens only; leave echo out.", param="echo")
        return
    if request.tools and request.tool_choice != "none":
        raise Unsupported(
            "tools: this engine does not read tool calls out of the text; send tool_choice none, or serve with vLLM.",
            param="tools",
        )
    if request.tool_choice not in (None, "none", "auto"):
        raise Invalid("tool_choice asks for a tool, and the request has no tools.", param="tool_choice")
    kind = (request.response_format or {}).get("type")
    if kind not in (None, "text"):
        raise Unsupported(
            f"response_format {kind}: this engine does not constrain what is written; use text, or serve with vLLM.",
            param="response_format",
        )


def refuse_too_long(prompt: str | tuple[int, ...], model: Model, param: str) -> None:
    """Raise Invalid for a prompt that cannot fit into the context, whatever its tokens are: found without counting them."""
    unit, most = ("characters", model.context * model.longest) if isinstance(prompt, str) else ("tokens", model.context)
    if len(prompt) > most:
        raise Invalid(
            f"The prompt has {len(prompt)} {unit} and the model's context is {model.context} tokens, at most {most} {unit}; "
            "shorten the prompt.",
            param=param,
        )


def chat_text(request: Chat, model: Model) -> str:
    """The conversation as the model's chat template writes it, or in plain turns; ready for the assistant's turn.

    tools, there only under tool_choice none, go to the template as vLLM has it. Raises Invalid for what the template
    refuses and for more messages than the context has tokens, Unsupported for template arguments without a template.
    """
    tokenizer = model.tokenizer
    if len(request.messages) > model.context:
        raise Invalid(
            f"There are {len(request.messages)} messages and the model's context is {model.context} tokens; leave out some.",
            param="messages",
        )
    if tokenizer.chat_template is None:
        return _plain_turns(request, model)
    tools = request.tools or None
    args = {"add_generation_prompt": True, **_template_args(request, tokenizer)}
    try:
        knows_developer = "developer" in tokenizer.get_chat_template(tools=tools)
        messages = conversation(request.messages, knows_developer=knows_developer)
        return tokenizer.apply_chat_template(messages, tools, tokenize=False, **args)
    except jinja2.TemplateError as error:
        raise Invalid(f"The model's chat template refuses these messages: {error}", param="messages") from error
    except (TypeError, ValueError) as error:
        raise Invalid(
            "The model's chat template cannot make sense of these messages, tools or chat_template_kwargs.",
            param="messages",
        ) from error


def chat_tokens(text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of what chat_text wrote; a template has written the tokenizer's own, too. Raises Invalid for half characters."""
    return _encode(text, tokenizer, param="messages", whole=tokenizer.chat_template is None)


def completion_tokens(prompt: str | tuple[int, ...], tokenizer: Tokenizer, vocabulary: int) -> list[int]:
    """The prompt's tokens, with those that the tokenizer puts around text. Raises Invalid for none and for unknown ids."""
    tokens = _encode(prompt, tokenizer, param="prompt", whole=True) if isinstance(prompt, str) else list(prompt)
    if not tokens:
        raise Invalid("The prompt is empty; this model needs at least one token to continue.", param="prompt")
    stranger = next((token for token in tokens if not 0 <= token < vocabulary), None)
    if stranger is not None:
        raise Invalid(f"The prompt has token id {stranger}; this model's are 0 to {vocabulary - 1}.", param="prompt")
    return tokens


def _plain_turns(request: Chat, model: Model) -> str:
    if request.template_args:
        name = f"chat_template_kwargs.{next(iter(request.template_args))[:100]}"
        raise Unsupported("This model has no chat template that could read chat_template_kwargs.", param=name)
    messages = conversation(request.messages, knows_developer=True)
    turns = [(str(message["role"]), str(message["content"])) for message in messages]
    return write(turns, model.style, model.tokenizer.eos_token or "\n")


def _encode(text: str, tokenizer: Tokenizer, *, param: str, whole: bool) -> list[int]:
    """The text's tokens; whole: with those that the tokenizer puts around a text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            "The text has half of a surrogate pair (U+D800 to U+DFFF), which is no character.", param=param
        ) from error
    return tokenizer.encode(text, add_special_tokens=whole, verbose=False)


def _template_args(request: Chat, tokenizer: Tokenizer) -> dict[str, Json]:
    """The caller's own template arguments; those that steer the tokenizer instead of the template are refused."""
    reserved = _RENDERER_NAMES.union(inspect.signature(tokenizer.apply_chat_template).parameters) - _TEMPLATE_SWITCHES
    for name in request.template_args:
        if name in reserved:
            raise Unsupported(
                f"chat_template_kwargs.{name} is not the template's to read; leave it out.",
                param=f"chat_template_kwargs.{name}",
            )
    return dict(request.template_args)
