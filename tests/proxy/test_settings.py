"""Settings: read from the environment, refused with the variable's name and the way out."""

from __future__ import annotations

import pytest

from proxy.address import Address
from proxy.settings import Settings, SettingsError, load_settings, refuse_open_door


def test_defaults_are_the_contracts_and_loopback() -> None:
    settings = load_settings()
    assert settings.listen == (Address("127.0.0.1", 8080),)
    assert settings.lx_asr_model == "openai/whisper-tiny.en"
    assert settings.lx_device == "auto"
    assert settings.api_keys == ()


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_LISTEN", "127.0.0.1:8000, [::1]:5000,localhost:8080,")
    monkeypatch.setenv("SWITCHBOARD_API_KEYS", "one, two,")
    settings = load_settings()
    assert settings.listen == (Address("127.0.0.1", 8000), Address("::1", 5000), Address("localhost", 8080))
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]


def test_models_that_time_words_are_named_by_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERX_ALIGN_MODEL_EN", "/models/english")
    monkeypatch.setenv("WHISPERX_ALIGN_MODEL_YUE", "owner/cantonese")
    monkeypatch.setenv("DIARIZATION_MODEL", "pyannote/speaker-diarization-community-1")
    settings = load_settings()
    assert settings.align_models == {"en": "/models/english", "yue": "owner/cantonese"}
    assert settings.diarization_model == "pyannote/speaker-diarization-community-1"


@pytest.mark.parametrize("variable", ["WHISPERX_ALIGN_MODEL", "WHISPERX_ALIGN_MODEL_ZH_TW", "WHISPERX_ALIGN_EN"])
def test_a_model_that_times_words_names_its_language(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/models/english")
    with pytest.raises(SettingsError, match=f"{variable} is not a setting. Did you mean WHISPERX_ALIGN_MODEL_EN"):
        load_settings()


def test_keys_are_not_shown() -> None:
    assert "hush" not in repr(Settings.model_validate({"api_keys": "hush"}))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.7", "gpu-box"])
def test_beyond_loopback_without_keys_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("SWITCHBOARD_LISTEN", f"127.0.0.1:8080,{host}:8080")
    with pytest.raises(
        SettingsError, match=r":8080 is reachable .*API_KEYS is empty.*SWITCHBOARD_OPEN_WITHOUT_KEYS=true"
    ):
        refuse_open_door(load_settings(), keyed=False)
    refuse_open_door(load_settings(), keyed=True)


@pytest.mark.parametrize(
    ("variable", "value"), [("SWITCHBOARD_API_KEYS", "k"), ("SWITCHBOARD_OPEN_WITHOUT_KEYS", "true")]
)
def test_beyond_loopback_with_keys_or_in_so_many_words(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("SWITCHBOARD_LISTEN", "127.0.0.1:80,0.0.0.0:80")
    monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert not settings.loopback
    refuse_open_door(settings, keyed=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_loopback_needs_no_keys(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("SWITCHBOARD_LISTEN", f"{host}:0")
    settings = load_settings()
    assert settings.loopback
    refuse_open_door(settings, keyed=False)


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_LISTENS", "1")
    with pytest.raises(SettingsError, match=r"SWITCHBOARD_LISTENS is not a setting. Did you mean SWITCHBOARD_LISTEN\?"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SWITCHBOARD_LISTEN", "8080"),
        ("SWITCHBOARD_LISTEN", "127.0.0.1:70000"),
        ("SWITCHBOARD_LISTEN", "::1:8080"),
        ("SWITCHBOARD_LISTEN", "127.0.0.1:8080,127.0.0.1:8080"),
        ("SWITCHBOARD_LISTEN", ""),
        ("SWITCHBOARD_DRAIN_SECONDS", "-1"),
        ("SWITCHBOARD_MAX_BODY_MB", "inf"),
        ("SWITCHBOARD_MAX_AUDIO_MB", "nan"),
        ("SWITCHBOARD_MAX_QUEUED_MB", "1e308"),
        ("SWITCHBOARD_MEMORY_BUDGET_MB", "inf"),
        ("SWITCHBOARD_LOG_LEVEL", "loud"),
        ("LX_DEVICE", "tpu"),
        ("LX_MT_PROVIDER", "google"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"SECRET": "x" * 31}, "SWITCHBOARD_JWT_SECRET is shorter than 32 bytes"),
        ({"SECRET": ""}, "SWITCHBOARD_JWT_SECRET is shorter than 32 bytes"),
        ({"SECRET": "x" * 32, "JWKS": "keys.json"}, "are both set"),
        ({"JWKS": "http://login.example/jwks"}, "is not an https URL"),
        ({"JWKS": "ftp://127.0.0.1/jwks"}, "is not an https URL"),
        ({"JWKS": ""}, "SWITCHBOARD_JWT_JWKS"),
        ({"AUDIENCE": "us"}, "nothing to check tokens with"),
        ({"ISSUER": "us"}, "nothing to check tokens with"),
        ({"SECRET": "x" * 32, "ISSUER": ""}, "SWITCHBOARD_JWT_ISSUER"),
    ],
)
def test_tokens_that_could_not_be_trusted_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SWITCHBOARD_JWT_{name}", value)
    with pytest.raises(SettingsError, match=why) as caught:
        load_settings()
    assert "x" * 31 not in str(caught.value)


@pytest.mark.parametrize("keys", ["https://login.example/jwks", "http://127.0.0.1:8200/jwks", "keys.json"])
def test_keys_of_tokens_are_a_file_or_come_safely(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("SWITCHBOARD_JWT_JWKS", keys)
    assert load_settings().jwt_jwks == keys


@pytest.mark.parametrize("url", ["mysql://user:hush@host/name", "host/hush", "sqlite://hush", "postgresql:hush"])
def test_a_database_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", url)
    with pytest.raises(
        SettingsError, match=r"SWITCHBOARD_DATABASE_URL: .*postgresql://user:password@host/name"
    ) as told:
        load_settings()
    assert "hush" not in str(told.value)
