"""Known pixels stay, and the rest follows the model's law given what comes before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import pixelcnn_jax as pj
from pixelcnn_jax.layers import Spec, Work
from tests.conftest import random_images, slowly, some_conditions, tiny_model
from tests.family import each_model, member
from tests.test_likelihood import all_images
from tests.test_sampling import KEY, assert_same_images, methods_of

N = 2


def top_known(config) -> np.ndarray:
    """Some rows at the top, and a few pixels further down."""
    known = np.zeros((config.height, config.width), bool)
    known[: config.height // 2] = True
    known[-1, ::3] = True
    return known


def flat(x) -> np.ndarray:
    return np.asarray(x).reshape(-1, *x.shape[2:])


@each_model
def test_all_methods_keep_what_is_known_and_draw_the_same_rest(name: str):
    model = member(name)
    images, conditions = random_images(model, 2), some_conditions(model, 2)
    known = top_known(model.config)
    # What stands where nothing is known is not read.
    given = np.where(known[..., None], images, -1)
    repeated = {name: values.repeat(N, 0) for name, values in conditions.items()}
    drawn = {
        method: pj.complete(
            model,
            KEY,
            given,
            known,
            num_completions=N,
            **conditions,
            method=method,
            with_log_prob=True,
        )
        for method in methods_of(model)
    }
    for completed, log_prob in drawn.values():
        assert completed.shape == (2, N, *images.shape[1:])
        assert completed.dtype == jnp.int32
        completed = np.asarray(completed)
        kept = completed[:, :, known]
        assert (kept == images[:, None][:, :, known]).all()
        assert (completed[:, 0] != completed[:, 1]).any()
        assert_same_images(model, flat(drawn["full"][0]), flat(completed))
        expected = pj.pixel_log_prob(model, flat(completed), **repeated)
        np.testing.assert_allclose(flat(log_prob), expected, rtol=1e-5, atol=2e-4)


@pytest.mark.slow
@each_model
def test_known_rows_are_not_walked_and_change_nothing(name: str):
    """Of one batch: known at the top, and known nowhere."""
    model = member(name)
    images, given = random_images(model, 2), some_conditions(model, 2)
    top = top_known(model.config)
    known = np.stack([top, np.zeros_like(top)])
    # As many as other tests draw, and so with their programs.
    usual = dict(num_completions=N, method="cached", **given)
    walked, filled = (
        np.asarray(pj.complete(model, KEY, images, k, with_log_prob=True, **usual)[0])
        for k in (known, top)
    )
    assert_same_images(model, walked[0], filled[0])
    repeated = {
        name: np.resize(values.repeat(N, 0), (17, *values.shape[1:]))
        for name, values in given.items()
    }
    drawn = pj.sample(model, KEY, 17, method="cached", **repeated)
    assert_same_images(model, walked[1], np.asarray(drawn)[N : 2 * N])


@pytest.mark.parametrize(
    "name", ["book-colour", *slowly("gated-mixture", "pp-odd", "snail-odd")]
)
def test_what_no_later_row_reads_of_known_rows_changes_nothing(name: str):
    """Only log-probabilities need all of the network there."""
    model = member(name)
    images, given = random_images(model, 2), some_conditions(model, 2)
    top = top_known(model.config)
    usual = dict(num_completions=N, method="cached", **given)
    whole, _ = pj.complete(model, KEY, images, top, with_log_prob=True, **usual)
    spared = pj.complete(model, KEY, images, top, **usual)
    assert_same_images(model, flat(whole), flat(spared))


def test_wholly_known_images_come_back():
    model = tiny_model()
    images = random_images(model, 3)
    known = np.ones(images.shape[1:3], bool)
    for method in methods_of(model):
        drawn = pj.complete(model, KEY, images, known, method=method)
        assert (drawn[:, 0] == images).all()


@pytest.mark.parametrize("where", [[(0, 0)], [(0, 1), (1, 0)], [(0, 0), (0, 1)]])
def test_completions_follow_the_law_given_what_comes_before(where):
    model = tiny_model(height=2, width=2, levels=2)
    known = np.zeros((2, 2), bool)
    known[tuple(np.transpose(where))] = True
    given, count = np.ones((1, 2, 2, 1), int), 20_000
    drawn = pj.complete(model, KEY, given, known, num_completions=count)[0]
    every = all_images(model)
    nats = np.float64(pj.pixel_log_prob(model, every))[:, ~known].sum(1)
    fits = (every[:, known] == 1).all((1, 2))
    observed = np.bincount(
        np.asarray(drawn).reshape(count, 4) @ [8, 4, 2, 1], minlength=16
    )
    assert observed[~fits].sum() == 0
    expected = np.exp(nats[fits])
    assert abs(expected.sum() - 1) < 1e-5
    _, p = stats.chisquare(observed[fits], expected / expected.sum() * count)
    assert p > 0.001


def test_known_rows_cost_no_steps(monkeypatch):
    """Half the rows known: half the positions visited."""
    model = tiny_model(height=6, width=5)
    images = random_images(model, 2)
    known = np.zeros((6, 5), bool)
    known[:4] = True

    def draw():
        return pj.complete(model, KEY, images, known, method="cached")

    program = str(jax.make_jaxpr(draw)())
    assert "length=10" in program and "length=30" not in program


def test_a_prefill_computes_only_what_later_rows_read():
    """The deeper a layer, the fewer rows; nothing that only logits are made of."""
    model = tiny_model(height=9, width=5, num_blocks=2, first_kernel_size=5)
    caches = jax.eval_shape(lambda: model.init_caches(Spec(1, 9, 5)))

    def rows(outputs: bool) -> dict[str, list[int]]:
        parts = model.known_parts(caches, 7, outputs=outputs)
        assert [p.start for p in parts[1:]] == [p.stop for p in parts[:-1]]
        assert parts[0].start == 0 and parts[-1].stop == 7
        counts = {name: [0, 0] for name in parts[0].works}
        for start, stop, works in parts:
            for name, work in works.items():
                counts[name][0] += (stop - start) * (work is Work.STEP)
                counts[name][1] += (stop - start) * (work is Work.REMEMBER)
        return counts

    few = rows(outputs=False)
    assert few["first"] == [2, 2]  # whose kernel has two rows above its own
    assert few["blocks.0.middle"] == [1, 1] and few["blocks.1.middle"] == [0, 1]
    assert few["blocks.1.reduce"] == [1, 0] and few["blocks.1.expand"] == [0, 0]
    assert few["head.0"] == few["last"] == [0, 0]
    assert all(count == [7, 0] for count in rows(outputs=True).values())


def test_works_inside_jit_with_known_pixels_that_are_not():
    model = tiny_model()
    graph, params = nnx.split(model)
    images = random_images(model, 3)
    known = top_known(model.config)

    @jax.jit
    def draw(params, images, known, temperature):
        model = nnx.merge(graph, params)
        return pj.complete(model, KEY, images, known, temperature=temperature)

    expected = pj.complete(model, KEY, images, known, temperature=0.7)
    drawn = draw(params, images, known, 0.7)
    assert_same_images(model, flat(drawn), flat(expected), 0.7)


def test_completions_do_not_depend_on_the_batch_size():
    model = tiny_model()
    images, known = random_images(model, 3), top_known(model.config)
    expected = pj.complete(model, KEY, images, known, num_completions=3)
    found = pj.complete(model, KEY, images, known, num_completions=3, batch_size=4)
    assert_same_images(model, flat(expected), flat(found))


def test_images_of_another_size_are_completed():
    model = tiny_model()
    images = np.random.default_rng(0).integers(0, 4, (2, 9, 3, 1))
    known = np.zeros((9, 3), bool)
    known[:5] = True
    drawn = {
        method: pj.complete(model, KEY, images, known, method=method)[:, 0]
        for method in methods_of(model)
    }
    for completed in drawn.values():
        assert (completed[:, :5] == images[:, :5]).all()
        assert_same_images(model, drawn["full"], completed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(known=np.ones((6, 5))), r"known must be bool .*, got float64 \[6, 5\]"),
        (dict(known=np.ones((5, 6), bool)), r"\[2, 6, 5\] or \[6, 5\].*bool \[5, 6\]"),
        (dict(known=np.ones((3, 6, 5), bool)), r"got bool \[3, 6, 5\]"),
        (dict(known=[[True]]), r"got list \[\]"),
        (dict(images=[1]), "images must be an array, got list"),
        (dict(images=np.zeros((6, 5), int)), r"must be \[B, H, W, 1\]"),
        (
            dict(images=np.full((2, 6, 5, 1), 9)),
            "levels must lie in 0 to 3, got 0 to 9",
        ),
        (dict(images=np.zeros((0, 6, 5, 1), int)), "at least 1.*got 0"),
        (dict(num_completions=0), "num_completions must be an integer of at least 1"),
        (dict(num_completions=2**31 - 1), "must be below 2\\*\\*31, got 4294967294"),
        (dict(temperature=-1.0), "at least 0, got -1.0"),
        (dict(labels=np.zeros(2, int)), "left out for a model without"),
        (dict(method="fast"), "one of auto"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    known = np.zeros((6, 5), bool)
    known[0] = True
    usual = dict(images=np.zeros((2, 6, 5, 1), int), known=known)
    with pytest.raises(pj.UserError, match=message):
        pj.complete(tiny_model(), KEY, **usual | arguments)
