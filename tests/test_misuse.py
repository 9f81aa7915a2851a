"""A table of misuses, and the sentence that each gets: never a traceback.

Nothing is computed: a mistake is found before a program is compiled for it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import data, likelihood, posterior
from pixelcnn_jax.config import DataConfig, TrainingConfig

SMALL = pj.PixelCNNConfig.tiny(height=3, width=3)
CLASSES = pj.GatedPixelCNNConfig.tiny(height=3, width=3, num_classes=3)
ONE = TrainingConfig(batch_size=1)

NAMES = {
    "replace": dataclasses.replace,
    "pj": pj,
    "jax": jax,
    "jnp": jnp,
    "np": np,
    "data": data,
    "likelihood": likelihood,
    "posterior": posterior,
    "C": pj.PixelCNNConfig.tiny,
    "T": TrainingConfig,
    "D": DataConfig,
    "free": dataclasses.replace(CLASSES, condition_dropout=0.1),
    "k": jax.random.key(0),
    "x": np.zeros((2, 3, 3, 1), np.int32),
    "known": np.zeros((3, 3), bool),
    "fits": pj.Config(model=SMALL, training=ONE),
    "classes_fit": pj.Config(model=CLASSES, training=ONE),
}
"""What the calls below are made with."""

MISUSES = [
    (
        "pj.fit(replace(classes_fit, model=free), x)",
        "labels must be given for a model of 3 classes",
    ),
    (
        "pj.fit(replace(classes_fit, model=free), x, x, labels=np.zeros(2, int))",
        "labels must be given for a model of 3 classes",
    ),
    ("posterior.evaluate_classes(g, None)", "images must be an array, got NoneType"),
    (
        "posterior.evaluate_classes(m, x)",
        "a likelihood of each class needs a model with classes, got one without",
    ),
    ("pj.sample(m, k, 2, temperature=True)", "number of at least 0, got True"),
    (
        "pj.sample(m, k, 2.0)",
        "num_images must be an integer of at least 1 and below 2**31, got 2.0",
    ),
    (
        "pj.sample(m, k, None)",
        "num_images must be an integer of at least 1 and below 2**31, got None",
    ),
    (
        "pj.sample(m, k, True)",
        "num_images must be an integer of at least 1 and below 2**31, got True",
    ),
    (
        "pj.sample(m, k, '3')",
        "num_images must be an integer of at least 1 and below 2**31, got '3'",
    ),
    ("pj.sample(m, 0, 2)", "the key must be one key of jax.random.key, got 0"),
    (
        "pj.sample(m, jax.random.split(k), 2)",
        "the key must be one key of jax.random.key, got key<fry> [2]",
    ),
    ("pj.sample(m, None, 2)", "the key must be one key of jax.random.key, got None"),
    (
        "pj.sample(m, k, 2, temperature=[1])",
        "the temperature must be a number of at least 0, got [1]",
    ),
    (
        "pj.sample(m, k, 2, temperature=None)",
        "the temperature must be a number of at least 0, got None",
    ),
    (
        "pj.sample(m, k, 2, temperature='1')",
        "the temperature must be a number of at least 0, got '1'",
    ),
    (
        "pj.sample(m, k, 2, temperature=np.nan)",
        "the temperature must be a number of at least 0, got nan",
    ),
    (
        "pj.sample(m, k, 2, temperature=1j)",
        "the temperature must be a number of at least 0, got 1j",
    ),
    (
        "pj.sample(m, k, 2, batch_size=0)",
        "batch_size must be an integer of at least 1 and below 2**31, got 0",
    ),
    (
        "pj.sample(m, k, 2, batch_size=1.5)",
        "batch_size must be an integer of at least 1 and below 2**31, got 1.5",
    ),
    (
        "pj.sample(m, k, 2, method=None)",
        "the method must be one of auto, full, cached, wavefront, got None",
    ),
    (
        "pj.sample(m, k, 2, method=['cached'])",
        "the method must be one of auto, full, cached, wavefront, got ['cached']",
    ),
    (
        "pj.sample(m, k, 2, size=3)",
        "size must be (height, width), two integers from 1 to 32767, got 3",
    ),
    (
        "pj.sample(m, k, 2, size=(0, 3))",
        "size must be (height, width), two integers from 1 to 32767, got (0, 3)",
    ),
    (
        "pj.sample(m, k, 2, size=[3, 3])",
        "size must be (height, width), two integers from 1 to 32767, got [3, 3]",
    ),
    (
        "pj.sample(m, k, 2, labels=[1, 2])",
        "labels must be left out for a model without classes, got some",
    ),
    (
        "pj.sample(g, k, 2)",
        "labels must be given for a model of 3 classes: integers [2], got none",
    ),
    ("pj.sample(g, k, 2, labels=[1, 2])", "labels must be an array, got list"),
    (
        "pj.sample(g, k, 2, labels=jnp.array([1, 3]))",
        "labels must lie in 0 to 2, got 1 to 3",
    ),
    (
        "pj.sample(g, k, 2, labels=np.array([1.0, 2.0]))",
        "labels must be integers [2], one for each image, got float64 [2]",
    ),
    ("pj.sample(g, k, 2, labels=1)", "labels must be an array, got int"),
    ("pj.sample(None, k, 2)", "the model must be one of this package, got NoneType"),
    ("pj.sample('digits', k, 2)", "the model must be one of this package, got str"),
    (
        "pj.sample(m.config, k, 2)",
        "the model must be one of this package, got PixelCNNConfig",
    ),
    ("pj.Sampler(None)", "the model must be one of this package, got NoneType"),
    (
        "pj.sample(m, k, 2 ** 31)",
        "num_images must be an integer of at least 1 and below 2**31, got 2147483",
    ),
    ("pj.save(None, folder / 'a')", "model must be one of this package, got NoneType"),
    ("pj.save(m, None)", "workdir must be a folder, got None"),
    ("pj.load_sampler(None)", "path must be the path of a file, got None"),
    ("pj.load_sampler('')", "path must be the path of a file, got ''"),
    ("pj.load_sampler('\\ud800')", "the path of a file, got '\\ud800'"),
    ("pj.load_sampler('/dev/zero')", "/dev/zero (no regular file)"),
    ("pj.load_sampler('x' * 5000)", "(File name too long)"),
    (
        "pj.export_sampler(None, folder / 'a', 2)",
        "the model must be one of this package",
    ),
    ("pj.export_sampler(m, None, 2)", "path must be the path of a file, got None"),
    ("pj.export_sampler(m, '', 2)", "path must be the path of a file, got ''"),
    ("pj.export_sampler(m, '\\ud800', 2)", "of a file, got '\\ud800'"),
    ("pj.export_sampler(m, 'a\\0b', 2)", "the path of a file, got 'a\\x00b'"),
    ("pj.save(m, '.')", "can be written, got . (it is the current folder); pass"),
    ("pj.save(m, '/')", "folder must be a new or an empty one, got /; pass another"),
    ("pj.export_sampler(m, folder / 'a', 0)", "num_images must be an integer of at"),
    ("pj.load('x' * 5000)", "(File name too long); pass another workdir"),
    ("pj.load(None)", "workdir must be a folder, got None"),
    ("pj.load('')", "workdir must be a folder, got ''"),
    ("pj.save(m, '')", "workdir must not be empty, got ''"),
    ("pj.load(3)", "workdir must be a folder, got 3"),
    ("pj.load('.')", "the run's folder must hold config.json, and . does not"),
    ("pj.load(b'x')", "workdir must be a folder, got b'x'"),
    (
        "pj.load('a\\x00b')",
        "workdir must be a folder, got a\\x00b (embedded null byte)",
    ),
    ("pj.load('a\\nb')", "the run's folder must hold config.json, and a\\nb does not"),
    ("pj.load('digits', None)", "checkpoint must be best or latest, got None"),
    ("pj.load('digits', 3)", "checkpoint must be best or latest, got 3"),
    ("pj.load('digits', ['best'])", "checkpoint must be best or latest, got ['best']"),
    ("pj.log_prob(m, None)", "images must be an array, got NoneType"),
    ("pj.log_prob(m, x.tolist())", "images must be an array, got list"),
    (
        "pj.log_prob(m, x[0])",
        "1] for this model, with at least 1 pixel, got shape [3, 3, 1]",
    ),
    ("pj.log_prob(m, x * 1.0)", "images must be integer levels, got float64"),
    ("pj.log_prob(m, x + 9)", "levels must lie in 0 to 3, got 9 to 9"),
    ("pj.log_prob(m, jnp.asarray(x) + 9)", "levels must lie in 0 to 3, got 9 to 9"),
    ("pj.log_prob(m, x[:0])", "images must be at least 1, got 0"),
    (
        "pj.log_prob(m, x[:, :0])",
        "1] for this model, with at least 1 pixel, got shape [2, 0, 3, 1]",
    ),
    (
        "pj.log_prob(m, x[..., :0])",
        "1] for this model, with at least 1 pixel, got shape [2, 3, 3, 0]",
    ),
    (
        "pj.log_prob(m, x, np.array([0, 1]))",
        "labels must be left out for a model without classes, got some",
    ),
    (
        "pj.log_prob(m, np.zeros((2, 3, 3, 1), bool))",
        "images must be integer levels, got bool",
    ),
    (
        "pj.log_prob(m, np.zeros((2, 3, 3, 1), object))",
        "images must be integer levels, got object",
    ),
    ("pj.log_prob(None, x)", "the model must be one of this package, got NoneType"),
    (
        "pj.log_prob(m, np.full((2, 3, 3, 1), 2 ** 40))",
        "levels must lie in 0 to 3, got 1099511627776 to 1099511627776",
    ),
    ("pj.bits_per_dim(m, None)", "images must be an array, got NoneType"),
    (
        "pj.bits_per_dim(m, x[0])",
        "1] for this model, with at least 1 pixel, got shape [3, 3, 1]",
    ),
    (
        "pj.bits_per_dim(m, x[:, :0])",
        "1] for this model, with at least 1 pixel, got shape [2, 0, 3, 1]",
    ),
    ("pj.pixel_log_prob(m, None)", "images must be an array, got NoneType"),
    (
        "pj.pixel_log_prob(None, x)",
        "the model must be one of this package, got NoneType",
    ),
    (
        "likelihood.evaluate(m, x[:0])",
        "a data set to evaluate must have at least 1 image, got 0",
    ),
    ("likelihood.evaluate(m, None)", "images must be an array, got NoneType"),
    ("likelihood.evaluate(m, x.tolist())", "images must be an array, got list"),
    (
        "likelihood.evaluate(m, x, batch_size=0)",
        "batch_size must be an integer of at least 1 and below 2**31, got 0",
    ),
    (
        "likelihood.evaluate(m, x, batch_size=1.5)",
        "batch_size must be an integer of at least 1 and below 2**31, got 1.5",
    ),
    (
        "likelihood.evaluate(m, x, batch_size=None)",
        "batch_size must be an integer of at least 1 and below 2**31, got None",
    ),
    ("likelihood.evaluate(g, x, [0, 1])", "labels must be an array, got list"),
    (
        "likelihood.evaluate(g, x, None)",
        "labels must be given for a model of 3 classes: integers [2], got none",
    ),
    (
        "likelihood.evaluate(g, x, jnp.array([0, 3]))",
        "labels must lie in 0 to 2, got 0 to 3",
    ),
    (
        "likelihood.evaluate(g, x, np.array([0]))",
        "labels must be integers [2], one for each image, got int64 [1]",
    ),
    (
        "likelihood.evaluate_marginal(g, x, np.array([1.0, 1.0, 1.0]))",
        "obabilities of 3 classes, which sum to 1, got [1.0, 1.0, 1.0]",
    ),
    (
        "likelihood.evaluate_marginal(g, x, np.array([-1.0, 1.0, 1.0]))",
        "obabilities of 3 classes, which sum to 1, got [-1.0, 1.0, 1.0]",
    ),
    (
        "likelihood.evaluate_marginal(g, x, np.array([0.5, 0.5]))",
        "obabilities of 3 classes, which sum to 1, got (2,)",
    ),
    (
        "likelihood.evaluate_marginal(g, x, np.array([np.nan, 0.5, 0.5]))",
        "obabilities of 3 classes, which sum to 1, got [nan, 0.5, 0.5]",
    ),
    (
        "likelihood.evaluate_marginal(g, x, np.array([0.0, 0, 0]))",
        "obabilities of 3 classes, which sum to 1, got [0.0, 0.0, 0.0]",
    ),
    (
        "likelihood.evaluate_marginal(m, x, np.array([1.0]))",
        "a marginal likelihood needs a model with classes, got one without",
    ),
    (
        "likelihood.evaluate_marginal(g, x, None)",
        "obabilities of 3 classes, which sum to 1, got None",
    ),
    (
        "pj.class_log_posterior(m, x)",
        "a posterior of classes needs a model with classes, got one without",
    ),
    ("pj.class_log_posterior(g, None)", "images must be an array, got NoneType"),
    (
        "pj.class_log_posterior(g, x, [1, 2, 3])",
        "obabilities of 3 classes, which sum to 1, got [1, 2, 3]",
    ),
    (
        "pj.class_log_posterior(g, x, np.array(['a', 'b', 'c']))",
        "obabilities of 3 classes, which sum to 1, got <U1",
    ),
    (
        "pj.class_log_posterior(g, x, 3)",
        "the prior must be the probabilities of 3 classes, which sum to 1, got 3",
    ),
    (
        "pj.class_log_posterior(g, x, np.array([np.nan, 0.5, 0.5]))",
        "obabilities of 3 classes, which sum to 1, got [nan, 0.5, 0.5]",
    ),
    (
        "pj.complete(m, k, x, None)",
        "ne for each pixel of images [2, 3, 3, 1], got NoneType []",
    ),
    (
        "pj.complete(m, k, x, known.astype(int))",
        "ne for each pixel of images [2, 3, 3, 1], got int64 [3, 3]",
    ),
    ("pj.complete(m, k, None, known)", "images must be an array, got NoneType"),
    ("pj.complete(m, k, x.tolist(), known)", "images must be an array, got list"),
    (
        "pj.complete(m, k, x, known[:2])",
        "ne for each pixel of images [2, 3, 3, 1], got bool [2, 3]",
    ),
    (
        "pj.complete(m, k, x[:0], known)",
        "an integer of at least 1 and below 2**31, got 0",
    ),
    (
        "pj.complete(m, k, x[:, :0], known[:0])",
        "1] for this model, with at least 1 pixel, got shape [2, 0, 3, 1]",
    ),
    ("pj.complete(m, k, x * 1.0, known)", "images must be integer levels, got float64"),
    (
        "pj.complete(m, k, x, known, num_completions=0)",
        "num_completions must be an integer of at least 1 and below 2**31, got 0",
    ),
    (
        "pj.complete(m, k, x, known, num_completions=1.5)",
        "an integer of at least 1 and below 2**31, got 1.5",
    ),
    (
        "pj.complete(m, k, x, known, num_completions=2 ** 31)",
        "an integer of at least 1 and below 2**31, got 2147483648",
    ),
    (
        "pj.complete(m, k, x, known, labels=np.array([1, 2]))",
        "labels must be left out for a model without classes, got some",
    ),
    (
        "pj.complete(None, k, x, known)",
        "the model must be one of this package, got NoneType",
    ),
    (
        "pj.Stepper(m, 0)",
        "batch_size must be an integer of at least 1 and below 2**31, got 0",
    ),
    (
        "pj.Stepper(m, 1.0)",
        "batch_size must be an integer of at least 1 and below 2**31, got 1.0",
    ),
    ("pj.Stepper(None, 1)", "the model must be one of this package, got NoneType"),
    (
        "pj.Stepper(g, 1)",
        "labels must be given for a model of 3 classes: integers [1], got none",
    ),
    (
        "pj.Stepper(m, 1, size=(0, 1))",
        "size must be (height, width), two integers from 1 to 32767, got (0, 1)",
    ),
    ("pj.compress(m, None)", "images must be an array, got NoneType"),
    ("pj.compress(m, x + 9)", "levels must lie in 0 to 3, got 9 to 9"),
    ("pj.compress(m, x[:0])", "images to compress must be at least 1, got 0"),
    ("pj.compress(None, x)", "the model must be one of this package, got NoneType"),
    ("pj.decompress(m, b'')", "the compressed data must begin with PXL1, got b''"),
    ("pj.decompress(m, None)", "the compressed data must be bytes, got NoneType"),
    (
        "pj.decompress(m, b'x' * 100)",
        "the compressed data must begin with PXL1, got b'xxxx'",
    ),
    ("pj.decompress(m, 'abc')", "the compressed data must be bytes, got str"),
    (
        "pj.build_model(None)",
        "the config must be that of a model, such as a PixelCNNConfig, got NoneTy",
    ),
    (
        "pj.build_model(m.config, -1)",
        "seed must be an integer of at least 0 and below 2**32, got -1",
    ),
    (
        "pj.build_model(m.config, 1.5)",
        "seed must be an integer of at least 0 and below 2**32, got 1.5",
    ),
    (
        "pj.build_model(m.config, 2 ** 32)",
        "seed must be an integer of at least 0 and below 2**32, got 4294967296",
    ),
    (
        "pj.build_model(m.config, 'a')",
        "seed must be an integer of at least 0 and below 2**32, got 'a'",
    ),
    (
        "pj.build_model('digits', 0)",
        "the config must be that of a model, such as a PixelCNNConfig, got str",
    ),
    ("C(height=0)", "model.height must be at least 1, got 0"),
    ("C(height=8.5)", "model.height must be an integer, got 8.5 of type float"),
    ("C(height=8.0)", "model.height must be an integer, got 8.0 of type float"),
    ("C(height='8')", "model.height must be an integer, got '8' of type str"),
    ("C(height=None)", "model.height must be an integer, got None of type NoneType"),
    ("C(height=True)", "model.height must be an integer, got True of type bool"),
    (
        "C(height=np.float32(8))",
        "model.height must be an integer, got np.float32(8.0) of type float32",
    ),
    ("C(height=[8])", "model.height must be an integer, got [8] of type list"),
    (
        "C(height=float('inf'))",
        "model.height must be an integer, got inf of type float",
    ),
    (
        "C(height=float('nan'))",
        "model.height must be an integer, got nan of type float",
    ),
    (
        "C(height=10 ** 24)",
        "model.height must be at most 2147483647, got 1000000000000000000000000",
    ),
    (
        "C(width=2 ** 63 - 1)",
        "model.width must be at most 32767, got 9223372036854775807",
    ),
    ("C(levels=2 ** 32)", "model.levels must be at most 65536, got 4294967296"),
    ("C(levels=8.0)", "model.levels must be an integer, got 8.0 of type float"),
    ("C(channels=10 ** 9)", "model.channels must be at most 1024, got 1000000000"),
    (
        "C(first_kernel_size=2 ** 31 - 1)",
        "model.first_kernel_size must be at most 99, got 2147483647",
    ),
    (
        "C(kernel_size=10 ** 24 + 1)",
        "model.kernel_size must be at most 2147483647, got 1000000000000000000000",
    ),
    ("C(features=10 ** 12)", "model.features must be at most 65536, got 1000000000000"),
    (
        "C(features=float('inf'))",
        "model.features must be an integer, got inf of type float",
    ),
    ("C(num_blocks=2 ** 31)", "model.num_blocks must be at most 200, got 2147483648"),
    (
        "C(num_classes=2 ** 40)",
        "model.num_classes must be at most 2147483647, got 1099511627776",
    ),
    (
        "C(num_mixtures=2 ** 40)",
        "model.num_mixtures must be at most 1024, got 1099511627776",
    ),
    (
        "C(dropout=float('nan'))",
        "model.dropout must be at least 0 and below 1, got nan",
    ),
    ("C(dropout='0.1')", "model.dropout must be a number, got '0.1' of type str"),
    ("C(dropout=1)", "model.dropout must be at least 0 and below 1, got 1.0"),
    ("C(dropout=None)", "model.dropout must be a number, got None of type NoneType"),
    (
        "C(distribution=3)",
        "model.distribution must be one of categorical, logistic_mixture, got 3",
    ),
    (
        "C(distribution=['categorical'])",
        " be one of categorical, logistic_mixture, got ['categorical']",
    ),
    (
        "C(dtype='float64')",
        "model.dtype must be one of float32, bfloat16, got 'float64'",
    ),
    ("T(epochs=1.5)", "training.epochs must be an integer, got 1.5 of type float"),
    ("T(epochs=None)", "training.epochs must be an integer, got None of type NoneType"),
    (
        "T(epochs=2 ** 80)",
        "training.epochs must be at most 2147483647, got 120892581961462917470617",
    ),
    (
        "T(batch_size=2 ** 80)",
        "training.batch_size must be at most 2147483647, got 12089258196146291747",
    ),
    (
        "T(learning_rate='1')",
        "training.learning_rate must be a number, got '1' of type str",
    ),
    (
        "T(learning_rate=None)",
        "training.learning_rate must be a number, got None of type NoneType",
    ),
    (
        "T(learning_rate=float('nan'))",
        "training.learning_rate must be positive, got nan",
    ),
    ("T(learning_rate=-1)", "training.learning_rate must be positive, got -1.0"),
    (
        "T(learning_rate=[1])",
        "training.learning_rate must be a number, got [1] of type list",
    ),
    (
        "T(warmup_steps=2 ** 31)",
        "training.warmup_steps must be at most 2147483647, got 2147483648",
    ),
    (
        "T(warmup_steps=1.5)",
        "training.warmup_steps must be an integer, got 1.5 of type float",
    ),
    ("T(clip_norm='a')", "training.clip_norm must be a number, got 'a' of type str"),
    ("T(clip_norm=float('nan'))", "training.clip_norm must be positive, got nan"),
    ("T(ema_decay=1)", "training.ema_decay must be at least 0 and below 1, got 1.0"),
    ("T(ema_decay='a')", "training.ema_decay must be a number, got 'a' of type str"),
    ("T(microbatch_size=0)", "training.microbatch_size must be at least 1, got 0"),
    (
        "T(microbatch_size=2.5)",
        "training.microbatch_size must be an integer, got 2.5 of type float",
    ),
    (
        "T(weight_decay='a')",
        "training.weight_decay must be a number, got 'a' of type str",
    ),
    ("T(beta1=2)", "training.beta1 must be at least 0 and below 1, got 2.0"),
    ("T(beta1='a')", "training.beta1 must be a number, got 'a' of type str"),
    ("T(schedule=None)", "training.schedule must be one of constant, cosine, got None"),
    ("D(source=None)", "data.source must be text, got None of type NoneType"),
    ("D(source=3)", "data.source must be text, got 3 of type int"),
    ("D(data_dir=3)", "data.data_dir must be text, got 3 of type int"),
    ("D(validation_images=-1)", "e at least 0, but for images of your own, got -1"),
    (
        "D(validation_images=1.5)",
        "data.validation_images must be an integer, got 1.5 of type float",
    ),
    (
        "D(validation_images=2 ** 70)",
        "data.validation_images must be at most 2147483647, got 11805916207174113",
    ),
    (
        "D(quantization=None)",
        "data.quantization must be one of bins, dynamic, got None",
    ),
    ("pj.Config(seed=-1)", "seed must be at least 0 and below 2**32, got -1"),
    ("pj.Config(seed=1.5)", "seed must be an integer, got 1.5 of type float"),
    ("pj.Config(seed=None)", "seed must be an integer, got None of type NoneType"),
    ("pj.Config(workdir=None)", "workdir must be text, got None of type NoneType"),
    ("pj.Config(workdir='')", "workdir must not be empty, got ''; leave it out"),
    ("D(source='images', path='')", "data.path must not be empty, got ''"),
    ("D(data_dir='')", "data.data_dir must not be empty, got ''"),
    ("T(init_from='')", "training.init_from must not be empty, got ''"),
    ("pj.Config(workdir=3)", "workdir must be text, got 3 of type int"),
    (
        "pj.Config(workdir='a\\x00b')",
        "workdir must be text in UTF-8 without zero bytes, got 'a\\x00b'",
    ),
    (
        "pj.Config(model=None)",
        " or PixelCNNPPConfig or PixelSNAILConfig, got None of type NoneType",
    ),
    (
        "pj.Config(model={})",
        " or PixelCNNPPConfig or PixelSNAILConfig, got {} of type dict",
    ),
    ("pj.Config(data=None)", "data must be a DataConfig, got None of type NoneType"),
    (
        "pj.Config(training=None)",
        "training must be a TrainingConfig, got None of type NoneType",
    ),
    (
        "pj.preset('nope')",
        "the preset must be one of digits, fashion-mnist, mnist, digits-gated, di",
    ),
    (
        "pj.preset(None)",
        "the preset must be one of digits, fashion-mnist, mnist, digits-gated, di",
    ),
    (
        "pj.preset(3)",
        "the preset must be one of digits, fashion-mnist, mnist, digits-gated, di",
    ),
    (
        "pj.fit(replace(fits, training=T(batch_size=1, epochs=2**30)), x)",
        "training.epochs must be fewer than 2**31 updates",
    ),
    ("pj.fit(None, x)", "config must be a Config, got NoneType"),
    (
        "pj.fit(pj.Config(model=m.config), None)",
        "an ImageSet or a source of batches, got NoneType",
    ),
    (
        "pj.fit(pj.Config(model=m.config), x)",
        "at most the number of training images, 2, got 128",
    ),
    (
        "pj.fit(fits, x, x[:, :2])",
        "els, as model.height and model.width say, got 2 by 3",
    ),
    ("pj.fit(fits, x * 1.0)", "images must be integer levels, got float64"),
    ("pj.fit(fits, x, labels=np.array([1]))", "labels must be one per image, 2, got 1"),
    (
        "pj.fit(classes_fit, x)",
        "labels must be given for a model of 3 classes: integers [2], got none",
    ),
    (
        "pj.fit(classes_fit, x, labels='ab')",
        "labels must be [N], one per image, got array('ab', dtype='<U2')",
    ),
    (
        "pj.fit(classes_fit, x, labels=np.array([0, 3]))",
        "labels must lie in 0 to 2, got 0 to 3",
    ),
    ("pj.fit(fits, x, workdir=3)", "workdir must be a folder, got 3"),
    ("pj.train(None)", "config must be a Config, got NoneType"),
    ("pj.train('digits')", "config must be a Config, got str"),
    ("data.ImageSet(None)", "images must be an array [N, H, W, C], got None"),
    ("data.ImageSet(x, 3)", "labels must be [N], one per image, got 3"),
    ("data.ImageSet(x, [1])", "labels must be one per image, 2, got 1"),
    ("data.ImageSet(x, np.array(['a', 'b']))", "labels must be integers, one per"),
    ("pj.fit(fits, x, validation_labels=[0, 1])", "validation_labels need validation"),
    ("pj.stream(None, k, 2)", "the model must be one of this package, got NoneType"),
    ("pj.stream(m, k, 2, size=3)", "size must be (height, width), two integers"),
    ("pj.stream(m, k, 2, start=None)", "start must be an integer of at least 0"),
    ("pj.stream(m, k, 2, start=1.5)", "below num_images, 2, got 1.5; 0 draws all"),
    ("pj.visit_steps(None, 2)", "the model must be one of this package, got None"),
    ("pj.anomaly_scores(None, x)", "the model must be one of this package, got None"),
    ("pj.anomaly_scores(m, x, background=3)", "one of this package, got int; pass"),
    ("pj.anomaly_scores(m, np.array(3))", "images must be [B, H, W, 1] for this model"),
    ("pj.anomaly_scores(m, [3])", "images must be an array, got list"),
    ("pj.auroc([[1.0], [1.0, 2.0]], [1.0])", "scores must be an array, got a ragged"),
    (
        "pj.visit_steps(m, 2, known=[[True], []])",
        "known must be an array, got a ragged",
    ),
    ("pj.class_log_posterior(g, x[:0])", "images must be at least 1, got 0"),
    ("pj.class_log_posterior(g, 3)", "images must be an array, got int"),
    ("pj.compress(g, x, 'ab')", "labels must be an array, got str"),
    ("pj.sample(m, k, 2, method=np.array(['full', 'x']))", "the method must be one of"),
    ("pj.sample(m, k, 2, temperature=k)", "the temperature must be a number of at"),
    (
        "pj.sample(m, k, 2, temperature=jnp.complex64(1))",
        "must be a number of at least",
    ),
    (
        "pj.sample(m, k, 2, temperature=1e39)",
        "must be at most 1e+30, got 1e+39; 1 samples",
    ),
    ("pj.sample(m, k, 2, temperature=10**400)", "must be at most 1e+30, got 10000"),
    (
        "pj.sample(m, k, 2, guidance=1e39)",
        "guidance must be at most 1e+30, got 1e+39; 1 is off",
    ),
    ("pj.auroc(['a'], [1.0])", "scores must be numbers, got arrays of <U1 and float64"),
    ("pj.Stepper(m, 2).next(None)", "state must be what begin, next or push returned"),
    (
        "(s := pj.Stepper(m, 2)).push(s.begin(), [600, 1])",
        "values must be an array, got list; pass it to np.asarray",
    ),
    (
        "pj.log_prob(m, x + 9)",
        "; pass images of the model's levels (data.quantize makes them of brightness)",
    ),
    ("jax.jit(lambda x: pj.compress(m, x))(x)", "compress must be called outside of"),
    ("jax.jit(lambda x: pj.anomaly_scores(m, x))(x)", "anomaly_scores must be called"),
    ("jax.jit(lambda x: likelihood.evaluate(m, x))(x)", "must be called outside of"),
    ("jax.jit(lambda x: pj.auroc(x, x))(x[:, 0, 0, 0])", "auroc must be called out"),
    ("jax.jit(lambda k: list(pj.stream(m, k, 2)))(k)", "stream must be called out"),
    (
        "(s := pj.Stepper(m, 2)).next(replace(s.begin(), index=jnp.int32(9)))",
        "a state must have a next value, one of 9, got one of 9 values pushed",
    ),
    ("pj.sample(m, k, 0)", "below 2**31, got 0; pass a whole number between"),
    ("pj.Stepper(m, 2).push(3, x)", "next or push returned, got int"),
    (
        "(s := pj.Stepper(m, 2)).push(s.next(s.begin())[1], jnp.array([0, 9]))",
        "values must lie in 0 to 3, got 0 to 9",
    ),
    (
        "data.class_frequencies(np.array([1.5]), 3)",
        "the labels must be 0 to 2, at least one, got [1.5]",
    ),
]
"""Calls, and what is said of them."""


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    models = {"m": pj.build_model(SMALL), "g": pj.build_model(CLASSES)}
    return NAMES | models


@pytest.mark.parametrize(("call", "sentence"), MISUSES)
def test_a_misuse_gets_its_sentence(call: str, sentence: str, names, tmp_path):
    with pytest.raises(pj.UserError) as refusal:
        eval(call, names | {"folder": tmp_path})
    message = str(refusal.value)
    assert sentence in message
    assert message.isprintable() and len(message) <= 2100
    assert not list(tmp_path.iterdir())


def test_a_long_message_is_one_line_and_keeps_its_cure():
    message = str(pj.UserError(f"a\n{'b' * 9000}\udcff; cure"))
    assert message.startswith("a\\nb") and message.endswith("\\udcff; cure")
    assert len(message) < 2100


def test_numbers_of_numpy_and_paths_become_plain(tmp_path):
    plain = pj.Config(seed=3, workdir=str(tmp_path))
    settings = pj.Config(seed=np.int64(3), workdir=tmp_path)
    assert settings == plain and type(settings.seed) is int
    assert pj.PixelCNNConfig(height=np.int32(7)) == pj.PixelCNNConfig(height=7)
    assert TrainingConfig(learning_rate=np.float64(0.5)).learning_rate == 0.5


def test_what_would_not_fit_in_memory_is_refused_before_it_is_made(monkeypatch):
    with pytest.raises(pj.UserError, match="weights must fit in memory, .* GiB"):
        pj.build_model(pj.PixelCNNConfig(features=2**16, kernel_size=99))
    with pytest.raises(pj.UserError, match="2000000000 images must fit in memory"):
        pj.sample(pj.build_model(SMALL), jax.random.key(0), 2 * 10**9, size=(999, 999))
