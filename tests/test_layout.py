"""Who imports whom."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pixelcnn_jax"

ALLOWED = {
    "errors": set(),
    "masks": set(),
    "images": set(),
    "params": set(),
    "config": {"errors"},
    "distributions": {"config", "errors"},
    "data": {"config", "errors"},
    "devices": set(),
    "layers": {"masks", "errors"},
    "models": {"layers", "distributions", "config", "masks", "errors"},
    "checkpoints": {"models", "config", "params", "errors"},
    "likelihood": {"devices", "errors"},
    "sampling": {"devices", "layers", "likelihood", "errors"},
    "training": {
        "data",
        "likelihood",
        "sampling",
        "images",
        "checkpoints",
        "config",
        "devices",
        "params",
        "errors",
    },
    "cli": {"errors"},
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
            if parts[0] == "pixelcnn_jax":
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


def test_public_names_are_documented():
    import pixelcnn_jax as pj

    for name in pj.__all__:
        assert (getattr(pj, name).__doc__ or "").strip(), name
