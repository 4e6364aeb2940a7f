import json
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sacreddnn.tracking.document import decoded, encodable
from sacreddnn.tracking.plain import capped, check_no_password, finite, flat, plain, redact, scalar, write_atomic


def test_plain_turns_numbers_of_other_libraries_into_python():
    value = {"a": np.float32(0.5), "b": torch.tensor([1, 2]), "c": (np.int64(3), {4}), 5: np.array([[True]])}
    assert plain(value) == {"a": 0.5, "b": [1, 2], "c": [3, [4]], "5": [[True]]}
    assert json.loads(json.dumps(plain(value))) == plain(value)


def test_plain_makes_any_text_encodable():
    assert plain("a\udc80b").encode("utf-8") == b"a?b"
    assert plain(object()).startswith("<object")


@pytest.mark.parametrize(
    "text",
    [
        "mongodb://me:hunter22@lab/runs",
        "mongodb+srv://me:hunt%40er22@lab/runs?tls=true",
        "mongodb://me:" + 30 * "hunter22/" + "@lab/runs",
        "redis://:hunter22@lab",
        "tracking.password=hunter22",
        "API_KEY: hunter22",
        "{'token': 'hunter22'}",
    ],
)
def test_redact(text):
    assert "hunt" not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "url",
    ["mongodb://me:pass@host", "mongodb://me:pa/ss@host", "mongodb://me:1/2@host/runs", "mongodb+srv://me:p@ss@host",
     "mongodb://me:@host", "me:pass@host:27017:runs", "mongodb://me@lab:pass@host", "mongodb://m/e:pass@host"],
)  # fmt: skip
def test_a_password_in_a_url_is_refused(url):
    with pytest.raises(ValueError, match="SACREDDNN_MONGO_PASSWORD") as raised:
        check_no_password(url)
    assert "pa" not in str(raised.value).replace("password", "")


@pytest.mark.parametrize(
    "url",
    ["runs", "host:27017:runs", "mongodb://host:27017/runs", "mongodb://me@a:1,b:2/runs?replicaSet=rs&w=majority",
     "mongodb://me@host:27017/runs?appName=a@b", "mongodb://host/runs?appName=a@b"],
)  # fmt: skip
def test_a_url_without_a_password_is_none(url):
    check_no_password(url)


def test_redact_leaves_the_rest():
    text = "python train.py with lenet lr=0.1 mongodb://me@lab/runs http://host:80/a@b"
    assert redact(text) == text


@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
@pytest.mark.parametrize("options", [True, False])  # False: in a diff of code
def test_a_session_token_in_an_option_of_a_url_is_masked_and_nothing_else_of_it(colon, options):
    url = "mongodb://lab/runs?authMechanismProperties=SERVICE_NAME:x,AWS_SESSION_TOKEN{}&tls=true"
    given = url.format(f"{colon}hunt/er22+AB==")
    assert redact(f"url = '{given}'", options=options) == f"url = '{url.format(f'{colon}***')}'"


def test_password_of_the_environment_is_masked(monkeypatch, tmp_path):
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "swordfish")
    assert redact("login swordfish failed") == "login *** failed"
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "a")
    assert redact("banana me:a@lab:27017, http://host:80/x") == "banana me:***@lab:27017, http://host:80/x"
    monkeypatch.delenv("SACREDDNN_MONGO_PASSWORD")
    (tmp_path / "password").write_text("marlin\n")
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD_FILE", str(tmp_path / "password"))
    assert plain({"a": ["marlin!"]}) == {"a": ["***!"]}


def test_a_key_named_password_is_masked():
    assert plain({"password": "x", "num_tokens": 3, "tokens": "y"}) == {
        "password": "***",
        "num_tokens": 3,
        "tokens": "y",
    }


def test_capped_says_how_much_was_cut():
    text = "a" * 50 + "b" * 100 + "c" * 50
    short = capped(text, 100)
    assert short.startswith("a" * 20 + "\n")
    assert short.endswith("\n" + "b" * 30 + "c" * 50)
    assert "[... 100 characters cut ...]" in short
    assert capped(text, 200) == text


def test_finite_and_flat():
    assert finite({"a": math.nan, "b": [math.inf, 1.0]}) == {"a": None, "b": [None, 1.0]}
    assert flat({"test": {"center": {"error": 9}}, "n": 1}) == {"test/center/error": 9, "n": 1}


@pytest.mark.parametrize(
    "value",
    [1, True, 1.0, np.float32(1), np.array([1]), torch.ones(1, 1), torch.ones((), requires_grad=True)],
)
def test_scalar(value):
    assert type(scalar("a", value)) is float
    assert scalar("a", value) == 1.0


@pytest.mark.parametrize("value", ["1", None, np.ones(2), torch.ones(2), 1j, [1.0], 10**400])
def test_scalar_refuses(value):
    with pytest.raises(ValueError, match=r"metric 'a/b': .* is not one real number"):
        scalar("a/b", value)


keys = st.text(st.characters(codec="utf-8", exclude_characters="\0．＄"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_keys_survive_the_database(value):
    encoded = encodable(value)
    assert decoded(encoded) == value

    def check(item):
        if isinstance(item, dict):
            assert not any("." in key or key.startswith("$") for key in item)
            [check(one) for one in item.values()]

    check(encoded)


def test_huge_integers_become_floats():
    assert encodable({"seed": 2**70}) == {"seed": float(2**70)}


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
