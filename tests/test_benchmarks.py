"""The benchmarks run, and the README shows what they wrote."""

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OF_SPEED = {
    "sampling": [],
    "sampling_gated": ["--model", "gated"],
    "sampling_snail": ["--model", "snail", "--num-resnets", "1"],
    "training": ["--microbatches", "1", "4", "--dtypes", "float32", "bfloat16"],
    "sampling_against": ["--against", str(ROOT)],
}
"""Flags of each run; its name begins with the task."""


def run(folder: str, script: str, *arguments: str) -> str:
    """What a program of the repository prints."""
    command = [sys.executable, str(ROOT / folder / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_SPEED)
def test_speed_measures_every_row(name: str, tmp_path: Path):
    task = name.partition("_")[0]
    output = ["--quick", "--output", str(tmp_path)]
    printed = run("benchmarks", "speed.py", task, *OF_SPEED[name], *output)
    (file,) = tmp_path.glob("*.json")
    results = json.loads(file.read_text())
    assert all(row["seconds"] > 0 for row in results["measurements"])
    assert all(" | ".join(cells) in printed for cells in results["rows"])
    contestants = {row["contestant"] for row in results["measurements"]}
    if "--against" in OF_SPEED[name]:
        assert contestants == {"this", "other"}
        # The same code on both sides: nobody is ten times faster.
        assert all(
            0.1 < row["time_this_by_other"] < 10 for row in results["measurements"]
        )
    else:
        assert "limit" in contestants and len(contestants) >= 2
    assert file.with_suffix(".png").exists() and file.with_suffix(".md").exists()


@pytest.mark.slow
def test_a_check_fails_if_something_is_slower(tmp_path: Path):
    flags = ["--check", str(ROOT), "--quick", "--output", str(tmp_path)]
    program = "import speed, tyro; speed.TOLERANCE = float(sys.argv.pop(1));"
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); {program}"
    program += "speed.main(tyro.cli(speed.Settings))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, "0", *flags]  # nothing takes no time
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert re.search("slower than .*sampling, 1 image.*training, ", done.stderr, re.S)
    assert (tmp_path / "training_book_against.json").exists()


@pytest.mark.slow
def test_flags_that_a_model_has_not_are_refused():
    flags = ["sampling", "--num-resnets", "2", "--quick"]
    command = [sys.executable, str(ROOT / "benchmarks/speed.py"), *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "--num-resnets is for pp and snail" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_quality_trains_and_judges(tmp_path: Path):
    recipes = ["book", "gated by class"]
    flags = ["--output", str(tmp_path), "--workdir", str(tmp_path / "runs")]
    for recipe in recipes:
        run(
            "benchmarks", "quality.py", "digits", "--recipes", recipe, "--quick", *flags
        )
    results = json.loads((tmp_path / "quality_digits.json").read_text())
    # The table holds what an earlier call has trained, too.
    assert [row[0] for row in results["rows"]] == recipes
    for file in (tmp_path / "quality").glob("*.json"):
        found = json.loads(file.read_text())
        assert found["updates"] == 4 and file.with_suffix(".png").exists()
        assert 0 < found["bits_per_dim"] < 3  # log2 of 4 levels, and some
        assert ("marginal_bits_per_dim" in found) == ("class" in found["recipe"])


@pytest.mark.slow
def test_the_books_experiment_is_shown_as_it_goes(tmp_path: Path):
    flags = ["--output", str(tmp_path), "--workdir", str(tmp_path / "run")]
    run("benchmarks", "book.py", "--quick", *flags)
    results = json.loads((tmp_path / "book.json").read_text())
    assert [row[0] for row in results["rows"]] == ["1", "2", "4", "5"]
    assert 0 < results["bits_per_dim"] < 3  # log2 of 4 levels, and some
    assert (tmp_path / "book.png").exists() and (tmp_path / "book_strip.png").exists()


@pytest.mark.slow
def test_completing_is_timed_beside_drawing():
    printed = run("benchmarks", "completion.py", "--quick")
    assert printed.count("2 images") == 2 and printed.count("ratio") == 2


@pytest.mark.slow
def test_every_codec_gives_the_images_back(tmp_path: Path):
    pytest.importorskip("constriction")
    run("benchmarks", "codec.py", "--quick", "--output", str(tmp_path))
    rows = json.loads((tmp_path / "codec.json").read_text())["measurements"]
    size = {row["coder"]: row["bytes"] for row in rows}
    assert size["likelihood"] < size["ours"] < 1.01 * size["likelihood"] + 64
    assert {"PNG", "WebP lossless", "zlib", "lzma"} < set(size)


@pytest.mark.slow
def test_all_that_is_to_be_known_about_an_accelerator(tmp_path: Path):
    flags = ["--quick", "--output", str(tmp_path)]
    assert "no --data-dir" in run("benchmarks", "accelerator.py", *flags)
    parts = "equality limits sampling threshold phases training convolutions".split()
    for part in parts:
        results = json.loads((tmp_path / f"{part}.json").read_text())
        assert results["rows"], part
        assert (tmp_path / f"{part}.png").exists() and (
            tmp_path / f"{part}.md"
        ).exists()
    same = json.loads((tmp_path / "equality.json").read_text())["rows"]
    assert same[0][:3] == ["book", "4", "wavefront: 4, full: 4"]


@pytest.mark.slow
def test_the_same_images_are_told_by_chance(tmp_path: Path):
    same = ["digits", "--background", "digits", "--outliers", "digits"]
    run("benchmarks", "anomaly.py", *same, "--quick", "--output", str(tmp_path))
    rows = json.loads((tmp_path / "anomaly.json").read_text())["measurements"]
    assert [(row["auroc"], row["images"]) for row in rows] == [(0.5, [8, 8])] * 3
    assert (tmp_path / "anomaly.png").exists()


@pytest.mark.slow
def test_samples_are_recognised(tmp_path: Path):
    few = ["--num-images", "60", "--train-images", "400", "--output", str(tmp_path)]
    former = json.loads((ROOT / "docs/benchmarks/recognise.json").read_text())
    (tmp_path / "recognise.json").write_text(json.dumps(former))
    run("benchmarks", "recognise.py", "digits", *few)
    found = json.loads((tmp_path / "recognise.json").read_text())["measurements"]
    names = [
        [(x["run"], x["what"]) for x in y] for y in (former["measurements"], found)
    ]
    assert names[0] == names[1] and found[2:] == former["measurements"][2:]
    test, samples = found[:2]
    assert test["right"] > 0.9 and samples["right"] is None
    assert samples["confidence"] > test["confidence"] - 0.15
    assert abs(sum(samples["shares"]) - 1) < 1e-6


@pytest.mark.slow
def test_levels_are_timed_alone_and_together(tmp_path: Path):
    run("benchmarks", "levels.py", "--quick", "--output", str(tmp_path))
    rows = json.loads((tmp_path / "levels.json").read_text())["measurements"]
    assert [(row["network"], row["side"]) for row in rows] == [
        ("PixelCNN++", 4),
        ("PixelSNAIL", 4),
    ]
    assert all(row["microseconds"] > 0 for row in rows)
    # One level of one block each way, or of two; the network has three levels of
    # 3, 3 and 2 blocks, and a coarser one works in a quarter of the positions.
    (pp,) = (row for row in rows if "ideal" in row)
    blocks = pp["level_of_twice_the_blocks"] - pp["level"]
    rest = pp["level"] - blocks
    ideal = rest + blocks / 2 * (3 + 3 / 4 + 2 / 16)
    assert abs(pp["ideal"] / ideal - 1) < 1e-9


@pytest.mark.slow
def test_the_profile_finds_the_products():
    printed = run("benchmarks", "profile_training.py", "--quick")
    shares = dict(re.findall(r"\| ([a-z ,]+) \| ([\d.]+)% \|", printed))
    assert float(shares["matrix products"]) > 0
    assert float(shares["waiting, starting operations"]) < 100


@pytest.mark.slow
def test_the_tour_of_the_library_runs():
    printed = run("examples", "library.py")
    assert float(re.findall(r"stripes: ([\d.]+)", printed)[0]) < 1


def test_tables_are_put_into_texts(tmp_path: Path):
    results = {
        "columns": ["what", "who", "number"],
        "rows": [["work", "ours", "3"], ["work", "other", "4"]],
        "command": "python x.py",
        "date": "2026-01-02T03",
        "commit": "abc",
        "versions": {"jax": "1"},
        "hardware": {"cpu": "cpu", "cores": 2, "backend": "cpu", "devices": 2},
    }
    (tmp_path / "x.json").write_text(json.dumps(results))
    text = tmp_path / "text.md"
    text.write_text("a\n<!-- table x.json, only ours -->\nold\n<!-- end -->\nb\n")
    for _ in range(2):
        run("benchmarks", "report.py", str(text))
    found = text.read_text()
    assert "other" not in found
    assert "old" not in found and found.startswith("a\n") and found.endswith("b\n")
    assert found.count("| work | ours | 3 |") == 1
    assert "`python x.py`; cpu, 2 cores as 2 devices; jax 1; 2026-01-02" in found


@pytest.mark.parametrize(
    ("name", "benchmarks"),
    [
        ("README.md", "docs/benchmarks"),
        ("docs/speed.md", "benchmarks"),
        ("docs/quality.md", "benchmarks"),
    ],
)
def test_texts_show_what_was_measured(name: str, benchmarks: str, tmp_path: Path):
    """Each table is that of its JSON file, not retyped."""
    (tmp_path / benchmarks).parent.mkdir(exist_ok=True)
    (tmp_path / benchmarks).symlink_to(ROOT / "docs/benchmarks")
    text = (ROOT / name).read_text()
    copy = tmp_path / "copy.md"
    copy.write_text(text)
    run("benchmarks", "report.py", str(copy))
    assert f"<!-- table {benchmarks}/" in text
    assert copy.read_text() == text


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_training_killed_at_any_time_ends_as_one_that_was_not(tmp_path: Path):
    figures = tmp_path / "kill.json"
    flags = "--kills 3 --models book --devices 2".split()
    printed = run("benchmarks", "kill.py", *flags, "--output", str(figures))
    found = json.loads(figures.read_text())
    assert found["faults"] == [] and "0 faults" in printed
    assert sum(found["kills"].values()) == 3 and found["loads"] > 0


@pytest.mark.slow
def test_skips_are_tried(tmp_path: Path):
    run("benchmarks", "skips.py", "--quick", "--output", str(tmp_path))
    without, with_skips = json.loads((tmp_path / "skips.json").read_text())["rows"]
    assert (without[1], with_skips[1]) == ("without", "with")
    assert int(without[2].replace(",", "")) < int(with_skips[2].replace(",", ""))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Those of a benchmark."""

    output: Path = Path("docs/benchmarks")
    workdir: Path = Path("runs/book")
    quick: bool = False


def test_a_trial_replaces_no_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    apart = importlib.import_module("report").apart
    assert apart(Settings()) == Settings()
    trial = apart(Settings(quick=True))
    assert trial.output == Path("runs/quick/output")
    assert trial.workdir == Path("runs/quick/workdir")
    assert apart(Settings(Path("x"), quick=True)).output == Path("x")
