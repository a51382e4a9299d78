"""Views of one's own: named by what they trace to, alone or among others, and refused where they fail."""

import re

import pytest

from pretrain.config.fields import ConfigError
from tests.experiments import one_line
from tests.small_sweep import of_kind, path
from tests.test_readme_of_pretrain import README

SOURCE = re.findall(r"### A view\n.*?^```python\n(.*?)^```$", README, flags=re.M | re.S)[0]


@pytest.fixture
def word(tmp_path):
    """Returns a function from replaced texts to the word of a view in a file with these."""

    def make(*changed, folder="here"):
        source = SOURCE
        for old, new in changed:
            assert old in source
            source = source.replace(old, new)
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "my_views.py").write_text(source)
        return f"{tmp_path / folder}/my_views.py:tilted"

    return make


@pytest.fixture
def ids(planned, word):
    """Returns a function from changes of the file to the ids of a trial's stages."""

    def make(*changed, folder="here", before=("flip",)):
        pretrain = of_kind("contrastive", views=(*before, word(*changed, folder=folder)))
        return [job.id for job in path(planned(pretrain=pretrain, encoder={"layers": (9,)}))]

    return make


def test_a_stage_is_named_by_what_its_views_compute(ids):
    before = ids()
    renamed = ("ramp", "slope"), ("Returns images", "Gives images"), ("STRENGTH", "MOST")
    assert len(before) == 2 and ids() == before == ids(*renamed) == ids(*renamed, folder="elsewhere")
    for other in (ids(("STRENGTH = 0.5", "STRENGTH = 0.25")), ids(before=()), ids(("linspace(-1", "linspace(-2"))):
        assert all(old != new for old, new in zip(before, other, strict=True))


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        (("def tilted", "def other"), ("names tilted, which is no function of its file",)),
        (("STRENGTH *", "MISSING *"), ("fails with NameError", "my_views.py:10)")),
        (("import jax\n", "import absent\n"), ("fails with ModuleNotFoundError", "my_views.py:1)")),
        (("return examples +", "return examples[:, 1:] +"), ("fails with",)),
        (
            ("return examples + jnp.broadcast_to(factors * ramp, examples.shape)", "return examples[:, 1:]"),
            ("returns float32[20, 5, 6, 1] of float32[20, 6, 6, 1]; return examples of the same shape",),
        ),
        (
            ("return examples + jnp.broadcast_to(factors * ramp, examples.shape)", "return examples > 0"),
            ("returns bool[20, 6, 6, 1] of float32[20, 6, 6, 1]",),
        ),
        (("return examples + jnp", "return None, jnp"), ("returns tuple of float32",)),
        (("return examples +", "return jax.pure_callback(lambda x: x, examples, examples) +"), ("calls Python from",)),
    ],
)
def test_a_view_that_fails_is_refused_in_one_line(changed, parts, planned, word):
    made = word(changed)
    with pytest.raises(ConfigError) as error:
        planned(pretrain=of_kind("contrastive", views=(made,)), encoder={"layers": (9,)})
    one_line(error, *parts)
    assert "pure_callback" in changed[1] or str(error.value).startswith(f"pretrain.method.views: {made!r} ")


def test_a_view_of_no_file_is_refused(planned):
    with pytest.raises(ConfigError) as error:
        planned(pretrain=of_kind("variance", views=("absent.py:tilted",)))
    one_line(error, "pretrain.method.views: 'absent.py:tilted' names", "absent.py, which is no file")
