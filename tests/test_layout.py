"""Who imports whom."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pixelcnn_jax"

ALLOWED = {
    "errors": set(),
    "arrays": set(),
    "output": set(),
    "quiet": set(),
    "locks": set(),
    "cgroups": set(),
    "memory": {"cgroups", "errors"},
    "masks": set(),
    "files": set(),
    "units": set(),
    "keys": set(),
    "hosts": {"errors"},
    "params": set(),
    "devices": {"machine"},
    "machine": {"cgroups", "errors"},
    "pictures": {"files"},
    "animation": {"pictures"},
    "config": {"arrays", "errors"},
    "distributions": {"config", "errors"},
    "data": {"arrays", "config", "files", "quiet", "errors"},
    "layers": {"masks", "errors"},
    "models": {
        "arguments",
        "layers",
        "distributions",
        "config",
        "masks",
        "params",
        "keys",
        "memory",
        "errors",
    },
    "arguments": {"arrays", "errors"},
    "order": {"layers"},
    "walkers": {"models", "layers", "distributions", "config"},
    "walk": {"walkers", "order", "layers", "errors"},
    "likelihood": {
        "memory",
        "hosts",
        "models",
        "layers",
        "arguments",
        "devices",
        "units",
        "errors",
    },
    "posterior": {"likelihood", "layers", "arguments", "models", "errors"},
    "anomaly": {
        "likelihood",
        "models",
        "layers",
        "config",
        "arguments",
        "arrays",
        "errors",
    },
    "guidance": {"walkers", "layers", "distributions", "config"},
    "drawing": {
        "guidance",
        "walk",
        "walkers",
        "order",
        "models",
        "layers",
        "arguments",
        "keys",
        "errors",
    },
    "jobs": {"drawing", "models", "layers", "arguments", "devices", "keys", "memory"},
    "sampling": {"jobs", "drawing", "layers", "models", "arguments"},
    "streaming": {
        "hosts",
        "jobs",
        "drawing",
        "layers",
        "models",
        "arguments",
        "errors",
    },
    "stepper": {"devices", "models", "layers", "memory", "arguments", "errors"},
    "container": {"errors"},
    "coding": {"devices", "machine", "stepper", "models", "layers", "errors"},
    "compression": {
        "arguments",
        "devices",
        "arrays",
        "container",
        "coding",
        "layers",
        "machine",
        "models",
        "memory",
        "errors",
    },
    "completion": {"jobs", "drawing", "layers", "models", "arguments", "errors"},
    "entropy": {"likelihood", "layers", "models"},
    "visits": {"jobs", "drawing", "completion", "models", "arguments", "errors"},
    "sampler_file": {"errors"},
    "exported": {"sampler_file", "arguments", "keys", "files", "errors"},
    "exporting": {
        "sampler_file",
        "jobs",
        "drawing",
        "layers",
        "config",
        "models",
        "arguments",
        "keys",
        "files",
        "errors",
    },
    "runs": {
        "hosts",
        "locks",
        "quiet",
        "devices",
        "models",
        "config",
        "params",
        "files",
        "errors",
    },
    "training": {
        "memory",
        "hosts",
        "output",
        "machine",
        "data",
        "layers",
        "likelihood",
        "sampling",
        "pictures",
        "runs",
        "models",
        "config",
        "devices",
        "params",
        "keys",
        "units",
        "files",
        "errors",
    },
    "commands": {
        "memory",
        "hosts",
        "locks",
        "arguments",
        "arrays",
        "layers",
        "anomaly",
        "output",
        "animation",
        "machine",
        "completion",
        "compression",
        "config",
        "data",
        "entropy",
        "exported",
        "exporting",
        "files",
        "keys",
        "likelihood",
        "models",
        "params",
        "pictures",
        "posterior",
        "runs",
        "sampling",
        "streaming",
        "training",
        "visits",
        "errors",
    },
    "doors": {"commands"},
    "__main__": {"doors"},
}
"""What each part of the package may import of the package, besides itself."""


def imports(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            assert parts[0] not in ("train", "sample", "evaluate"), f"{path}: {name}"
            if parts[0] == "pixelcnn_jax" and parts[1] != "__version__":
                found.add(parts[1])
    return found


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_it_may(part: str):
    place = PACKAGE / part
    files = list(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{part}.py"]
    found = set().union(*map(imports, files))
    assert found - {part} <= ALLOWED[part]


def test_every_part_has_its_rule():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    parts |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert parts - {"__init__"} == set(ALLOWED)


GENERAL = set(ALLOWED) - {"config", "distributions", "models", "layers"}
"""Parts that know models only as `PixelModel`."""


@pytest.mark.parametrize("part", sorted(GENERAL))
def test_what_serves_all_models_names_none(part: str):
    place = PACKAGE / part
    files = list(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{part}.py"]
    from pixelcnn_jax.models.build import MODELS

    particular = {model.__name__ for model in MODELS.values()}
    for path in files:
        names = {
            node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Name)
        }
        assert not names & particular, path


def test_public_names_are_documented():
    import dataclasses

    import pixelcnn_jax as pj

    for name in pj.__all__:
        public = getattr(pj, name)
        text = (public.__doc__ or "").strip()
        # A dataclass or a named tuple without a docstring gets its signature from
        # Python.
        made_up = dataclasses.is_dataclass(public) or hasattr(public, "_fields")
        assert text and not (made_up and text.startswith(f"{public.__name__}(")), name


def test_no_two_files_share_a_name():
    """Within the package, but for what each folder has: a name has one meaning."""
    names = [path.stem for path in PACKAGE.rglob("*.py")]
    shared = {name for name in names if names.count(name) > 1}
    assert shared <= {"__init__", "base", "sample", "train", "evaluate"}


def test_no_tests_share_a_generator():
    """What a test draws from one would hang on which tests ran before it."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                assert not ast.unparse(node.value.func).endswith("default_rng"), path
