"""The effective configuration: it says everything, loads as itself, and shows no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.config import Config, ServerConfig, effective, load, schema
from scpd.config.kinds import MASK
from scpd.errors import ConfigurationError

EXAMPLES = Path(__file__).parents[2] / "config"


def again(config, tmp_path):
    path = tmp_path / "effective.yaml"
    path.write_text(effective(config))
    return load(path, {})


@pytest.mark.parametrize(
    "path", [None, *sorted(EXAMPLES.glob("*.yaml"))], ids=lambda path: path.name if path else "default"
)
def test_the_effective_configuration_loads_as_itself(path, tmp_path):
    config = load(path, {})
    loaded = again(config, tmp_path)
    assert effective(loaded) == effective(config)
    assert loaded == config or MASK in effective(config), "a secret that stands in the file itself is not shown"


def test_every_key_stands_in_it_and_groups_stay_groups():
    (server,) = yaml.safe_load(effective(load(EXAMPLES / "scpd.yaml", {})))["servers"]
    assert set(server) == set(ServerConfig.model_fields)
    assert server["limits"]["pdu_length"] == "256KiB"
    assert server["limits"]["minimum_rate"] == 512
    assert server["timeouts"]["idle"] == "10m"
    assert server["contexts"] == [
        {"sop_classes": "verification", "transfer_syntaxes": "default", "scu_role": None, "scp_role": None},
        {"sop_classes": "storage", "transfer_syntaxes": "all", "scu_role": None, "scp_role": None},
    ]


def test_what_a_hook_sends_in_its_address_is_not_shown_and_still_sent(tmp_path):
    path = tmp_path / "scpd.yaml"
    hook = {
        "kind": "webhook",
        "name": "a",
        "on": "study",
        "url": "https://x.example/a?token=S3CRET",
        "secret": "S3CRET",
    }
    path.write_text(yaml.safe_dump({"hooks": [hook]}))
    config = load(path, {})
    (read,) = config.servers[0].hooks
    assert read.url == hook["url"]
    assert yaml.safe_load(effective(config))["servers"][0]["hooks"][0]["url"] == f"https://x.example/a?{MASK}"
    assert "S3CRET" not in effective(config) + repr(config)
    assert effective(again(config, tmp_path)) == effective(config)


@pytest.mark.parametrize(
    "url",
    [
        "https://u:S3CRET@x.example/",
        "ftp://u:S3CRET@x.example/",
        "https://x.example/?S3CRET#a",
        "https://[x?S3CRET",
        "https://x.example/?S3CRET\n",
    ],
)
def test_an_address_that_is_refused_is_not_repeated(tmp_path, url):
    path = tmp_path / "scpd.yaml"
    hook = {"kind": "webhook", "name": "a", "on": "study", "url": url, "secret": "b"}
    path.write_text(yaml.safe_dump({"hooks": [hook]}))
    with pytest.raises(ConfigurationError) as error:
        load(path, {})
    assert "hooks[0].url: " in str(error.value)
    assert "S3CRET" not in str(error.value)


SECRETS = """\
ae_title: file:{0}/title
contexts: ["file:{0}/group", {{sop_classes: ["file:{0}/group"], transfer_syntaxes: [default, "file:{0}/syntax"]}}]
servers:
  - {{bind: "127.0.0.1:1"}}
  - {{bind: "127.0.0.1:2", storage: {{directory: "file:{0}/title"}}}}
logging: {{level: "file:{0}/level"}}
"""


def test_a_value_from_a_file_is_shown_as_its_reference(tmp_path):
    for name, content in {"title": "S3CRET", "group": "storage", "syntax": "JPEG2000", "level": "debug"}.items():
        (tmp_path / name).write_text(content)
    path = tmp_path / "scpd.yaml"
    path.write_text(SECRETS.format(tmp_path))
    config = load(path, {})
    shown = yaml.safe_load(effective(config))
    assert shown["servers"][1]["ae_title"] == f"file:{tmp_path}/title"
    assert shown["servers"][1]["storage"]["directory"] == f"file:{tmp_path}/title"
    assert shown["servers"][0]["contexts"][0] == f"file:{tmp_path}/group"
    assert shown["servers"][0]["contexts"][1]["sop_classes"] == f"file:{tmp_path}/group"
    assert shown["servers"][0]["contexts"][1]["transfer_syntaxes"] == ["default", f"file:{tmp_path}/syntax"]
    assert shown["logging"]["level"] == f"file:{tmp_path}/level"
    assert "S3CRET" not in effective(config)
    assert again(config, tmp_path) == config


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40).filter(
    lambda text: text.strip() and not text.startswith("file:") and text.isprintable()
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=TEXTS
    | st.sampled_from(["5", "true", "null", "~", "no", "${A}", "$${A}", "a: b", "# c", "- d", "'", '"', "1e3"])
)
def test_any_text_comes_back_as_it_was(tmp_path, name):
    config = Config(servers=(ServerConfig(name=name),))
    assert again(config, tmp_path) == config


# -- the schema


def keys_of(part):
    return [(key, each) for key, each in part["properties"].items()]


def every_key():
    found = schema()
    models = [found, *(each for each in found["$defs"].values() if "properties" in each)]
    return [pair for model in models for pair in keys_of(model)]


def test_the_schema_in_the_repository_is_the_one_of_the_models():
    """Stale? ``.venv/bin/scpd schema > config/schema.json`` writes it anew."""
    # In a process of its own: pynetdicom, where a test imports it, adds to pydicom's dictionary.
    printed = subprocess.run([sys.executable, "-m", "scpd", "schema"], capture_output=True, check=True).stdout
    assert json.loads((EXAMPLES / "schema.json").read_text()) == json.loads(printed), (
        "config/schema.json is stale; run: python -m scpd schema > config/schema.json"
    )


def test_every_key_is_described_in_one_sentence():
    for key, each in every_key():
        assert each["description"].endswith("."), key
        assert each["description"].count(". ") == 0, key


def test_every_default_is_said_in_words_and_in_the_units_of_a_file():
    for key, each in every_key():
        if isinstance(each.get("default"), str | int) and not isinstance(each["default"], bool):
            assert f"default {each['default']}" in each["description"] or "scpd-data" in each["description"], key


def test_the_schema_is_of_the_file_with_the_keys_of_a_server_at_its_top():
    found = schema()
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(found["properties"]) == {
        *ServerConfig.model_fields,
        "servers",
        "peers",
        "audit",
        "admin",
        "queue",
        "logging",
    }
    assert found["additionalProperties"] is False
    assert found["properties"]["servers"]["items"] == {"$ref": "#/$defs/ServerConfig"}


def test_every_reference_of_the_schema_leads_somewhere():
    found = schema()
    text = json.dumps(found)
    for part in text.split('"$ref": "#/$defs/')[1:]:
        assert part.split('"')[0] in found["$defs"]
