"""Models on several engines, and models that step in, as the configuration file says them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import ModelSpec
from proxy.registry.config import ConfigError, read_registry
from proxy.registry.models import ModelEntry, Target
from proxy.settings import Settings

ENGINES = """\
[[engines]]
name = "a"
kind = "vllm"
url = "http://127.0.0.1:1"
[[engines]]
name = "b"
kind = "tgi"
url = "http://127.0.0.1:2"
"""


def read(tmp_path: Path, models: str) -> tuple[ModelEntry, ...]:
    """The models of a file with two engines elsewhere."""
    path = tmp_path / "switchboard.toml"
    path.write_text(ENGINES + models)
    return read_registry(path, Settings(data=tmp_path)).models


def refused(tmp_path: Path, models: str) -> str:
    """Why they are refused, without the directory."""
    with pytest.raises(ConfigError) as error:
        read(tmp_path, models)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_a_model_on_several_engines_has_a_target_for_each(tmp_path: Path) -> None:
    (model,) = read(
        tmp_path,
        '[[models]]\nname = "m"\nserved_as = "x"\n'
        'engines = [{name = "a", weight = 9}, {name = "b", weight = 1, served_as = "y"}]\n',
    )

    assert model.engine == "a"
    assert model.targets == (
        Target(engine="a", spec=ModelSpec(source="x", name="m"), weight=9),
        Target(engine="b", spec=ModelSpec(source="y", name="m"), weight=1),
    )
    assert model.served_by == model.targets


def test_one_engine_in_the_list_is_one_engine(tmp_path: Path) -> None:
    (model,) = read(tmp_path, '[[models]]\nname = "m"\nengines = [{name = "b", served_as = "y"}]\n')

    assert (model.engine, model.spec.source, model.targets) == ("b", "y", ())


def test_the_policy_is_the_models_own_or_that_of_all(tmp_path: Path) -> None:
    models = read(
        tmp_path,
        '[routing]\npolicy = "round_robin"\n[[models]]\nname = "m"\nengine = "a"\n'
        '[[models]]\nname = "n"\nengine = "a"\npolicy = "prefix_aware"\n',
    )

    assert [model.policy for model in models] == ["round_robin", "prefix_aware"]
    assert read(tmp_path, '[[models]]\nname = "m"\nengine = "a"\n')[0].policy == "balanced"


def test_fallbacks_may_be_aliases_and_models_of_this_process(tmp_path: Path) -> None:
    models = read(
        tmp_path,
        '[[models]]\nname = "m"\nengine = "a"\nfallbacks = ["other", "tiny"]\n'
        '[[models]]\nname = "n"\nengine = "b"\naliases = ["other"]\nfallbacks = ["tiny"]\n'
        '[[models]]\nname = "tiny"\nengine = "transformers"\n',
    )

    assert models[0].fallbacks == ("other", "tiny")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ('name = "m"\nengines = [{name = "c"}]\n', "models.0.engines: there is no engine named 'c' (known: a, b,"),
        ('name = "m"\nengine = "c"\n', "models.0.engine: there is no engine named 'c'"),
        ('name = "m"\n', "models.0: give the `engine` that serves it, or `engines`"),
        ('name = "m"\nengine = "a"\nengines = [{name = "b"}]\n', "models.0: give the `engine` that serves it, or"),
        ('name = "m"\nengines = [{name = "a"}, {name = "a"}]\n', "models.0.engines: 'a' is named twice"),
        (
            'name = "m"\nengines = [{name = "a"}, {name = "transformers"}]\n',
            "models.0.engines: 'transformers' runs in this process: it serves a model alone, or steps in",
        ),
        (
            'name = "m"\nengines = [{name = "a", weight = 1}, {name = "b"}]\n',
            "models.0.engines: 'b' has no `weight`, and others of its priority have",
        ),
        ('name = "m"\nengines = [{name = "a", weight = 0}]\n', "models.0.engines.0.weight: Input should be greater"),
        (
            'name = "m"\nengines = [{name = "a", share = 1}]\n',
            "models.0.engines.0.share: Extra inputs are not permitted",
        ),
        ('name = "m"\nengine = "a"\npolicy = "best"\n', "models.0.policy: Input should be 'balanced', "),
        ('name = "m"\nengine = "transformers"\npolicy = "balanced"\n', "models.0.policy: is for models on engines"),
        ('name = "m"\nengines = [{name = "transformers", served_as = "x"}]\n', "models.0.served_as: is for remote"),
        ('name = "m"\nengine = "a"\nfallbacks = ["n"]\n', "models.0.fallbacks: there is no model named 'n'"),
        (
            'name = "m"\nengine = "a"\nfallbacks = ["m"]\n',
            "models.0.fallbacks: the models step in for one another in a",
        ),
        (
            'name = "m"\nengine = "a"\nfallbacks = ["w"]\n[[models]]\nname = "w"\nengine = "whisper"\n',
            "models.0.fallbacks: 'w' does transcription, and 'm' does text",
        ),
        (
            'name = "m"\nengine = "a"\nfallbacks = ["n"]\n[[models]]\nname = "n"\nengine = "b"\naliases = ["*"]\n'
            'fallbacks = ["m"]\n',
            "in a circle: m -> n -> m",
        ),
        ('name = "m"\nengine = "a"\nfallbacks = ["*"]\n', "models.0.fallbacks: there is no model named '*'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(tmp_path: Path, models: str, says: str) -> None:
    message = refused(tmp_path, f"[[models]]\n{models}")

    assert message.startswith("switchboard.toml:")
    assert says in message
    assert int(message.split(":")[1]) > len(ENGINES.splitlines())


def test_the_routing_table_is_checked(tmp_path: Path) -> None:
    assert "routing.prefix_mb: Input should be greater than 0" in refused(tmp_path, "[routing]\nprefix_mb = 0\n")
    assert "routing.policies: Extra inputs" in refused(tmp_path, '[routing]\npolicies = "x"\n')
