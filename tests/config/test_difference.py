"""What a reload changes is told key by key, and no secret with it."""

from __future__ import annotations

from scpd.config import difference, load


def loaded(tmp_path, text):
    path = tmp_path / "scpd.yaml"
    path.write_text(text)
    return load(path)


def told(tmp_path, before, after):
    return difference(loaded(tmp_path, before), loaded(tmp_path, after))


def test_nothing_for_the_same_said_otherwise(tmp_path):
    assert told(tmp_path, "limits: {associations: 200}", "# all as it is by default\nae_title: SCPD\n") == []


def test_a_key_with_both_values(tmp_path):
    (line,) = told(tmp_path, "limits: {associations: 5}", "limits: {associations: 6}")
    assert line == "servers[SCPD].limits.associations: 5 → 6"


def test_what_comes_and_goes(tmp_path):
    assert told(tmp_path, "ae_title: A", "ae_title: A\nadmin: {bind: '127.0.0.1:1'}")[0].startswith("admin")


def test_another_secret_is_told_and_neither_is_repeated(tmp_path):
    before, after = ("admin: {token: " + letter * 20 + "}" for letter in "ab")
    (line,) = told(tmp_path, before, after)
    assert line == "admin.token: ********, which is another by now"


def test_another_content_of_the_same_secret_file_is_told(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("a" * 20)
    path = tmp_path / "scpd.yaml"
    path.write_text(f"admin: {{token: 'file:{secret}'}}")
    before = load(path)
    secret.write_text("b" * 20)
    (line,) = difference(before, load(path))
    assert line == f"admin.token: file:{secret}, which is another by now"


def test_a_secret_in_a_list_is_told_with_its_list(tmp_path):
    text = "hooks: [{{kind: webhook, name: a, on: instance, url: 'http://127.0.0.1:1/?t={0}', secret: {0}}}]"
    (line,) = told(tmp_path, text.format("a" * 20), text.format("b" * 20))
    assert line.startswith("servers[SCPD].hooks: [")
    assert line.endswith("which is another by now")
    assert "aaaa" not in line
    assert "bbbb" not in line


def test_a_server_whose_title_comes_from_a_file(tmp_path):
    """It has no name of its own in what is shown."""
    title = tmp_path / "title"
    title.write_text("ARCHIVE")
    text = f"ae_title: file:{title}\nlimits: {{associations: "
    (line,) = told(tmp_path, text + "5}", text + "6}")
    assert line == "servers[ARCHIVE].limits.associations: 5 → 6"
